package rpc

import (
	"strconv"
	"unicode/utf8"
)

// AppendString appends text as a JSON string. Bytes that are not UTF-8 become U+FFFD, one
// for each.
func AppendString(b, text []byte) []byte {
	b = append(b, '"')
	b = appendEscaped(b, text)
	return append(b, '"')
}

const hexDigits = "0123456789abcdef"

// plain marks the bytes of ASCII that stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

func appendEscaped(b, text []byte) []byte {
	for i := 0; i < len(text); {
		from := i
		for i < len(text) && plain[text[i]] {
			i++
		}
		b = append(b, text[from:i]...)
		if i == len(text) {
			break
		}
		c := text[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(text[i:])
			if r == '\u2028' || r == '\u2029' { // line ends to some readers
				b = append(b, `\u202`...)
				b = append(b, hexDigits[r&15])
			} else {
				b = utf8.AppendRune(b, r)
			}
			i += n
			continue
		}
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
	}
	return b
}

// Answer is a line with the result, itself JSON, of the request with this id.
func Answer(id, result []byte) []byte {
	b := append([]byte(`{"jsonrpc":"2.0","id":`), id...)
	b = append(b, `,"result":`...)
	b = append(b, result...)
	return append(b, "}\n"...)
}

// Failure is a line with an error.
func Failure(id []byte, e *Error) []byte {
	b := append([]byte(`{"jsonrpc":"2.0","id":`), id...)
	b = append(b, `,"error":{"code":`...)
	b = strconv.AppendInt(b, int64(e.Code), 10)
	b = append(b, `,"message":`...)
	b = AppendString(b, []byte(e.Message))
	if e.Status != 0 {
		b = append(b, `,"data":{"status":`...)
		b = strconv.AppendInt(b, int64(e.Status), 10)
		b = append(b, '}')
	}
	return append(b, "}}\n"...)
}

// Notification is a line with a notification; params is JSON.
func Notification(method string, params []byte) []byte {
	b := append([]byte(`{"jsonrpc":"2.0","method":"`), method...)
	b = append(b, `","params":`...)
	b = append(b, params...)
	return append(b, "}\n"...)
}

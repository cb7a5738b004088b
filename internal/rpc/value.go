package rpc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Kind is the type of a JSON value.
type Kind uint8

const (
	Null Kind = iota
	Bool
	Number
	String
	List
	Object
)

func (k Kind) String() string {
	return [...]string{"null", "true or false", "a number", "a string", "a list", "an object"}[k]
}

// Value is one JSON value. Text is a string's content or a number as it was written; True is
// a boolean's value.
type Value struct {
	Kind    Kind
	True    bool
	Text    string
	List    []Value
	Members []Member
}

// Member is a name and a value of an object, in the order in which they came.
type Member struct {
	Name  string
	Value Value
}

// Get returns a member of an object; nil if there is none.
func (v *Value) Get(name string) *Value {
	for i := range v.Members {
		if v.Members[i].Name == name {
			return &v.Members[i].Value
		}
	}
	return nil
}

// Int is the value as a whole number, written with digits alone.
func (v *Value) Int() (int, bool) {
	if v.Kind != Number || strings.ContainsAny(v.Text, ".eE") {
		return 0, false
	}
	n, err := strconv.Atoi(v.Text)
	return n, err == nil
}

// deepest bounds how far lists and objects may be nested: a request needs three.
const deepest = 32

var errJSON = errors.New("it is not JSON")

// Parse reads one JSON value (RFC 8259). It refuses what encoding/json lets through: text
// that is not UTF-8, half a surrogate pair, and two members of one name, of which others
// might read either.
func Parse(b []byte) (Value, error) {
	if !utf8.Valid(b) {
		return Value{}, errors.New("it is not UTF-8")
	}
	p := parser{b: b}
	v, err := p.value(0)
	if err != nil {
		return Value{}, err
	}
	if p.space(); p.at < len(p.b) {
		return Value{}, fmt.Errorf("%w: something follows at byte %d", errJSON, p.at)
	}
	return v, nil
}

type parser struct {
	b  []byte
	at int
}

func (p *parser) space() {
	for p.at < len(p.b) {
		switch p.b[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *parser) wrong() error {
	if p.at >= len(p.b) {
		return fmt.Errorf("%w: it ends too early", errJSON)
	}
	return fmt.Errorf("%w: at byte %d", errJSON, p.at)
}

// next reports whether this is the next byte, and takes it then.
func (p *parser) next(c byte) bool {
	if p.at < len(p.b) && p.b[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) value(depth int) (v Value, err error) {
	if depth > deepest {
		return v, errors.New("it is nested too deeply")
	}
	if p.space(); p.at >= len(p.b) {
		return v, p.wrong()
	}
	switch c := p.b[p.at]; {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.list(depth)
	case c == '"':
		v.Kind = String
		v.Text, err = p.text()
		return v, err
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for word, v := range map[string]Value{"null": {}, "true": {Kind: Bool, True: true}, "false": {Kind: Bool}} {
		if strings.HasPrefix(string(p.b[p.at:min(p.at+5, len(p.b))]), word) {
			p.at += len(word)
			return v, nil
		}
	}
	return v, p.wrong()
}

func (p *parser) object(depth int) (Value, error) {
	v := Value{Kind: Object}
	p.at++
	if p.space(); p.next('}') {
		return v, nil
	}
	for {
		if p.space(); p.at >= len(p.b) || p.b[p.at] != '"' {
			return v, p.wrong()
		}
		name, err := p.text()
		if err != nil {
			return v, err
		}
		if p.space(); !p.next(':') {
			return v, p.wrong()
		}
		member, err := p.value(depth + 1)
		if err != nil {
			return v, err
		}
		v.Members = append(v.Members, Member{name, member})
		if p.space(); p.next('}') {
			return v, twice(v.Members)
		}
		if !p.next(',') {
			return v, p.wrong()
		}
	}
}

// few is up to how many members each is compared with each; more are put into a map.
const few = 8

func twice(all []Member) error {
	if len(all) <= few {
		for i := range all {
			for j := range i {
				if all[i].Name == all[j].Name {
					return fmt.Errorf("the member %q is there twice", all[i].Name)
				}
			}
		}
		return nil
	}
	seen := make(map[string]bool, len(all))
	for i := range all {
		if seen[all[i].Name] {
			return fmt.Errorf("the member %q is there twice", all[i].Name)
		}
		seen[all[i].Name] = true
	}
	return nil
}

func (p *parser) list(depth int) (Value, error) {
	v := Value{Kind: List}
	p.at++
	if p.space(); p.next(']') {
		return v, nil
	}
	for {
		item, err := p.value(depth + 1)
		if err != nil {
			return v, err
		}
		v.List = append(v.List, item)
		if p.space(); p.next(']') {
			return v, nil
		}
		if !p.next(',') {
			return v, p.wrong()
		}
	}
}

func (p *parser) number() (Value, error) {
	from := p.at
	p.next('-')
	if !p.next('0') && !p.digits() {
		return Value{}, p.wrong()
	}
	if p.next('.') && !p.digits() {
		return Value{}, p.wrong()
	}
	if p.next('e') || p.next('E') {
		if !p.next('+') {
			p.next('-')
		}
		if !p.digits() {
			return Value{}, p.wrong()
		}
	}
	return Value{Kind: Number, Text: string(p.b[from:p.at])}, nil
}

func (p *parser) digits() bool {
	from := p.at
	for p.at < len(p.b) && p.b[p.at] >= '0' && p.b[p.at] <= '9' {
		p.at++
	}
	return p.at > from
}

// text reads a string, from its opening quotation mark on.
func (p *parser) text() (string, error) {
	p.at++
	from := p.at
	for p.at < len(p.b) && p.b[p.at] != '"' && p.b[p.at] != '\\' && p.b[p.at] >= ' ' {
		p.at++
	}
	if p.at < len(p.b) && p.b[p.at] == '"' { // without an escape, as nearly all
		p.at++
		return string(p.b[from : p.at-1]), nil
	}
	out := append([]byte(nil), p.b[from:p.at]...)
	for p.at < len(p.b) {
		switch c := p.b[p.at]; {
		case c == '"':
			p.at++
			return string(out), nil
		case c < ' ':
			return "", p.wrong()
		case c != '\\':
			out = append(out, c)
			p.at++
		default:
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		}
	}
	return "", p.wrong()
}

func (p *parser) escape() (rune, error) {
	p.at++
	if p.at >= len(p.b) {
		return 0, p.wrong()
	}
	c := p.b[p.at]
	p.at++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		r, err := p.hex()
		if err != nil || !utf16.IsSurrogate(r) {
			return r, err
		}
		if p.next('\\') && p.next('u') {
			low, err := p.hex()
			if err != nil {
				return 0, err
			}
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				return r, nil
			}
		}
		return 0, fmt.Errorf("%w: half a surrogate pair before byte %d", errJSON, p.at)
	}
	p.at--
	return 0, p.wrong()
}

func (p *parser) hex() (rune, error) {
	if p.at+4 > len(p.b) {
		p.at = len(p.b)
		return 0, p.wrong()
	}
	n, err := strconv.ParseUint(string(p.b[p.at:p.at+4]), 16, 16)
	if err != nil {
		return 0, p.wrong()
	}
	p.at += 4
	return rune(n), nil
}

// Package flagvalue reads the values of flags more strictly than the flag
// library does: a mistake in a script must not become the PID of another process.
package flagvalue

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Strict makes kong take whole numbers in plain decimal digits only, and no
// flag without a value. kong puts the flag's name before the error.
//
// An empty variable of the environment is an error too, since kong treats it like a flag: a
// program that lets it count as unset must unset it before kong reads it.
func Strict() []kong.Option {
	kongs := kong.NewRegistry().RegisterDefaults()
	text, span := reflect.TypeFor[string](), reflect.TypeFor[time.Duration]()
	return []kong.Option{
		kong.KindMapper(reflect.Int, notEmpty(readInt)),
		kong.TypeMapper(reflect.TypeFor[[]int](), notEmpty(readInts)),
		kong.TypeMapper(text, notEmpty(kongs.ForType(text).Decode)),
		kong.TypeMapper(span, notEmpty(readSpan)),
	}
}

var errEmpty = errors.New("the value is empty (an unset variable?): give one, or leave the flag out")

// notEmpty lets only flags with a value through. The arguments of a worker's
// command may be empty.
func notEmpty(read kong.MapperFunc) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		if t := ctx.Scan.Peek(); ctx.Value.Flag != nil && t.IsValue() && t.Value == "" {
			return errEmpty
		}
		return read(ctx, target)
	}
}

func readInt(ctx *kong.DecodeContext, target reflect.Value) error {
	t, err := ctx.Scan.PopValue("int")
	if err != nil {
		return err
	}
	n, err := Int(t.String())
	target.SetInt(int64(n))
	return err
}

func readSpan(ctx *kong.DecodeContext, target reflect.Value) error {
	t, err := ctx.Scan.PopValue("duration")
	if err != nil {
		return err
	}
	d, err := Span(t.String())
	target.SetInt(int64(d))
	return err
}

// Span parses a duration. The error for a number says that the unit is missing.
func Span(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err == nil:
		return d, nil
	case strings.Trim(s, "0123456789") == "" && len(s) < 10:
		return 0, fmt.Errorf("%q has no unit: %ss are seconds, %sms milliseconds, %sm minutes", s, s, s, s)
	}
	return 0, fmt.Errorf("%q is not a duration, or is too long: write it like 3s, 500ms or 5m", s)
}

// readInts parses integers separated by commas.
func readInts(ctx *kong.DecodeContext, target reflect.Value) error {
	t, err := ctx.Scan.PopValue("int")
	if err != nil {
		return err
	}
	for word := range strings.SplitSeq(t.String(), ",") {
		n, err := Int(word)
		if err != nil {
			return err
		}
		target.Set(reflect.Append(target, reflect.ValueOf(n)))
	}
	return nil
}

// Int parses decimal digits, with or without a minus. Text that other parsers read as octal
// or hexadecimal, such as 010 and 0x10, is an error.
func Int(s string) (int, error) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" || digits[0] == '0' && s != "0" {
		return 0, fmt.Errorf("%q is not a whole number: use the digits 0 to 9 only, without a leading zero", s)
	}
	n, err := strconv.Atoi(s)
	if err != nil { // of digits alone it is ErrRange
		return 0, fmt.Errorf("%q is out of range", s)
	}
	return n, nil
}

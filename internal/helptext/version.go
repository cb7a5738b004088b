package helptext

import (
	"errors"
	"fmt"

	"github.com/alecthomas/kong"

	"leash/internal/version"
)

// ErrPrinted means that help or the version was printed, as asked for.
var ErrPrinted = errors.New("help was printed")

// VersionFlag prints one line and ends parsing, as --help does.
type VersionFlag bool

// BeforeReset is called by kong if the flag was given.
func (VersionFlag) BeforeReset(k *kong.Kong) error {
	if _, err := fmt.Fprintln(k.Stdout, version.Line(k.Model.Name)); err != nil {
		return err
	}
	return ErrPrinted
}

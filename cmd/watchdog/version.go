package main

import (
	"fmt"

	"github.com/alecthomas/kong"

	"leash/internal/version"
)

// versionFlag prints one line and ends parsing, as --help does.
type versionFlag bool

// BeforeReset is called by kong if the flag was given.
func (versionFlag) BeforeReset(k *kong.Kong) error {
	if _, err := fmt.Fprintln(k.Stdout, version.Line("watchdog")); err != nil {
		return err
	}
	return errHelp
}

//go:build !unix && !windows

package ledger

import (
	"errors"
	"os"
)

// Save fails: there is no ledger on this system yet.
func Save(*os.File, *Record) error { return errors.ErrUnsupported }

// Remove fails.
func Remove(*os.File, string) error { return errors.ErrUnsupported }

// Fold fails.
func Fold(*os.File, *Record) error { return errors.ErrUnsupported }

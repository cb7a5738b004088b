// Package platform selects the operating system for which the program is built.
package platform

import "leash/internal/system"

// System is the operating system, see package system.
type System = system.System

// Command is a program to start.
type Command = system.Command

// orNil makes a nil *T, which comes with an error, a nil System.
func orNil[T System](s T, err error) (System, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

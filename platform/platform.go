// Package platform selects the operating system for which the program is built.
package platform

import "leash/internal/system"

// System is the operating system, see package system.
type System = system.System

// Command is a program to start.
type Command = system.Command

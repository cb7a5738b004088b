//go:build !windows

package main

import "os/exec"

// lookPath finds a command. exec.ErrDot: in a folder that PATH names as here.
func lookPath(name string) (string, error) { return exec.LookPath(name) }

//go:build !windows

package main

import (
	"errors"
	"fmt"
	"strings"

	"leash/platform"
)

// beatVar has the address for a worker's heartbeats.
const beatVar = "NOTIFY_SOCKET"

// A socket's address has room for 108 bytes (unix(7)): a path ends with a NUL, and an
// abstract name begins with one.
const maxSocket = 107

// checkSocket accepts an empty address, which means that none was given.
func checkSocket(socket string) error {
	name, abstract := strings.CutPrefix(socket, "@")
	switch {
	case socket == "":
	case abstract && name == "":
		return errors.New("@ alone is not a name: add one after it")
	case strings.Contains(socket, "\x00"):
		return fmt.Errorf("%q holds a NUL byte", socket)
	case abstract && len(name) > maxSocket:
		return fmt.Errorf("the name after @ is %d bytes long: %d are allowed", len(name), maxSocket)
	case abstract:
	case !strings.HasPrefix(socket, "/"):
		return fmt.Errorf("%q is a relative path: begin a path with / and a name with @", socket)
	case len(socket) > maxSocket:
		return fmt.Errorf("the path is %d bytes long: %d are allowed", len(socket), maxSocket)
	}
	return nil
}

// shell runs a command line of the user.
func shell(command string) platform.Command {
	return platform.Command{Path: "/bin/sh", Args: []string{"sh", "-c", command}}
}

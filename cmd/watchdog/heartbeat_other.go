//go:build !windows

package main

import (
	"errors"
	"fmt"
	"strings"

	"leash/platform"
)

// beatVar tells a worker where he is heard.
const beatVar = "NOTIFY_SOCKET"

// A socket's address has room for 108 bytes (unix(7)): a path ends with a NUL,
// and what makes a name abstract is a NUL before it.
const maxSocket = 107

// checkSocket allows what is not given.
func checkSocket(socket string) error {
	name, abstract := strings.CutPrefix(socket, "@")
	switch {
	case socket == "":
	case abstract && name == "":
		return errors.New("@ alone is no name: give one behind it")
	case strings.Contains(socket, "\x00"):
		return fmt.Errorf("%q holds a NUL byte", socket)
	case abstract && len(name) > maxSocket:
		return fmt.Errorf("the name behind @ has %d bytes: it may have %d", len(name), maxSocket)
	case abstract:
	case !strings.HasPrefix(socket, "/"):
		return fmt.Errorf("%q is a relative path: begin it with /, or a name with @", socket)
	case len(socket) > maxSocket:
		return fmt.Errorf("the path has %d bytes: it may have %d", len(socket), maxSocket)
	}
	return nil
}

// shell runs a command of the user's.
func shell(command string) platform.Command {
	return platform.Command{Path: "/bin/sh", Args: []string{"sh", "-c", command}}
}

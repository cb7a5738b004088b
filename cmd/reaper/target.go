package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"leash/internal/flagvalue"
	"leash/internal/gauge"
	"leash/platform"
)

// target is what the user asks about: one of a PID or what gauge.Find searches for.
type target struct {
	text string // as it was given
	pid  int    // 0: it is no PID
	gauge.Target
}

const targetForms = "give :PORT, tcp:PORT, udp:PORT, gpu:N, a PID, or the path of a file or socket"

// parseTarget reads a target. It opens nothing.
func parseTarget(text string) (target, error) {
	t := target{text: text}
	wrong := func(why string) (target, error) {
		return t, fmt.Errorf("who: %q: %s: %s", text, why, targetForms)
	}
	scheme, rest, colon := strings.Cut(text, ":")
	switch {
	case text == "":
		return wrong("the target is empty (an unset variable?)")
	case strings.ContainsAny(text, `/\`) || strings.HasPrefix(text, "@"):
		t.Kind, t.Path = gauge.File, text
	case !colon && strings.Trim(text, "0123456789") == "":
		pid, err := flagvalue.Int(text)
		if err != nil {
			return wrong(err.Error())
		}
		if err := platform.CheckPID(pid); err != nil {
			return t, fmt.Errorf("who: %w", err)
		}
		t.pid = pid
	case !colon:
		t.Kind, t.Path = gauge.File, text
	case scheme == "" || scheme == "tcp" || scheme == "udp":
		port, err := flagvalue.Int(rest)
		switch {
		case err != nil:
			return wrong(fmt.Sprintf("%q is not the number of a port", rest))
		case port < 1 || port > 65535:
			return wrong("a port is a number from 1 to 65535")
		}
		t.Kind, t.Proto, t.Number = gauge.PortOf, "tcp", port
		if scheme == "udp" {
			t.Proto = "udp"
		}
	case scheme == "gpu":
		n, err := flagvalue.Int(rest)
		if err != nil || n < 0 || n > maxGPU {
			return wrong(fmt.Sprintf("%q is not the number of a GPU", rest))
		}
		t.Kind, t.Number = gauge.GPU, n
	default:
		return wrong(fmt.Sprintf("%q is not known (for a file of that name: ./%s)", scheme+":", text))
	}
	return t, nil
}

// maxGPU is more than a system has.
const maxGPU = 1 << 20

// exists reports whether a path is there, and learns whether it is a socket. A path that does
// not exist is held by nobody.
func (t *target) exists() (bool, error) {
	if t.pid != 0 || t.Kind != gauge.File {
		return true, nil
	}
	st, err := os.Stat(t.Path)
	switch {
	case err == nil:
		if st.Mode()&fs.ModeSocket != 0 {
			t.Kind = gauge.Socket
		}
		return true, nil
	case strings.HasPrefix(t.Path, "@"): // an abstract socket has no file
		t.Kind = gauge.Socket
		return true, nil
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return false, nil
	}
	return false, fmt.Errorf("who: %w", err)
}

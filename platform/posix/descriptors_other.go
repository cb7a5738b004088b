//go:build unix && !linux

package posix

import "errors"

const (
	pathOnly = 0
	fdDir    = "/dev/fd"
)

func closeRange() error { return errors.ErrUnsupported }

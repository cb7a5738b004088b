//go:build linux && ((!amd64 && !arm64) || portable)

package linux

import (
	"os"
	"os/signal"
	"syscall"
)

// install is for processors that nobody wrote the handler for.
func install(s syscall.Signal) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, s)
	go func() {
		for range c {
			note(s)
		}
	}()
}

const handlerIsOurs = false

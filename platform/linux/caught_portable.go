//go:build linux && ((!amd64 && !arm64) || portable)

package linux

import (
	"os"
	"os/signal"
	"syscall"
)

// install is for processors that nobody wrote the handler for.
func install(s syscall.Signal) {
	signal.Ignore(s) // or Notify leaves alone what HearRumours has set behind the runtime
	c := make(chan os.Signal, 1)
	signal.Notify(c, s)
	go func() {
		for range c {
			note(s)
		}
	}()
}

const handlerIsOurs = false

//go:build linux || darwin

package darwin

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"leash/internal/system"
	"leash/watch"
)

// observed is a System that shows its containment.
type observed struct {
	*System
	hold *containment
}

func (o *observed) Contain(options system.Options) system.Containment {
	o.hold = o.System.Contain(options).(*containment)
	return o.hold
}

// host is a worker without a program around it: what is logged is kept.
type host struct {
	*watch.Worker
	sys     *observed
	records []watch.Record
}

func newHost(t *testing.T, s *System) *host {
	t.Helper()
	sys := &observed{System: s}
	h := &host{Worker: watch.NewWorker(sys, 20*time.Millisecond, -1, 0), sys: sys}
	t.Cleanup(h.Close)
	return h
}

func (h *host) Now() time.Duration { return h.sys.Now() }

func (h *host) Log(r watch.Record)    { h.records = append(h.records, r) }
func (h *host) PassOn(string)         {}
func (h *host) Hook(string) error     { return nil }
func (h *host) Restart() (int, error) { return 0, nil }
func (h *host) ReadLabels(bool)       {}
func (h *host) UpdateRecord()         {}
func (h *host) MarkRecord()           {}
func (h *host) SaveRecord()           {}
func (h *host) RemoveRecord()         {}

// watchdogVar makes the test binary a watchdog, with this backend.
const watchdogVar = "LEASH_TEST_WATCHDOG"

// beWatchdog starts the worker that its arguments name, and another when that one
// ends, until its input ends: then it ends in order, whatever is left. It says the
// PIDs of worker and sentinel.
func beWatchdog() error {
	s, err := watchdogSystem(os.Getenv(watchdogVar))
	if err != nil {
		return err
	}
	sys := &observed{System: s}
	w := watch.NewWorker(sys, 10*time.Millisecond, -1, 0)
	if _, err := w.AddLifeline(0); err != nil {
		return err
	}
	os.Unsetenv(watchdogVar)
	said := 0
	for {
		if _, ended := w.Exit(); ended || sys.hold.worker == nil {
			info, err := w.Start(system.Command{Path: os.Args[1], Args: os.Args[1:], Env: os.Environ(), Sentinel: true})
			if err != nil {
				return err
			}
			fmt.Println("worker", info.PID)
		}
		if hold := sys.hold; hold.sentinel != nil && hold.sentinels > said {
			said = hold.sentinels
			fmt.Println("sentinel", hold.sentinel.h.pid)
		}
		events, err := w.Wait(sys.Now()+20*time.Millisecond, true)
		if err != nil {
			return err
		}
		if slices.Contains(events, watch.Event(watch.ParentDied{By: "lifeline"})) {
			sys.hold.Close(0) // as if the tree were ended
			return nil
		}
	}
}

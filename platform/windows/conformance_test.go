//go:build windows

package windows

import (
	"os"
	"testing"

	win "golang.org/x/sys/windows"

	"leash/internal/stop"
	"leash/internal/system"
	"leash/platform/platformtest"
)

// realSystem is this system, with actors that fork when told to.
type realSystem struct {
	k      *Kernel
	groups map[int]int
}

type realProcess struct {
	actor
	s realSystem
}

func TestKernelConforms(t *testing.T) {
	platformtest.Conform(t, func(t *testing.T) platformtest.Fixture {
		k, groups := newTestKernel(t), make(map[int]int)
		k.exe = `C:\elsewhere\watchdog.exe` // the actors are not watchdogs
		// Wine does not tell the group of a process: there, it is as we made it.
		k.group = func(h *handle) int {
			if group := groupOf(h); group != 0 {
				return group
			}
			return groups[h.pid]
		}
		return realSystem{k, groups}
	}, "Reuse") // the system gives out the numbers that it likes
}

func (s realSystem) Kernel() stop.Kernel { return s.k }

// Plain: no process becomes a zombie, can be stopped, or leads a session.
func (s realSystem) Plain() {}

func (s realSystem) Start(t *testing.T, how platformtest.How) platformtest.Process {
	t.Helper()
	var flags uint32
	if how != platformtest.InOurGroup {
		flags = win.CREATE_NEW_PROCESS_GROUP
	}
	a := start(t, "fork", flags)
	s.groups[a.PID()] = os.Getpid()
	if flags != 0 {
		s.groups[a.PID()] = a.PID()
	}
	return realProcess{a, s}
}

// Reuse cannot be had: the system gives out the number it likes.
func (s realSystem) Reuse(*testing.T, int) (platformtest.Process, bool) { return nil, false }

// Foreign is one of ours with an access list that lets all query it and none end it.
func (s realSystem) Foreign(t *testing.T) (int, bool) {
	a := start(t, "fork", 0)
	closeTo(t, a.PID(), onlyLook)
	return a.PID(), true
}

func (s realSystem) Backends() []string { return []string{"event", "poll"} }

func (s realSystem) System(t *testing.T, backend string) system.System {
	t.Helper()
	return newTestSystem(t, backend)
}

func (s realSystem) Await(t *testing.T, what string, is func() bool) {
	t.Helper()
	await(t, what, is)
}

func (p realProcess) Fork(t *testing.T) int {
	t.Helper()
	pid := p.fork(t, "plain")
	p.s.groups[pid] = p.s.groups[p.PID()]
	return pid
}

func (p realProcess) End(t *testing.T) {
	t.Helper()
	p.actor.End(t, p.s.k)
}

//go:build windows

package windows

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	win "golang.org/x/sys/windows"

	"leash/internal/heartbeat"
	"leash/internal/stop"
	"leash/internal/system"
)

// ear listens to a worker, which is this very test at first, so that it may speak.
type ear struct {
	*notifier
	tree   stop.Tree
	handle *handle
}

func listen(t *testing.T, address string) *ear {
	t.Helper()
	e := &ear{}
	s := newTestSystem(t, "event")
	e.hear(t, s, os.Getpid())
	ears, err := s.ListenForBeats(system.Beats{Address: address, Owner: e, Worker: func() system.Handle { return e.handle },
		Belongs: func(_ int, h stop.Handle) bool { return e.tree.Contains(h) }})
	if err != nil {
		t.Fatal(err)
	}
	e.notifier = ears.(*notifier)
	t.Cleanup(e.Close)
	return e
}

// hear takes another worker.
func (e *ear) hear(t *testing.T, s *System, pid int) {
	t.Helper()
	e.handle = opened(t, s.Kernel, pid)
	s.Contain(system.Options{}).(*containment).follow(e.handle)
	e.tree = stop.Tree{Kernel: s, Root: e.handle}
	if _, err := e.tree.Adopt(); err != nil {
		t.Fatal(err)
	}
}

func heard(m heartbeat.Message) system.Wake { return system.Wake{Kind: system.Heard, Message: m} }

var (
	alive    = heard(heartbeat.Message{Beat: heartbeat.Alive})
	ready    = heard(heartbeat.Message{Ready: true})
	stopping = heard(heartbeat.Message{Stopping: true})
)

// wait waits once.
func (e *ear) wait(t *testing.T, until time.Duration) []system.Wake {
	t.Helper()
	wakes, err := e.s.Wait(until, true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range wakes {
		if wakes[i].Owner != any(e) {
			t.Errorf("told to another: %+v", wakes[i])
		}
		wakes[i].Owner = nil
	}
	return wakes
}

// hears waits for the messages that come next, and for no more than that.
func (e *ear) hears(t *testing.T, want ...system.Wake) {
	t.Helper()
	var got []system.Wake
	for over := e.s.Now() + late; len(got) < len(want); {
		if e.s.Now() >= over {
			t.Fatalf("%v after %v, want %v", got, late, want)
		}
		got = append(got, e.wait(t, over)...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// dial connects, when there is room.
func dial(t *testing.T, at string) win.Handle {
	t.Helper()
	name, err := win.UTF16PtrFromString(at)
	if err != nil {
		t.Fatal(err)
	}
	var h win.Handle
	await(t, "room in the pipe", func() bool {
		h, err = win.CreateFile(name, win.GENERIC_READ|win.GENERIC_WRITE, 0, nil, win.OPEN_EXISTING, 0, 0)
		return !errors.Is(err, win.ERROR_PIPE_BUSY)
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// say connects for a few messages.
func say(t *testing.T, at string, messages ...string) {
	t.Helper()
	h := dial(t, at)
	defer win.CloseHandle(h)
	for _, m := range messages {
		write(t, h, m)
	}
}

func write(t *testing.T, h win.Handle, m string) {
	t.Helper()
	var n uint32
	if err := win.WriteFile(h, []byte(m), &n, nil); err != nil || int(n) != len(m) {
		t.Fatalf("%q: %d bytes, %v", m, n, err)
	}
}

func TestBeatsAreHeard(t *testing.T) {
	for _, address := range []string{"", fmt.Sprintf(`\\.\pipe\leash test %d`, os.Getpid()),
		fmt.Sprintf(`\\.\pipe\leash-test-%d-`, os.Getpid()) + strings.Repeat("x", 200)} {
		h := listen(t, address)
		at := h.Address()
		if address != "" && at != address || CheckPipe(at) != nil {
			t.Errorf("%s instead of %s", at, address)
		}
		// Each has a connection of its own, and those have no order.
		say(t, at, "WATCHDOG=1")
		h.hears(t, alive)
		say(t, at, "READY=1\nSTATUS=well")
		h.hears(t, heard(heartbeat.Message{Ready: true, Status: "well"}))
		say(t, at)
		say(t, at, "STOPPING=1")
		h.hears(t, stopping)
		say(t, at, "no message", "", strings.Repeat("x", heartbeat.MaxSize+1)+"READY=1", "WATCHDOG=1")
		h.hears(t, alive)
		say(t, at, strings.Repeat("X=1\n", room/8), "WATCHDOG=1", "X\x00=")
		h.hears(t, alive)
		if _, err := newTestSystem(t, "event").ListenForBeats(system.Beats{Address: at, Worker: func() system.Handle { return nil }}); !errors.Is(err, errInUse) {
			t.Errorf("a second listener: %v", err)
		}
		h.Close()
		again := listen(t, at) // the name is free
		again.Close()
	}
}

// A client may stay, and says one thing after the other.
func TestOneConnection(t *testing.T) {
	h := listen(t, "")
	at := h.Address()
	c := dial(t, at)
	defer win.CloseHandle(c)
	for range 3 * connections {
		write(t, c, "WATCHDOG=1")
		h.hears(t, alive)
	}
	write(t, c, strings.Repeat("x", 3*heartbeat.MaxSize))
	write(t, c, "STOPPING=1")
	h.hears(t, stopping)
}

// None is locked out by those that stay connected: the one that has sent nothing for the
// longest time is sent away. Its messages from before count.
func TestManyConnections(t *testing.T) {
	h := listen(t, "")
	at := h.Address()
	var all []win.Handle
	for range 3 * connections {
		c := dialled(t, h, at)
		defer win.CloseHandle(c)
		write(t, c, "WATCHDOG=1")
		h.hears(t, alive)
		all = append(all, c)
	}
	var n uint32
	if err := win.WriteFile(all[0], []byte("READY=1"), &n, nil); err == nil {
		t.Error("the first one is connected still")
	}
	for _, c := range all[len(all)-connections/2:] {
		write(t, c, "READY=1")
		h.hears(t, ready)
	}
}

// dialled connects while room is made.
func dialled(t *testing.T, h *ear, at string) win.Handle {
	t.Helper()
	name, err := win.UTF16PtrFromString(at)
	if err != nil {
		t.Fatal(err)
	}
	for over := time.Now().Add(late); ; {
		c, err := win.CreateFile(name, win.GENERIC_READ|win.GENERIC_WRITE, 0, nil, win.OPEN_EXISTING, 0, 0)
		if err == nil {
			return c
		}
		if !errors.Is(err, win.ERROR_PIPE_BUSY) || time.Now().After(over) {
			t.Fatal(err)
		}
		if wakes := h.wait(t, h.s.Now()+time.Millisecond); len(wakes) > 0 {
			t.Fatal(wakes)
		}
	}
}

// A barrier is answered once all that was said before it has been handled,
// which is when the next wait begins.
func TestBarrier(t *testing.T) {
	h := listen(t, "")
	at := h.Address()
	c := dial(t, at)
	write(t, c, "WATCHDOG=1")
	write(t, c, "BARRIER=1")
	write(t, c, "READY=1\nBARRIER=1") // is none
	write(t, c, "STOPPING=1")
	for len(h.s.wakes) < 3 {
		h.s.handle(<-h.s.happened)
	}
	if there := readable(t, c); there != 0 {
		t.Errorf("an answer of %d bytes before all was handled", there)
	}
	h.hears(t, alive, ready, stopping)
	if there := readable(t, c); there != 0 {
		t.Errorf("an answer of %d bytes before all was handled", there)
	}
	if wakes := h.wait(t, h.s.Now()); len(wakes) > 0 {
		t.Fatal(wakes)
	}
	await(t, "the answer", func() bool { return readable(t, c) == len("BARRIER=1") })
	// One that never reads holds nothing up.
	for range 600 { // more than there is room for
		write(t, c, "BARRIER=1")
		write(t, c, "WATCHDOG=1")
		h.hears(t, alive)
	}
	win.CloseHandle(c)
	say(t, at, "STOPPING=1")
	h.hears(t, stopping)
}

// readable is how much there is to read.
func readable(t *testing.T, c win.Handle) int {
	t.Helper()
	var n uint32
	if ok, _, err := peekNamedPipe.Call(uintptr(c), 0, 0, 0, uintptr(unsafe.Pointer(&n)), 0); ok == 0 {
		t.Fatal(err)
	}
	return int(n)
}

// Only messages of the worker's tree count, and only it may stay connected.
func TestStrangersAreNotHeard(t *testing.T) {
	h := listen(t, "")
	at := h.Address()
	stranger := start(t, "deaf", 0)
	h.hear(t, h.s, stranger.PID()) // we are the stranger
	c := dial(t, at)
	defer win.CloseHandle(c)
	var n uint32
	win.WriteFile(c, []byte("WATCHDOG=1"), &n, nil) // before we are verified, perhaps
	await(t, "the end of the connection", func() bool {
		if wakes := h.wait(t, h.s.Now()); len(wakes) > 0 {
			t.Fatal(wakes)
		}
		return win.WriteFile(c, []byte("WATCHDOG=1"), &n, nil) != nil
	})
	// A child of the worker is none.
	h.hear(t, h.s, os.Getpid())
	speaker := start(t, "speak", 0, pipeVar+"="+at)
	fmt.Fprintln(speaker.In, "READY=1")
	h.hears(t, ready)
}

// What an earlier worker said is not taken for the next one's.
func TestBeatsOfAnEarlierWorkerAreDropped(t *testing.T) {
	h := listen(t, "")
	at := h.Address()
	stays := dial(t, at)
	defer win.CloseHandle(stays)
	write(t, stays, "WATCHDOG=1")
	h.hears(t, alive)
	for range 100 {
		say(t, at, "READY=1")
		say(t, at, "BARRIER=1")
		if h.all[0].serial%2 == 0 { // some have been verified, and others not
			h.s.handle(<-h.s.happened)
		}
		h.tell(ready) // and was not taken yet
		h.Drop()
		say(t, at, "STOPPING=1")
		h.hears(t, stopping)
	}
	var n uint32
	if win.WriteFile(stays, []byte("READY=1"), &n, nil) == nil {
		t.Error("an earlier worker is connected still")
	}
}

// A flood is read up to the rate limit. Then none is read for a while, and a missed beat
// does not count; but nothing is lost. (Wine is too slow to be flooded, so the limit is
// reached already.)
func TestFlood(t *testing.T) {
	h := listen(t, "")
	at := h.Address()
	const clients, each, spent = 4, 250, 1000
	for range clients {
		say(t, at, slices.Repeat([]string{"WATCHDOG=1"}, each)...)
	}
	heard, overflowed := 0, 0
	count := func(wakes []system.Wake) {
		for _, w := range wakes {
			switch w.Kind {
			case system.Heard:
				heard++
			case system.Overflowed:
				overflowed++
			}
		}
	}
	began := overspend(h, spent)
	count(h.wait(t, h.s.Now()))
	if overflowed == 0 {
		t.Error("the rate limit is reached, and there is no pause")
	}
	least := (spent + time.Duration(clients*each-heard)) * time.Second / heartbeat.PerSecond
	for heard < clients*each {
		if h.s.Now()-began > late {
			t.Fatalf("%d of %d were heard in %v", heard, clients*each, late)
		}
		count(h.wait(t, h.s.Now()+late))
	}
	if took := h.s.Now() - began; took < least*9/10 {
		t.Errorf("%d messages were read in %v, at least %v should pass", heard, took, least)
	}
}

// overspend has a message come in when so many too many were read already. It returns
// since when; while a slow machine pays that back before, it is done once more.
func overspend(h *ear, spent int) (began time.Duration) {
	for began == 0 || h.limit.Left() {
		began = h.s.Now()
		h.limit.Refill(began)
		for range heartbeat.Burst + spent {
			h.limit.Spend()
		}
		h.s.handle(<-h.s.happened)
	}
	return began
}

// This user and the system may connect, and none from elsewhere.
func TestAccess(t *testing.T) {
	h := listen(t, "")
	sd, err := win.GetSecurityInfo(h.all[0].h, win.SE_KERNEL_OBJECT, win.DACL_SECURITY_INFORMATION)
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := sd.DACL()
	if err != nil || list == nil {
		t.Fatal(list, err)
	}
	if list.AceCount != 2 {
		t.Errorf("%v: %s", list.AceCount, sd)
	}
	own, _ := userSID()
	for _, sid := range []string{own.String(), "SY"} {
		if !strings.Contains(sd.String(), ";;;"+sid+")") {
			t.Errorf("%s: nothing for %s", sd, sid)
		}
	}
}

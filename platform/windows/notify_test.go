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
	"leash/watch"
)

// ear is a host whose worker is this very test, so that it may speak.
func ear(t *testing.T, address string) (h *Host, at string) {
	t.Helper()
	h = newTestHost(t, "event")
	h.worker = opened(t, h.Kernel, os.Getpid())
	h.follow()
	at, err := h.ListenForBeats(address, false)
	if err != nil {
		t.Fatal(err)
	}
	return h, at
}

func heardAs(m heartbeat.Message) watch.Event { return watch.Heard{Message: m} }

var (
	alive    = heardAs(heartbeat.Message{Beat: heartbeat.Alive})
	ready    = heardAs(heartbeat.Message{Ready: true})
	stopping = heardAs(heartbeat.Message{Stopping: true})
)

// hears waits for what is heard next, and for no more than that.
func hears(t *testing.T, h *Host, want ...watch.Event) {
	t.Helper()
	var got []watch.Event
	for len(got) < len(want) {
		events, err := h.Wait(h.Now()+late, true)
		if err != nil || len(events) == 0 {
			t.Fatalf("%v after %v, want %v (%v)", events, got, want, err)
		}
		got = append(got, events...)
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
		h, at := ear(t, address)
		if address != "" && at != address || CheckPipe(at) != nil {
			t.Errorf("%s instead of %s", at, address)
		}
		// Each has a connection of its own, and those have no order.
		say(t, at, "WATCHDOG=1")
		hears(t, h, alive)
		say(t, at, "READY=1\nSTATUS=well")
		hears(t, h, heardAs(heartbeat.Message{Ready: true, Status: "well"}))
		say(t, at)
		say(t, at, "STOPPING=1")
		hears(t, h, stopping)
		say(t, at, "no message", "", strings.Repeat("x", heartbeat.MaxSize+1)+"READY=1", "WATCHDOG=1")
		hears(t, h, alive)
		say(t, at, strings.Repeat("X=1\n", room/8), "WATCHDOG=1", "X\x00=")
		hears(t, h, alive)
		if _, err := newTestHost(t, "event").ListenForBeats(at, false); !errors.Is(err, errInUse) {
			t.Errorf("a second listener: %v", err)
		}
		h.Close()
		again, _ := ear(t, at) // the name is free
		again.Close()
	}
}

// A client may stay, and says one thing after the other.
func TestOneConnection(t *testing.T) {
	h, at := ear(t, "")
	c := dial(t, at)
	defer win.CloseHandle(c)
	for range 3 * connections {
		write(t, c, "WATCHDOG=1")
		hears(t, h, alive)
	}
	write(t, c, strings.Repeat("x", 3*heartbeat.MaxSize))
	write(t, c, "STOPPING=1")
	hears(t, h, stopping)
}

// Nobody is locked out by those who stay connected: the one who was silent
// longest is sent away. What he said before is heard.
func TestManyConnections(t *testing.T) {
	h, at := ear(t, "")
	var all []win.Handle
	for range 3 * connections {
		c := dialled(t, h, at)
		defer win.CloseHandle(c)
		write(t, c, "WATCHDOG=1")
		hears(t, h, alive)
		all = append(all, c)
	}
	var n uint32
	if err := win.WriteFile(all[0], []byte("READY=1"), &n, nil); err == nil {
		t.Error("the first one is connected still")
	}
	for _, c := range all[len(all)-connections/2:] {
		write(t, c, "READY=1")
		hears(t, h, ready)
	}
}

// dialled connects while the host makes room.
func dialled(t *testing.T, h *Host, at string) win.Handle {
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
		if events, err := h.Wait(h.Now()+time.Millisecond, true); err != nil || len(events) > 0 {
			t.Fatal(events, err)
		}
	}
}

// A barrier is answered once all that was said before it has been handled,
// which is when the next wait begins.
func TestBarrier(t *testing.T) {
	h, at := ear(t, "")
	c := dial(t, at)
	write(t, c, "WATCHDOG=1")
	write(t, c, "BARRIER=1")
	write(t, c, "READY=1\nBARRIER=1") // is none
	write(t, c, "STOPPING=1")
	for len(h.events) < 3 {
		h.handle(<-h.happened)
	}
	if there := readable(t, c); there != 0 {
		t.Errorf("an answer of %d bytes before all was handled", there)
	}
	if events, err := h.Wait(h.Now(), true); err != nil || len(events) > 0 {
		t.Fatal(events, err)
	}
	await(t, "the answer", func() bool { return readable(t, c) == len("BARRIER=1") })
	// One who never reads holds nobody up.
	for range 600 { // more than there is room for
		write(t, c, "BARRIER=1")
		write(t, c, "WATCHDOG=1")
		next[watch.Heard](t, h)
	}
	win.CloseHandle(c)
	say(t, at, "STOPPING=1")
	if m := next[watch.Heard](t, h); !m.Stopping {
		t.Error(m)
	}
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

// Only the worker's tree is heard, and only it may stay connected.
func TestStrangersAreNotHeard(t *testing.T) {
	h, at := ear(t, "")
	stranger := start(t, "deaf", 0)
	h.worker = opened(t, h.Kernel, stranger.PID()) // we are the stranger
	h.follow()
	h.tree.Root = h.worker
	if _, err := h.tree.Adopt(); err != nil {
		t.Fatal(err)
	}
	c := dial(t, at)
	defer win.CloseHandle(c)
	var n uint32
	win.WriteFile(c, []byte("WATCHDOG=1"), &n, nil) // before we are looked at, perhaps
	await(t, "the end of the connection", func() bool {
		if events, err := h.Wait(h.Now(), true); err != nil || len(events) > 0 {
			t.Fatal(events, err)
		}
		return win.WriteFile(c, []byte("WATCHDOG=1"), &n, nil) != nil
	})
	// A child of the worker is none.
	h.worker = opened(t, h.Kernel, os.Getpid())
	h.follow()
	h.tree.Root = h.worker
	if _, err := h.tree.Adopt(); err != nil {
		t.Fatal(err)
	}
	speaker := start(t, "speak", 0, pipeVar+"="+at)
	fmt.Fprintln(speaker.in, "READY=1")
	hears(t, h, ready)
}

// What an earlier worker said is not taken for the next one's.
func TestBeatsOfAnEarlierWorkerAreDropped(t *testing.T) {
	h, at := ear(t, "")
	stays := dial(t, at)
	defer win.CloseHandle(stays)
	write(t, stays, "WATCHDOG=1")
	hears(t, h, alive)
	for range 100 {
		say(t, at, "READY=1")
		say(t, at, "BARRIER=1")
		if h.notifier.all[0].serial%2 == 0 { // some have been looked at, and others not
			h.handle(<-h.happened)
		}
		h.dropBeats()
		say(t, at, "STOPPING=1")
		hears(t, h, stopping)
	}
	var n uint32
	if win.WriteFile(stays, []byte("READY=1"), &n, nil) == nil {
		t.Error("an earlier worker is connected still")
	}
}

// A flood is read up to the budget. Then nobody is listened to for a while, and
// silence means nothing; but nothing is lost. (Wine is too slow to be flooded, so
// the budget is spent already.)
func TestFlood(t *testing.T) {
	h, at := ear(t, "")
	const clients, each, spent = 4, 250, 1000
	for range clients {
		say(t, at, slices.Repeat([]string{"WATCHDOG=1"}, each)...)
	}
	heard, drowned := 0, 0
	count := func(events []watch.Event) {
		for _, e := range events {
			switch e.(type) {
			case watch.Heard:
				heard++
			case watch.Drowned:
				drowned++
			}
		}
	}
	began := overspend(h, spent)
	count(h.events)
	if drowned == 0 {
		t.Error("the budget is spent, and there is no pause")
	}
	least := (spent + time.Duration(clients*each-heard)) * time.Second / heartbeat.PerSecond
	for heard < clients*each {
		events, err := h.Wait(h.Now()+late, true)
		if err != nil || len(events) == 0 {
			t.Fatalf("%d of %d were heard (%v)", heard, clients*each, err)
		}
		count(events)
	}
	if took := h.Now() - began; took < least*9/10 {
		t.Errorf("%d messages were read in %v, at least %v should pass", heard, took, least)
	}
}

// overspend has a message come in when so many too many were read already. It returns
// since when; while a slow machine pays that back before, it is done once more.
func overspend(h *Host, spent int) (began time.Duration) {
	for began == 0 || h.notifier.budget.Left() {
		began = h.Now()
		h.notifier.budget.Refill(began)
		for range heartbeat.Burst + spent {
			h.notifier.budget.Spend()
		}
		h.handle(<-h.happened)
	}
	return began
}

// Who may connect: this user and the system, and nobody from elsewhere.
func TestAccess(t *testing.T) {
	h, _ := ear(t, "")
	sd, err := win.GetSecurityInfo(h.notifier.all[0].h, win.SE_KERNEL_OBJECT, win.DACL_SECURITY_INFORMATION)
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

//go:build linux

package linux

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/heartbeat"
	"leash/internal/testkit"
	"leash/watch"
)

// ear is a host whose worker is this very test, so that it may speak.
func ear(t *testing.T, address string) (h *Host, at string) {
	t.Helper()
	h, err := NewHost(newTestKernel(t), "event", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	at, err = h.ListenForBeats(address, false)
	if err != nil {
		t.Fatal(err)
	}
	h.worker = open(t, h.Kernel, os.Getpid())
	if h.worker.inode == 0 {
		testkit.Skip(t, "without an inode of its pidfd this process is not told from another")
	}
	return h, at
}

// say sends a message, with descriptors.
func say(t *testing.T, at, text string, rights ...int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var control []byte
	if len(rights) > 0 {
		control = unix.UnixRights(rights...)
	}
	if err := unix.Sendmsg(fd, []byte(text), control, &unix.SockaddrUnix{Name: at}, 0); err != nil {
		t.Fatal(err)
	}
}

// hear waits once, for no longer than it takes if nothing was said.
func hear(t *testing.T, h *Host) []watch.Event {
	t.Helper()
	events, err := h.Wait(h.Now(), true)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(events)
}

// hearAll waits until as many events have come. Of what was said no more is read in
// one wait than a slice of time allows: on a busy machine there is a pause in between.
func hearAll(t *testing.T, h *Host, n int) (events []watch.Event) {
	t.Helper()
	for end := h.Now() + testkit.Patience; len(events) < n && h.Now() < end; {
		events = append(events, slices.DeleteFunc(hear(t, h), func(e watch.Event) bool { return e == watch.Event(watch.Drowned{}) })...)
	}
	return events
}

func TestBeatsAreHeard(t *testing.T) {
	long := "/tmp/leash-test-" + itoa(os.Getpid()) + "-"
	long += strings.Repeat("x", maxAddress-len(long))
	for _, address := range []string{"", "@leash-test-" + filepath.Base(t.TempDir()) + itoa(os.Getpid()), filepath.Join(t.TempDir(), "s"), long} {
		h, at := ear(t, address)
		if address != "" && at != address {
			t.Errorf("%s instead of %s", at, address)
		}
		say(t, at, "WATCHDOG=1")
		say(t, at, "READY=1\nSTATUS=well")
		say(t, at, "no message")
		say(t, at, "STATUS="+strings.Repeat("x", heartbeat.MaxSize))
		say(t, at, "")
		say(t, at, "STOPPING=1")
		want := []watch.Event{
			watch.Heard{Message: heartbeat.Message{Beat: heartbeat.Alive}},
			watch.Heard{Message: heartbeat.Message{Ready: true, Status: "well"}},
			watch.Heard{Message: heartbeat.Message{Stopping: true}},
		}
		if got := hearAll(t, h, len(want)); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", address, got, want)
		}
		if got := hear(t, h); len(got) > 0 {
			t.Errorf("%q: nothing was said, but %v was heard", address, got)
		}
	}
}

// closed reports whether nobody holds the other end of a pipe any more.
func closed(t *testing.T, r int) bool {
	t.Helper()
	var b [1]byte
	n, err := unix.Read(r, b[:])
	return n == 0 && err == nil
}

func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(p[0]) })
	return p[0], p[1]
}

// A barrier falls once all that was said before it has been handled, which is
// when the next wait begins. Other descriptors are closed at once.
func TestDescriptors(t *testing.T) {
	h, at := ear(t, "")
	for text, late := range map[string]bool{
		"BARRIER=1": true, "BARRIER=1\nREADY=1": false, "READY=1": false, "nonsense": false, "FDSTORE=1": false,
	} {
		r, w := pipe(t)
		say(t, at, "WATCHDOG=1")
		say(t, at, text, w)
		unix.Close(w)
		hear(t, h)
		if got := closed(t, r); got == late {
			t.Errorf("%q: after it was heard the descriptor is closed: %t", text, got)
		}
		hear(t, h)
		if !closed(t, r) {
			t.Errorf("%q: the descriptor is never closed", text)
		}
	}
	// Many at once, and a file, which is closed elsewhere.
	r, w := pipe(t)
	say(t, at, "BARRIER=1", slices.Repeat([]int{w}, 200)...)
	unix.Close(w)
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	before := openFDs(t)
	say(t, at, "READY=1", int(file.Fd()), int(file.Fd()))
	hear(t, h)
	if !closed(t, r) {
		t.Error("some of many descriptors are left open")
	}
	await(t, "the files to be closed", func() bool { return openFDs(t) <= before })
}

func openFDs(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A flood is read up to the budget. Then the socket is left alone for a while,
// and silence means nothing.
func TestFlood(t *testing.T) {
	h, at := ear(t, "")
	sender, err := net.Dial("unixgram", at)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				sender.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
				sender.Write([]byte("WATCHDOG=1"))
			}
		}
	}()
	began := h.Now()
	heard, drowned := 0, 0
	for drowned < 5 {
		events, err := h.Wait(0, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			switch e.(type) {
			case watch.Heard:
				heard++
			case watch.Drowned:
				drowned++
			}
		}
	}
	if most := heartbeat.Burst + int((h.Now()-began+time.Second)*heartbeat.PerSecond/time.Second); heard > most {
		t.Errorf("%d messages were read, at most %d should be", heard, most)
	}
	close(stop)
	<-done
	want := watch.Event(watch.Heard{Message: heartbeat.Message{Stopping: true}})
	await(t, "what is said after the flood", func() bool {
		sender.SetWriteDeadline(time.Now().Add(time.Millisecond)) // there may be no room yet
		sender.Write([]byte("STOPPING=1"))
		return slices.Contains(hear(t, h), want)
	})
}

// What an earlier worker said is not taken for the next one's.
func TestBeatsOfAnEarlierWorkerAreDropped(t *testing.T) {
	h, at := ear(t, "")
	say(t, at, "READY=1")
	r, w := pipe(t)
	say(t, at, "BARRIER=1", w)
	unix.Close(w)
	h.dropBeats()
	if !closed(t, r) {
		t.Error("its barrier was forgotten")
	}
	if got := hear(t, h); len(got) > 0 {
		t.Errorf("%v was heard", got)
	}
}

func TestSocketFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "notify")
	h, _ := ear(t, path)
	st, err := os.Lstat(path)
	if err != nil || st.Mode() != os.ModeSocket|0o600 {
		t.Fatalf("%v, %v", st, err)
	}
	other, err := NewHost(newTestKernel(t), "event", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.ListenForBeats(path, true); !errors.Is(err, errInUse) {
		t.Errorf("a second listener: %v", err)
	}
	say(t, path, "READY=1")
	if got := hear(t, h); len(got) != 1 {
		t.Errorf("the first hears %v", got)
	}
	// Somebody takes the name away: what is there then is not ours.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	at, err := other.ListenForBeats(path, true)
	if err != nil || at != path {
		t.Fatalf("%s, %v", at, err)
	}
	if st, err := os.Lstat(path); err != nil || st.Mode() != os.ModeSocket|0o666 {
		t.Errorf("for others: %v, %v", st, err)
	}
	h.notifier.close()
	h.notifier = nil
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket of another was removed: %v", err)
	}
	// Somebody who is killed leaves a socket: it is replaced, and removed at last.
	unix.Close(other.notifier.fd)
	other.notifier = nil
	h, _ = ear(t, path)
	say(t, path, "READY=1")
	if got := hear(t, h); len(got) != 1 {
		t.Errorf("the third hears %v", got)
	}
	h.notifier.close()
	h.notifier = nil
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestSocketFileRefused(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file: "something else", link: "something else", dir: "something else",
		filepath.Join(dir, "none", "s"): "no such file", file + "/s": "not a directory",
	} {
		h, err := NewHost(newTestKernel(t), "event", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.ListenForBeats(path, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
		if h.notifier != nil {
			t.Errorf("%s: it listens nevertheless", path)
		}
		h.Close()
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "kept" {
		t.Errorf("%q, %v", b, err)
	}
}

// Who sends descriptors that cannot be closed makes us deaf after a while, and
// that is told once, also if it was found between two waits.
func TestDeafened(t *testing.T) {
	h, at := ear(t, "")
	n := h.notifier
	n.closer = make(chan int, maxRights) // nobody takes them
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n.closer <- -1
	n.moved = 1 // something was closed a moment ago: it may go on
	if h.dropBeats(); n.deaf {
		t.Fatal("it was given no time")
	}
	n.lookedAt -= time.Hour // we stood still, and so did who closes
	if h.dropBeats(); n.deaf {
		t.Fatal("it was given no time")
	}
	n.stuck = stuckAfter
	h.dropBeats()
	want := []watch.Event{watch.Deafened{}}
	if got := hear(t, h); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := hear(t, h); len(got) > 0 {
		t.Errorf("the deaf hears %v", got)
	}
	if err := unix.Connect(n.fd, &unix.SockaddrUnix{Name: at}); err != unix.EBADF {
		t.Errorf("the socket is still there: %v", err)
	}
}

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
	"leash/internal/stop"
	"leash/internal/system"
	"leash/internal/testkit"
)

// ear listens for a worker that is this very test, so that the test may send messages.
func ear(t *testing.T, address string) (s *System, n *notifier) {
	t.Helper()
	s = eventSystem(t)
	self := open(t, s.Kernel, os.Getpid())
	if self.inode == 0 {
		testkit.Skip(t, "without an inode of its pidfd this process is not told from another")
	}
	ears, err := s.ListenForBeats(system.Beats{Address: address, Worker: func() system.Handle { return self },
		Belongs: func(pid int, _ stop.Handle) bool { return pid == os.Getpid() }})
	if err != nil {
		t.Fatal(err)
	}
	n = ears.(*notifier)
	t.Cleanup(func() {
		if n.fd >= 0 {
			n.Close()
		}
	})
	return s, n
}

func eventSystem(t *testing.T) *System { t.Helper(); return systemOf(t, newTestKernel(t), "event") }

func systemOf(t *testing.T, k *Kernel, backend string) *System {
	t.Helper()
	s, err := newSystem(k, backend)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func heardOf(m heartbeat.Message) system.Wake { return system.Wake{Kind: system.Heard, Message: m} }

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

// hear waits once; it does not block if no message was sent.
func hear(t *testing.T, s *System) []system.Wake {
	t.Helper()
	wakes, err := s.Wait(s.Now(), true)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(wakes)
}

// hearAll waits until that many events have come. One wait reads for no longer than slice: on
// a busy machine the socket is paused in between.
func hearAll(t *testing.T, s *System, n int) (wakes []system.Wake) {
	t.Helper()
	for end := s.Now() + testkit.Patience; len(wakes) < n && s.Now() < end; {
		wakes = append(wakes, slices.DeleteFunc(hear(t, s), func(w system.Wake) bool { return w.Kind == system.Overflowed })...)
	}
	return wakes
}

func TestBeatsAreHeard(t *testing.T) {
	long := "/tmp/leash-test-" + itoa(os.Getpid()) + "-"
	long += strings.Repeat("x", maxAddress-len(long))
	for _, address := range []string{"", "@leash-test-" + filepath.Base(t.TempDir()) + itoa(os.Getpid()), filepath.Join(t.TempDir(), "s"), long} {
		s, n := ear(t, address)
		at := n.address
		if address != "" && at != address {
			t.Errorf("%s instead of %s", at, address)
		}
		say(t, at, "WATCHDOG=1")
		say(t, at, "READY=1\nSTATUS=well")
		say(t, at, "no message")
		say(t, at, "STATUS="+strings.Repeat("x", heartbeat.MaxSize))
		say(t, at, "")
		say(t, at, "STOPPING=1")
		want := []system.Wake{
			heardOf(heartbeat.Message{Beat: heartbeat.Alive}),
			heardOf(heartbeat.Message{Ready: true, Status: "well"}),
			heardOf(heartbeat.Message{Stopping: true}),
		}
		if got := hearAll(t, s, len(want)); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", address, got, want)
		}
		if got := hear(t, s); len(got) > 0 {
			t.Errorf("%q: nothing was said, but %v was heard", address, got)
		}
	}
}

// closed reports whether no process has the other end of a pipe open.
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

// A barrier is closed once all messages before it have been handled, which is when the next
// wait begins. Other descriptors are closed at once.
func TestDescriptors(t *testing.T) {
	s, n := ear(t, "")
	at := n.address
	for text, late := range map[string]bool{
		"BARRIER=1": true, "BARRIER=1\nREADY=1": false, "READY=1": false, "nonsense": false, "FDSTORE=1": false,
	} {
		r, w := pipe(t)
		say(t, at, "WATCHDOG=1")
		say(t, at, text, w)
		unix.Close(w)
		hear(t, s)
		if got := closed(t, r); got == late {
			t.Errorf("%q: after it was heard the descriptor is closed: %t", text, got)
		}
		hear(t, s)
		if !closed(t, r) {
			t.Errorf("%q: the descriptor is never closed", text)
		}
	}
	// Many at once, and a file, which another goroutine closes.
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
	hear(t, s)
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

// A flood is read up to the rate limit. Then the socket is paused, and missing heartbeats mean
// nothing.
func TestFlood(t *testing.T) {
	s, n := ear(t, "")
	at := n.address
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
	began := s.Now()
	heard, overflowed := 0, 0
	for overflowed < 5 {
		wakes, err := s.Wait(0, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range wakes {
			switch w.Kind {
			case system.Heard:
				heard++
			case system.Overflowed:
				overflowed++
			}
		}
	}
	if most := heartbeat.Burst + int((s.Now()-began+time.Second)*heartbeat.PerSecond/time.Second); heard > most {
		t.Errorf("%d messages were read, at most %d should be", heard, most)
	}
	close(stop)
	<-done
	want := heardOf(heartbeat.Message{Stopping: true})
	await(t, "what is said after the flood", func() bool {
		sender.SetWriteDeadline(time.Now().Add(time.Millisecond)) // the queue may still be full
		sender.Write([]byte("STOPPING=1"))
		return slices.Contains(hear(t, s), want)
	})
}

// Messages of an earlier worker do not count as the next one's.
func TestBeatsOfAnEarlierWorkerAreDropped(t *testing.T) {
	s, n := ear(t, "")
	at := n.address
	say(t, at, "READY=1")
	r, w := pipe(t)
	say(t, at, "BARRIER=1", w)
	unix.Close(w)
	n.Drop()
	if !closed(t, r) {
		t.Error("its barrier was forgotten")
	}
	if got := hear(t, s); len(got) > 0 {
		t.Errorf("%v was heard", got)
	}
}

func TestSocketFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "notify")
	s, first := ear(t, path)
	st, err := os.Lstat(path)
	if err != nil || st.Mode() != os.ModeSocket|0o600 {
		t.Fatalf("%v, %v", st, err)
	}
	other := eventSystem(t)
	if _, err := other.ListenForBeats(system.Beats{Address: path, Others: true}); !errors.Is(err, errInUse) {
		t.Errorf("a second listener: %v", err)
	}
	say(t, path, "READY=1")
	if got := hear(t, s); len(got) != 1 {
		t.Errorf("the first hears %v", got)
	}
	// Another process removes the name: a file that has it now is not ours.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := other.ListenForBeats(system.Beats{Address: path, Others: true})
	if err != nil || second.Address() != path {
		t.Fatalf("%v, %v", second, err)
	}
	if st, err := os.Lstat(path); err != nil || st.Mode() != os.ModeSocket|0o666 {
		t.Errorf("for others: %v, %v", st, err)
	}
	first.Close()
	first.fd = -1
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket of another was removed: %v", err)
	}
	// A process that is killed leaves a socket: it is replaced, and removed in the end.
	unix.Close(second.(*notifier).fd)
	s, third := ear(t, path)
	say(t, path, "READY=1")
	if got := hear(t, s); len(got) != 1 {
		t.Errorf("the third hears %v", got)
	}
	third.Close()
	third.fd = -1
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
		s := eventSystem(t)
		if _, err := s.ListenForBeats(system.Beats{Address: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
		if len(s.ready) > 0 {
			t.Errorf("%s: it listens nevertheless", path)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "kept" {
		t.Errorf("%q, %v", b, err)
	}
}

// If a worker sends descriptors that cannot be closed, reading is given up after a while. That
// is reported once, also if it was found between two waits.
func TestDeafened(t *testing.T) {
	s, n := ear(t, "")
	at := n.address
	n.closer = make(chan int, maxRights) // without a reader
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n.closer <- -1
	n.moved = 1 // a descriptor was closed a moment ago: the closer works
	if n.Drop(); n.deaf {
		t.Fatal("it was given no time")
	}
	n.lookedAt -= time.Hour // this process did not run, and neither did the closer
	if n.Drop(); n.deaf {
		t.Fatal("it was given no time")
	}
	n.stuck = stuckAfter
	n.Drop()
	want := []system.Wake{{Kind: system.Deaf}}
	if got := hear(t, s); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := hear(t, s); len(got) > 0 {
		t.Errorf("the deaf hears %v", got)
	}
	if err := unix.Connect(n.fd, &unix.SockaddrUnix{Name: at}); err != unix.EBADF {
		t.Errorf("the socket is still there: %v", err)
	}
}

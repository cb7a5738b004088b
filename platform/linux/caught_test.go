//go:build linux

package linux

import (
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"leash/internal/system"
	"leash/internal/testkit"
)

func listening(t *testing.T) *System {
	t.Helper()
	h := eventSystem(t)
	if err := h.Listen(true); err != nil {
		t.Fatal(err)
	}
	return h
}

// signals are those that are passed on, from any sender.
var signals = slices.DeleteFunc(numbers(), func(s syscall.Signal) bool {
	return !heard(s) || s == unix.SIGCHLD || s == unix.SIGPIPE
})

func numbers() (all []syscall.Signal) {
	for s := syscall.Signal(1); s <= 64; s++ {
		all = append(all, s)
	}
	return all
}

// came waits until that many signals have arrived.
func came(t *testing.T, h *System, n int) (numbers []int) {
	t.Helper()
	for deadline := h.Now() + testkit.Patience; len(numbers) < n; {
		events, err := h.Wait(deadline, true)
		if err != nil || h.Now() >= deadline {
			t.Fatalf("only %v arrived, %v", numbers, err)
		}
		for _, e := range events {
			if e.Kind == system.Signalled {
				numbers = append(numbers, e.Signal.Num)
			}
		}
	}
	return numbers
}

func TestSignalsComeIn(t *testing.T) {
	h := listening(t)
	for _, s := range signals {
		unix.Kill(os.Getpid(), s)
		if got := came(t, h, 1); got[0] != int(s) {
			t.Errorf("%v was heard as %d", s, got)
		}
	}
	together := slices.DeleteFunc(slices.Clone(signals), func(s syscall.Signal) bool {
		return s == parentHint // a stop signal discards a pending SIGCONT (signal(7))
	})
	for _, s := range together {
		unix.Kill(os.Getpid(), s)
	}
	got := came(t, h, len(together))
	for _, s := range together {
		if !slices.Contains(got, int(s)) {
			t.Errorf("%v sent with others was not heard: %v", s, got)
		}
	}
}

// Signals arrive while the runtime is busy, in all its threads.
func TestSignalsInTheMidstOfWork(t *testing.T) {
	h := listening(t)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	for range 8 {
		busy.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				_ = make([]byte, n%100_000)
				if n%100 == 0 {
					runtime.GC()
				}
				grow(n % 1000)
			}
		})
	}
	defer busy.Wait()
	defer close(stop)
	rounds := 2000
	if testing.Short() { // on an emulated processor, for example
		rounds = 200
	}
	for n := range rounds {
		unix.Kill(os.Getpid(), unix.SIGCHLD) // no child has ended, but the loop reaps
		s := signals[n%len(signals)]
		unix.Kill(os.Getpid(), s)
		if got := came(t, h, 1); got[0] != int(s) {
			t.Fatalf("%v was heard as %d", s, got)
		}
	}
}

// grow makes the goroutine's stack grow, so that it is copied.
func grow(depth int) int {
	var room [128]byte
	if depth == 0 {
		return int(room[0])
	}
	return grow(depth-1) + int(room[depth%len(room)])
}

// As in the kernel, SIGCONT discards pending stop signals.
func TestContinuedBeforeItStops(t *testing.T) {
	h := listening(t)
	for _, s := range []syscall.Signal{unix.SIGTSTP, unix.SIGTTIN, unix.SIGCONT, unix.SIGUSR1} {
		note(s)
	}
	if got := came(t, h, 2); !slices.Equal(got, []int{int(unix.SIGUSR1), int(unix.SIGCONT)}) {
		t.Error(got)
	}
}

// The end-of-file of a lifeline is seen without waiting for it, and also after it was
// reported.
func TestFDEnded(t *testing.T) {
	s := eventSystem(t)
	r, line, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd := int(r.Fd())
	if open, err := s.WatchFD(fd, nil); err != nil || !open {
		t.Fatal(open, err)
	}
	if s.FDEnded(fd) {
		t.Error("it is open")
	}
	if line.Close(); !s.FDEnded(fd) {
		t.Error("the lifeline has ended")
	}
	if wakes := hear(t, s); len(wakes) != 1 || wakes[0].Kind != system.FDEnded {
		t.Errorf("told: %v", wakes)
	}
	if !s.FDEnded(fd) {
		t.Error("the lifeline has ended, and that was told")
	}
}

// A flood of one signal before the channels are emptied does not displace another.
func TestFloodHidesNoSignal(t *testing.T) {
	if testing.Short() {
		testkit.Skip(t, "so many signals take minutes where the processor is emulated")
	}
	h := listening(t)
	if err := h.waitForChildren(); err != nil {
		t.Fatal(err)
	}
	for _, flood := range []syscall.Signal{unix.SIGCHLD, unix.SIGUSR1, 64} {
		for range 100_000 {
			unix.Kill(os.Getpid(), flood)
		}
		unix.Kill(os.Getpid(), unix.SIGTERM)
		for !slices.Contains(came(t, h, 1), int(unix.SIGTERM)) {
		}
		drained(t, h, flood)
	}
}

// drained waits until no signal of the flood is on its way any more, for the next test would
// hear it.
func drained(t *testing.T, h *System, flood syscall.Signal) {
	t.Helper()
	for deadline := h.Now() + testkit.Patience; pending(t)&(1<<(flood-1)) != 0; runtime.Gosched() {
		if h.Now() > deadline {
			t.Fatalf("signal %d stays pending", flood)
		}
	}
	signal.Stop(channels[flood]) // it waits until what has come is in the channel
	channels[flood] <- unix.SIGUSR2
	for !slices.Contains(came(t, h, 1), int(unix.SIGUSR2)) {
	}
	signal.Notify(channels[flood], flood)
}

// pending are the signals of the process that no thread has taken yet (ShdPnd, proc_pid_status(5)).
func pending(t *testing.T) uint64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\nShdPnd:\t")
	set, err := strconv.ParseUint(rest[:16], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// If it were not emptied, the loop would never block again.
func TestWakeUpIsEmptied(t *testing.T) {
	h := listening(t)
	unix.Kill(os.Getpid(), unix.SIGUSR1)
	for !slices.Contains(came(t, h, 1), int(unix.SIGUSR1)) {
	}
	takeCaught() // it may have been recorded twice
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(wakeUp), Events: unix.POLLIN}}, 0); n != 0 || err != nil {
		t.Errorf("it is still readable: %d, %v", n, err)
	}
}

// dispositionOf is what the kernel does with a signal: 0 for SIG_DFL, 1 for SIG_IGN.
func dispositionOf(t *testing.T, s syscall.Signal) uintptr {
	t.Helper()
	var sa sigaction
	if _, _, err := unix.Syscall6(unix.SYS_RT_SIGACTION, uintptr(s), 0, uintptr(unsafe.Pointer(&sa)), 8, 0, 0); err != 0 {
		t.Fatal(err)
	}
	return sa.handler
}

// Signals that package os/signal does not touch would end the watchdog.
func TestUncatchableAreIgnored(t *testing.T) {
	for _, s := range uncatchable {
		setHandler(s, byDefault)
	}
	listening(t)
	for _, s := range uncatchable {
		if dispositionOf(t, s) != ignored {
			t.Errorf("signal %d is not ignored", s)
		}
	}
}

// A signal that was ignored can be caught afterwards.
func TestIgnoreThenCatch(t *testing.T) {
	h := listening(t)
	const s = unix.SIGTTIN
	ignore(s)
	if dispositionOf(t, s) != ignored {
		t.Error("it is not ignored")
	}
	signal.Notify(channels[s], s)
	unix.Kill(os.Getpid(), s)
	for !slices.Contains(came(t, h, 1), int(s)) {
	}
}

func TestContinued(t *testing.T) {
	h := listening(t)
	takeCaught()
	resumed := make(chan os.Signal, 1)
	if continued(resumed) {
		t.Error("no SIGCONT has come")
	}
	// To this very thread, so that it has been delivered when the call returns.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range 100 {
		takeCaught()
		signal.Notify(resumed, unix.SIGCONT)
		unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGCONT)
		if !continued(resumed) {
			t.Fatal("a SIGCONT on its way is not seen")
		}
		select {
		case <-resumed:
		default:
			t.Fatal("signal.Stop did not wait for it")
		}
	}
	note(unix.SIGCONT)
	if !continued(resumed) {
		t.Error("one that was noted is not seen")
	}
	channels[unix.SIGCONT] <- unix.SIGUSR2 // after all that is still to be recorded
	for !slices.Contains(came(t, h, 1), int(unix.SIGUSR2)) {
	}
}

//go:build linux

package linux

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
	"leash/watch"
)

func listening(t *testing.T) *Host {
	t.Helper()
	h, err := NewHost(newTestKernel(t), "event", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	h.child = true // so that none is ignored
	if err := h.Listen(true); err != nil {
		t.Fatal(err)
	}
	return h
}

// signals are all that are passed on, whoever sends them.
var signals = slices.DeleteFunc(numbers(), func(s syscall.Signal) bool {
	return !heard(s) || s == unix.SIGCHLD || s == unix.SIGPIPE
})

func numbers() (all []syscall.Signal) {
	for s := syscall.Signal(1); s <= 64; s++ {
		all = append(all, s)
	}
	return all
}

// came waits until as many signals have come in.
func came(t *testing.T, h *Host, n int) (numbers []int) {
	t.Helper()
	for deadline := h.Now() + testkit.Patience; len(numbers) < n; {
		events, err := h.Wait(deadline, true)
		if err != nil || h.Now() >= deadline {
			t.Fatalf("%v came in, %v", numbers, err)
		}
		for _, e := range events {
			if s, ok := e.(watch.Signalled); ok {
				numbers = append(numbers, s.Signal.Num)
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
		return s == rumour // those that stop take it back while it is pending (signal(7))
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

// They come while the runtime does all that it does, and in all its threads.
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
	if testing.Short() { // on a processor that is emulated, say
		rounds = 200
	}
	for n := range rounds {
		unix.Kill(os.Getpid(), unix.SIGCHLD) // nobody ended, but it is looked at
		s := signals[n%len(signals)]
		unix.Kill(os.Getpid(), s)
		if got := came(t, h, 1); got[0] != int(s) {
			t.Fatalf("%v was heard as %d", s, got)
		}
	}
}

// grow has the goroutine's stack grow, and be copied.
func grow(depth int) int {
	var room [128]byte
	if depth == 0 {
		return int(room[0])
	}
	return grow(depth-1) + int(room[depth%len(room)])
}

// As the kernel does while they are pending: what would stop us is taken back.
func TestContinuedBeforeItStops(t *testing.T) {
	h := listening(t)
	for _, s := range []syscall.Signal{unix.SIGTSTP, unix.SIGTTIN, unix.SIGCONT, unix.SIGUSR1} {
		note(s)
	}
	if got := came(t, h, 2); !slices.Equal(got, []int{int(unix.SIGUSR1), int(unix.SIGCONT)}) {
		t.Error(got)
	}
}

// Whoever stops himself then would not hear of it.
func TestBereft(t *testing.T) {
	h := listening(t)
	p := sleeper(t)
	r, line, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, add := range []func() (bool, error){
		func() (bool, error) { return h.AddParent(p.PID) }, func() (bool, error) { return h.AddLifeline(int(r.Fd())) }} {
		if alive, err := add(); err != nil || !alive {
			t.Fatal(alive, err)
		}
	}
	if h.bereft() {
		t.Error("nobody has died")
	}
	if line.Close(); !h.bereft() {
		t.Error("the lifeline has ended")
	}
	h.lifelineToken = 0
	p.Kill()
	p.Wait()
	if !h.bereft() {
		t.Error("the parent has died")
	}
}

// However many ends of children are told of before anybody looks, no other
// signal is lost for want of room.
func TestManyChildrenHideNoSignal(t *testing.T) {
	if testing.Short() {
		testkit.Skip(t, "so many signals take minutes where the processor is emulated")
	}
	h := listening(t)
	if err := h.waitForChildren(); err != nil {
		t.Fatal(err)
	}
	for range 100_000 {
		unix.Kill(os.Getpid(), unix.SIGCHLD)
	}
	unix.Kill(os.Getpid(), unix.SIGTERM)
	if got := came(t, h, 1); got[0] != int(unix.SIGTERM) {
		t.Error(got)
	}
}

// The same on processors that nobody wrote the handler for.
func TestSignalsElsewhere(t *testing.T) {
	testkit.Need(t, "go")
	tests := filepath.Join(t.TempDir(), "tests")
	build := exec.Command("go", "test", "-c", "-tags", "portable", "-o", tests, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run := exec.Command(tests, "-test.v", "-test.run", "^(TestSignalsComeIn|TestSignalsInTheMidstOfWork|TestManyChildrenHideNoSignal)$")
	status, stdout, stderr := testkit.Run(t, run)
	if status != 0 || strings.Count(stdout, "--- PASS") != 3 {
		t.Errorf("status %d: %s %s", status, stdout, stderr)
	}
}

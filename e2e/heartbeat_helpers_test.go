//go:build linux

package e2e

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"leash/internal/testkit"
)

// together runs subtests beside each other, more than there are processors:
// they mostly wait.
func together(t *testing.T) (run func(name string, body func(*testing.T)), wait func()) {
	var all sync.WaitGroup
	return func(name string, body func(*testing.T)) { all.Go(func() { t.Run(name, body) }) }, all.Wait
}

// patient is a worker (hangs.py) whose beats a watchdog hears.
type patient struct {
	*testkit.Proc // the watchdog under run; the worker itself beside guard

	t      *testing.T
	log    *testkit.Lines // events, apart from what the worker says on standard error
	orders io.Writer
	worker testkit.Ident
	child  testkit.Ident // in a session of its own; none if there is no --child
	socket string
}

// patience is how these watchdogs are set up that are to find their worker hung:
// three beats missed, 1.05 s after the last sign of life. A machine may hold a
// healthy worker still for longer, so it has to be --mute until it hangs. What
// must not run out has minutes.
var patience = []string{"--heartbeat", "notify", "--heartbeat-interval", "300ms", "--max-missed", "3",
	"--grace", "1m", "--on-hang-timeout", "1m"}

// hasty is a patience of 0.5 s, for workers that are to be silent for longer
// and not to be hung.
var hasty = []string{"--heartbeat", "notify", "--heartbeat-interval", "200ms", "--max-missed", "2", "--grace", "1m"}

// longer is how many seconds are more than hasty has.
const longer = "1.5"

// calm is for workers that beat, each fifth of a second, and are not to be hung
// even if the machine holds them still for some seconds. Its patience is 8 s, of
// 26 missed beats; what a worker says with hastens makes it 0.6 s, and one.
var calm = []string{"--heartbeat", "notify", "--heartbeat-interval", "300ms", "--heartbeat-timeout", "8s", "--max-missed", "100",
	"--grace", "1m", "--on-hang-timeout", "1m"}

const hastens = "WATCHDOG_USEC=600000"

// calmBeats are more than a calm watchdog's patience: one each 200 ms.
const calmBeats = 43

// unhurried never finds a worker hung that does not say so itself.
var unhurried = []string{"--heartbeat", "notify", "--heartbeat-interval", "1h", "--heartbeat-timeout", "2h", "--grace", "1m"}

// unjudged is READY=1 of a worker whose silence means nothing from then on.
const unjudged = `READY=1\nWATCHDOG_USEC=0`

// beating is a command line of run around hangs.py.
func beating(t *testing.T, flags []string, args ...string) *exec.Cmd {
	t.Helper()
	line := slices.Concat([]string{"run"}, flags, []string{"--", testkit.NeedPython(t), peer(t, "hangs.py")}, args)
	cmd := watchdog(t, line...)
	cmd.Env = append(withClient(t, cmd.Env), "LEASH_LOG_LEVEL=debug", "LEASH_LOG_FD=3")
	return cmd
}

// withClient lets a Python worker find the client.
func withClient(t *testing.T, env []string) []string {
	t.Helper()
	return append(env, "PYTHONPATH="+filepath.Join(testkit.Root(t), "clients", "python"), "PYTHONDONTWRITEBYTECODE=1")
}

// admit starts the command and waits for its worker.
func admit(t *testing.T, cmd *exec.Cmd) *patient {
	t.Helper()
	p := unmet(t, cmd)
	p.meet(slices.Contains(cmd.Args, "--child"))
	return p
}

// unmet starts the command only: its worker may be ended before it says anything.
func unmet(t *testing.T, cmd *exec.Cmd) *patient {
	t.Helper()
	p := &patient{t: t, orders: input(t, cmd)}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	p.log = testkit.Collect(t, r)
	cmd.ExtraFiles = []*os.File{w}
	p.Proc = testkit.Start(t, cmd)
	w.Close()
	return p
}

// meet reads what a worker says until it is ready.
func (p *patient) meet(child bool) {
	p.t.Helper()
	p.socket = p.Stdout.Await("SOCKET ")
	if child {
		p.child = identOf(p.t, p.Stdout, "CHILD")
	}
	p.worker = identOf(p.t, p.Stdout, "READY")
}

// runPatient admits a worker under run.
func runPatient(t *testing.T, flags []string, args ...string) *patient {
	t.Helper()
	return admit(t, beating(t, flags, args...))
}

// alone starts hangs.py without a watchdog, but told of a socket.
func alone(t *testing.T, socket string, args ...string) *patient {
	t.Helper()
	return admit(t, aloneCommand(t, socket, args...))
}

func aloneCommand(t *testing.T, socket string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(testkit.NeedPython(t), append([]string{peer(t, "hangs.py")}, args...)...)
	cmd.Env = append(withClient(t, os.Environ()), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=600000")
	return cmd
}

// order tells the worker to do something, and does not wait.
func (p *patient) order(line string) { p.t.Helper(); tell(p.t, p.orders, line) }

// does waits for the answer too.
func (p *patient) does(line string) {
	p.t.Helper()
	p.order(line)
	p.Stdout.Await("STILL HERE")
}

// hang returns when the worker does.
func (p *patient) hang(way string) {
	p.t.Helper()
	p.order("hang " + way)
	p.Stdout.Await("HANGING")
}

// over waits for the end of the watchdog and of everybody that has its streams.
// Of the worker's processes none may be left that had the time to say who they are.
func (p *patient) over(status int) {
	p.t.Helper()
	if got := p.Wait(); got != status {
		p.t.Errorf("status %d, want %d", got, status)
	}
	p.Stdout.AwaitEnd()
	p.Stderr.AwaitEnd()
	p.log.AwaitEnd()
	for _, word := range []string{"CHILD", "READY"} {
		noneLeft(p.t, p.Stdout, word)
	}
}

// told are the PIDs that were printed behind a word. Those processes may have ended.
func told(lines *testkit.Lines, word string) (pids []int) {
	for line := range strings.Lines(lines.All()) {
		if text, ok := strings.CutPrefix(line, word+" "); ok {
			if n, err := strconv.Atoi(strings.TrimSpace(text)); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// noneLeft fails the test if one of them lives.
func noneLeft(t *testing.T, lines *testkit.Lines, word string) {
	t.Helper()
	for _, pid := range told(lines, word) {
		if id, ok := testkit.Lookup(pid); ok && id.Alive() {
			testkit.Adopt(t, id)
			t.Errorf("%s is left: %v", word, id)
		}
	}
}

// inTime plays with a short time-out that must run out, or not, and with a longer
// one if the machine left no time for what was to happen before: then body says
// false.
func inTime(t *testing.T, first time.Duration, body func(limit time.Duration) bool) {
	t.Helper()
	for limit := first; !body(limit); limit *= 2 {
		if limit > time.Minute || t.Failed() {
			t.Fatalf("a time-out of %v was too short too", limit)
		}
	}
}

// gone waits for the end of the tree and of the watchdog.
func (p *patient) gone(status int) {
	p.t.Helper()
	testkit.AwaitGone(p.t, p.tree()...)
	if got := p.Wait(); got != status {
		p.t.Errorf("status %d, want %d", got, status)
	}
	p.Stderr.AwaitEnd()
	p.log.AwaitEnd()
}

func (p *patient) tree() []testkit.Ident {
	if p.child.PID == 0 {
		return []testkit.Ident{p.worker}
	}
	return []testkit.Ident{p.worker, p.child}
}

// named lists the events of a name.
func named(lines *testkit.Lines, name string) (found []testkit.Event) {
	for _, e := range lines.Events() {
		if e.Name() == name {
			found = append(found, e)
		}
	}
	return found
}

// before lists the events of a name that come before the first one of another.
func before(lines *testkit.Lines, name, end string) (found []testkit.Event) {
	for _, e := range lines.Events() {
		if e.Name() == end {
			return found
		}
		if e.Name() == name {
			found = append(found, e)
		}
	}
	return found
}

// unharmed fails the test if the watchdog ever took the worker for hung.
func (p *patient) unharmed(events ...string) {
	p.t.Helper()
	testkit.StillAlive(p.t, append(p.tree(), p.Ident)...)
	for _, name := range append(events, "heartbeat.timeout") {
		if found := named(p.log, name); len(found) != 0 {
			p.t.Errorf("a healthy worker: %v", found)
		}
	}
}

// wasHung looks at what a watchdog said of a worker that hung: misses one by
// one, the verdict, the end, and nothing of it twice.
func wasHung(t *testing.T, lines *testkit.Lines, worker testkit.Ident, misses int) {
	t.Helper()
	timeout := lines.AwaitEvent("heartbeat.timeout")
	if timeout.Str("reason") != "heartbeat_timeout" || timeout.Int("process.pid") != worker.PID || timeout.Int("missed") != misses {
		t.Errorf("want %d misses of %v: %v", misses, worker, timeout)
	}
	missed := before(lines, "heartbeat.missed", "heartbeat.timeout")
	if len(missed) < misses { // more, if one came late and it was well again
		t.Fatalf("%d misses before the end, want %d: %v", len(missed), misses, missed)
	}
	for i, e := range missed[len(missed)-misses:] {
		// The (i+1)th is declared half an interval after it was due.
		least := 300*(i+1) + 150
		if e.Int("missed") != i+1 || e.Int("silence_ms") < least || e.Str("level") != "WARN" {
			t.Errorf("miss %d, at least %d ms: %v", i+1, least, e)
		}
	}
	ended(t, lines, "heartbeat_timeout")
	if n := len(named(lines, "heartbeat.timeout")); n != 1 {
		t.Errorf("%d times hung", n)
	}
}

// ended looks at the events of an end.
func ended(t *testing.T, lines *testkit.Lines, outcome string) {
	t.Helper()
	if e := lines.AwaitEvent("process.terminated"); e.Str("reason") != outcome {
		t.Errorf("terminated for another reason than %s: %v", outcome, e)
	}
	if e := lines.AwaitEvent("process.cleanup_completed"); e["success"] != true || e.Int("survivors") != 0 {
		t.Errorf("cleanup: %v", e)
	}
	if e := lines.AwaitEvent("watchdog.stopped"); e.Str("outcome") != outcome {
		t.Errorf("outcome is not %s: %v", outcome, e)
	}
}

// socketDir is a short way to a new folder: addresses of sockets hold 107 bytes.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "leash-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// manager is a socket as a service manager has it.
type manager struct {
	path  string
	said  chan string
	heard []string // what await has seen
}

func listen(t *testing.T, path string) *manager {
	t.Helper()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	m := &manager{path: path, said: make(chan string, 1000)}
	go receive(socket, m.said)
	return m
}

// await returns the next message that is about one key.
func (m *manager) await(t *testing.T, key string) string {
	t.Helper()
	late := time.After(testkit.Patience)
	for {
		select {
		case message := <-m.said:
			m.heard = append(m.heard, message)
			if slices.ContainsFunc(strings.Split(message, "\n"), func(l string) bool { return strings.HasPrefix(l, key+"=") }) {
				return message
			}
		case <-late:
			t.Fatalf("nobody said %s, only %q", key, m.heard)
		}
	}
}

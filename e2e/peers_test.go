//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// spec asks a parent program for one worker.
type spec struct {
	mode  string // guard, run, bare: how a watchdog stands beside it
	id    string
	flags []string // of the worker
}

func (s spec) String() string {
	return strings.Join(append([]string{s.mode, s.id}, s.flags...), ",")
}

// worker is a worker that answers, and what belongs to it.
type worker struct {
	spec
	port int
	pids map[string]testkit.Ident // by role: worker, watchdog, daemon, …
}

func (w worker) processes() []testkit.Ident { return slices.Collect(maps.Values(w.pids)) }

// scene is a parent with its workers, ready and watched.
type scene struct {
	t       *testing.T
	runID   string
	parent  *testkit.Proc
	beam    testkit.Ident // the parent itself: a launcher may have started it
	workers []worker
	all     []testkit.Ident // all the processes but the parent
}

// start starts a parent program with workers and waits until each worker
// answers and each watchdog watches. Every process is ended with the test.
func start(t *testing.T, cmd *exec.Cmd, specs []spec) *scene {
	t.Helper()
	runID := newRunID()
	python := testkit.NeedPython(t, "grpc")
	cmd.Args = append(cmd.Args, watchdogFor(t, specs), python, peer(t, "grpc_worker.py"), runID)
	for _, s := range specs {
		cmd.Args = append(cmd.Args, s.String())
	}
	cmd.Env = append(os.Environ(), "LEASH_LOG_FORMAT=json", "LEASH_GRACE="+graceFor(specs),
		"ERL_CRASH_DUMP_SECONDS=0") // a node may lose its helper first, at the end of a test
	s := &scene{t: t, runID: runID, parent: testkit.Start(t, cmd)}
	t.Cleanup(s.endRun) // also what never printed its PID
	s.awaitWorkers(specs)
	return s
}

// watchdogFor builds the binary, if the scene has a use for it.
func watchdogFor(t *testing.T, specs []spec) string {
	t.Helper()
	if !slices.ContainsFunc(specs, spec.watched) {
		return "no-watchdog"
	}
	return testkit.Watchdog(t)
}

// graceFor is short if a worker ignores TERM, and else long enough for all.
func graceFor(specs []spec) string {
	if slices.ContainsFunc(specs, func(s spec) bool { return slices.Contains(s.flags, "--deaf") }) {
		return "1s"
	}
	return "1m"
}

func (s spec) watched() bool { return s.mode != "bare" }

// awaitWorker waits until a worker is ready, and reads the PIDs that it told before.
func (s *scene) awaitWorker(want spec) {
	s.t.Helper()
	out := s.parent.Stdout
	w := worker{spec: want, pids: map[string]testkit.Ident{}}
	w.port = s.number(out.Await(want.id + " GRPC_READY:"))
	if want.watched() {
		w.pids["watchdog"] = s.identify(out.Await(want.id + " PID watchdog "))
	}
	line := regexp.MustCompile(`(?m)^` + want.id + ` PID (\w+) (\d+)$`)
	for _, m := range line.FindAllStringSubmatch(out.All(), -1) {
		w.pids[m[1]] = s.identify(m[2])
	}
	s.workers = append(s.workers, w)
}

// awaitWatchdogs waits for the first event of each watchdog.
func (s *scene) awaitWatchdogs() {
	s.t.Helper()
	for _, w := range s.workers {
		if !w.watched() {
			continue
		}
		ev := s.parent.Stderr.AwaitEvent("watchdog.started")
		i := slices.IndexFunc(s.workers, func(w worker) bool { return w.id == ev.Str("leash.worker_id") })
		if i < 0 {
			s.t.Fatalf("event of an unknown worker: %v", ev)
		}
		s.checkEvent(ev, s.workers[i])
	}
}

// checkEvent checks what every event carries.
func (s *scene) checkEvent(ev testkit.Event, w worker) {
	s.t.Helper()
	if ev.Str("leash.run_id") != s.runID || ev.Int("process.parent_pid") != s.beam.PID ||
		ev.Int("process.pid") != w.pids["worker"].PID {
		s.t.Errorf("%s: event of run %s, parent %d, worker %v: %v",
			w.id, s.runID, s.beam.PID, w.pids["worker"], ev)
	}
}

// collect lists every process of the scene: those that printed their PID,
// those below the parent, and those that carry the run ID.
func (s *scene) collect() {
	seen := map[testkit.Ident]bool{s.beam: true, s.parent.Ident: true}
	add := func(ids ...testkit.Ident) {
		for _, id := range ids {
			if !seen[id] {
				seen[id] = true
				s.all = append(s.all, id)
			}
		}
	}
	for _, w := range s.workers {
		testkit.StillAlive(s.t, w.processes()...)
		add(w.processes()...)
	}
	add(testkit.Descendants(s.t, s.parent.PID)...)
	add(ofRun(s.t, s.runID)...)
	testkit.Adopt(s.t, s.all...)
}

// endRun kills what carries the run ID.
func (s *scene) endRun() {
	left := ofRun(s.t, s.runID)
	for _, id := range left {
		_ = id.Signal(unix.SIGKILL)
	}
	testkit.AwaitGone(s.t, left...)
}

// kill ends the parent by SIGKILL and returns when that was.
func (s *scene) kill() time.Time {
	s.t.Helper()
	at := time.Now()
	if err := s.beam.Signal(unix.SIGKILL); err != nil {
		s.t.Fatalf("kill the parent: %v", err)
	}
	return at
}

// awaitNothing waits until nothing of the run is left but the bystanders: no
// process that was seen, none that carries the run ID, and no port.
func (s *scene) awaitNothing(bystanders ...testkit.Ident) {
	s.t.Helper()
	from := time.Now()
	testkit.AwaitGone(s.t, s.all...)
	s.t.Logf("%d processes gone %v after the end of their parent", len(s.all), time.Since(from).Round(time.Millisecond))
	testkit.AwaitGone(s.t, s.parent.Ident, s.beam)
	for _, id := range ofRun(s.t, s.runID) {
		if !slices.Contains(bystanders, id) {
			s.t.Errorf("left: %v", id)
		}
	}
	testkit.StillAlive(s.t, bystanders...)
	for _, w := range s.workers {
		portIsFree(s.t, w.port)
	}
}

// checkDeaths checks the events of the watchdogs about a parent that was killed.
func (s *scene) checkDeaths(killed time.Time) {
	s.t.Helper()
	s.parent.Stderr.AwaitEnd()
	for _, w := range s.workers {
		s.checkDeath(w, killed)
	}
}

func (s *scene) checkDeath(w worker, killed time.Time) {
	s.t.Helper()
	names := map[string]testkit.Event{}
	for _, ev := range s.parent.Stderr.Events() {
		if ev.Str("leash.worker_id") == w.id {
			names[ev.Name()] = ev
			s.checkEvent(ev, w)
		}
	}
	death, cleanup, stopped := names["watchdog.parent_death_detected"],
		names["process.cleanup_completed"], names["watchdog.stopped"]
	if death == nil || death.Time().Before(killed.Truncate(time.Millisecond)) {
		s.t.Errorf("%s: parent killed at %v, death event: %v", w.id, killed, death)
	}
	if cleanup["success"] != true || cleanup.Int("survivors") != 0 {
		s.t.Errorf("%s: cleanup event: %v", w.id, cleanup)
	}
	if stopped.Str("outcome") != "parent_died" {
		s.t.Errorf("%s: stopped event: %v", w.id, stopped)
	}
}

func (s *scene) identify(pid string) testkit.Ident {
	s.t.Helper()
	return testkit.Identify(s.t, s.number(pid))
}

func (s *scene) number(text string) int {
	s.t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatalf("no number: %q", text)
	}
	return n
}

// bystander starts a process of the same run, but of no worker of the scene.
func (s *scene) bystander() testkit.Ident {
	cmd := exec.Command("sleep", "1000000")
	cmd.Env = append(os.Environ(), "LEASH_RUN_ID="+s.runID, "LEASH_WORKER_ID=bystander")
	return testkit.Start(s.t, cmd).Ident
}

// ofRun finds live processes by the run ID in their arguments or environment.
func ofRun(t *testing.T, runID string) []testkit.Ident {
	t.Helper()
	return living(t, func(args, env []byte) bool { return has(args, runID) || has(env, "LEASH_RUN_ID="+runID) })
}

// living finds live processes by their arguments and environment.
func living(t *testing.T, want func(args, env []byte) bool) []testkit.Ident {
	t.Helper()
	var found []testkit.Ident
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range entries {
		args, _ := os.ReadFile(dir + "/cmdline")
		env, _ := os.ReadFile(dir + "/environ")
		if !want(args, env) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if id, ok := testkit.Lookup(pid); ok && id.Alive() {
			found = append(found, id)
		}
	}
	return found
}

// has tells whether a list of strings that end with NUL holds one.
func has(list []byte, text string) bool {
	return slices.Contains(strings.Split(string(list), "\x00"), text)
}

// newRunID makes run IDs that no other run of these tests has.
func newRunID() string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyz"
	id := make([]byte, 7)
	for i := range id {
		id[i] = letters[rand.IntN(len(letters))]
	}
	return string(id)
}

// client speaks HTTP/2 without TLS, which is what gRPC is made of.
var client = func() *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols), DisableKeepAlives: true}
	transport.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: transport, Timeout: testkit.Patience}
}()

// echo calls a worker and returns its answer.
func echo(port int, text string) (string, error) {
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text)))
	url := fmt.Sprintf("http://127.0.0.1:%d/leash.Peer/Echo", port)
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(append(frame, text...)))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if status := resp.Trailer.Get("Grpc-Status"); status != "0" || len(body) < 5 {
		return "", fmt.Errorf("grpc status %q, body %q", status, body)
	}
	return string(body[5:]), nil
}

// portIsFree fails the test if a process listens there, or if none could.
func portIsFree(t *testing.T, port int) {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if conn, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		if conn != nil {
			conn.Close()
		}
		t.Errorf("%s does not refuse: %v", addr, err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Errorf("port is taken: %v", err)
		return
	}
	l.Close()
}

// peer is the path of a program of testdata/peers.
func peer(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(testkit.Root(t), "testdata", "peers", name)
}

// family gives a worker children of each kind.
var family = []string{"--child", "subprocess", "--child", "multiprocessing", "--child", "daemon"}

// mixed asks for n workers, guard and run by turns. Of each four, two have
// children; of each eight, two ignore the stop signal.
func mixed(n int) []spec {
	var specs []spec
	for i := range n {
		s := spec{mode: []string{"guard", "run"}[i%2], id: fmt.Sprintf("w%02d", i)}
		if i%4 < 2 {
			s.flags = append(s.flags, family...)
		}
		if i%8 < 2 {
			s.flags = append(s.flags, "--deaf")
		}
		specs = append(specs, s)
	}
	return specs
}

func beam(t *testing.T) *exec.Cmd {
	t.Helper()
	testkit.Need(t, "elixir", "erl")
	return exec.Command("elixir", peer(t, "beam_parent.exs"))
}

// killed is the main job: a parent with workers is killed, and nothing of them
// is left. A bystander of the same run keeps running.
func killed(t *testing.T, parent *exec.Cmd, specs []spec) {
	t.Helper()
	s := start(t, parent, specs)
	other := s.bystander()
	at := s.kill()
	s.awaitNothing(other)
	s.checkDeaths(at)
}

func TestBEAMKilled(t *testing.T) { killed(t, beam(t), mixed(20)) }

func TestNodeKilled(t *testing.T) {
	testkit.Need(t, "node")
	specs := append(mixed(4), spec{mode: "detached", id: "w04", flags: family})
	killed(t, exec.Command("node", peer(t, "node_parent.js")), specs)
}

func TestBashKilled(t *testing.T) {
	testkit.Need(t, "bash", "sed")
	killed(t, exec.Command("bash", peer(t, "bash_parent.sh")), mixed(4))
}

// The threads that started the watchdogs end while their process lives. That
// must change nothing, though the kernel sends each watchdog its death signal;
// nor must it, if a thread ends before the watchdog has asked for that signal.
func TestGoParentOfShortThreads(t *testing.T) {
	for _, when := range []string{"after", "before"} {
		t.Run(when+" the watchdogs watch", func(t *testing.T) {
			cmd := exec.Command(testkit.Build(t, "./testdata/peers/goparent"))
			var stdin io.Writer = io.Discard // for "before": it reads the end at once
			if when == "after" {
				stdin = input(t, cmd)
			}
			s := start(t, cmd, mixed(4))
			tell(t, stdin, "end")
			s.parent.Stdout.Await("THREADS_ENDED")
			s.staysUp()
			at := s.kill()
			s.awaitNothing()
			s.checkDeaths(at)
		})
	}
}

// staysUp checks that no worker or watchdog ends for a while, and calls each
// worker again.
func (s *scene) staysUp() {
	s.t.Helper()
	var ids []testkit.Ident
	for _, w := range s.workers {
		ids = append(ids, w.processes()...)
	}
	testkit.StayAlive(s.t, 500*time.Millisecond, ids...)
	for _, w := range s.workers {
		if got, err := echo(w.port, "still here"); err != nil || got != "still here" {
			s.t.Errorf("call of worker %s gives %q, %v", w.id, got, err)
		}
	}
}

// input gives a command a standard input to write to.
func input(t *testing.T, cmd *exec.Cmd) io.Writer {
	t.Helper()
	w, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// tell writes one line.
func tell(t *testing.T, w io.Writer, line string) {
	t.Helper()
	if _, err := io.WriteString(w, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// Without a watchdog workers outlive every one of these parents: the other
// tests would notice a watchdog that does nothing.
func TestWithoutWatchdogWorkersStay(t *testing.T) {
	for name, parent := range map[string]func(*testing.T) *exec.Cmd{
		"beam": beam,
		"node": func(t *testing.T) *exec.Cmd {
			testkit.Need(t, "node")
			return exec.Command("node", peer(t, "node_parent.js"))
		},
		"bash": func(t *testing.T) *exec.Cmd { return exec.Command("bash", peer(t, "bash_parent.sh")) },
		"go": func(t *testing.T) *exec.Cmd {
			return exec.Command(testkit.Build(t, "./testdata/peers/goparent"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, parent(t), []spec{
				{mode: "bare", id: "w00"}, {mode: "bare", id: "w01", flags: family},
			})
			s.kill()
			testkit.AwaitGone(t, s.parent.Ident, s.beam)
			s.staysUp()
		})
	}
}

// A node that stops in the normal way leaves its workers too. They get
// the stop signal and have time to clean up.
func TestBEAMStops(t *testing.T) {
	cmd := beam(t)
	stdin := input(t, cmd)
	specs, files := tidy(t)
	s := start(t, cmd, specs)
	at := time.Now()
	tell(t, stdin, "stop")
	if got := s.parent.Wait(); got != 0 {
		t.Errorf("status %d of a node that stopped", got)
	}
	s.awaitNothing()
	s.checkDeaths(at)
	checkFiles(t, files)
}

// SIGTERM to the watchdogs: the workers end on the stop signal, the parent keeps running
// and gets their status.
func TestWatchdogsTerminated(t *testing.T) {
	specs, files := tidy(t)
	s := start(t, beam(t), specs)
	for _, w := range s.workers {
		if err := w.pids["watchdog"].Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range s.workers {
		testkit.AwaitGone(t, w.processes()...)
		want := map[string]string{"guard": "0", "run": "7"}[w.mode]
		if got := s.watchdogStatus(w); got != want {
			t.Errorf("%s: status %s of the watchdog, want %s", w.mode, got, want)
		}
	}
	checkFiles(t, files)
	testkit.StillAlive(t, s.beam)
	for _, w := range s.workers {
		portIsFree(t, w.port)
	}
}

// watchdogStatus waits for the exit status of a watchdog. Under guard the
// worker's own comes by the same way; it is 7.
func (s *scene) watchdogStatus(w worker) string {
	s.t.Helper()
	if w.mode == "run" {
		return s.parent.Stdout.Await(w.id + " EXIT ")
	}
	s.parent.Stdout.Await(w.id + " EXIT 7")
	return s.parent.Stdout.Await(w.id + " EXIT ")
}

// tidy asks for workers that write a file on SIGTERM and end with status 7.
func tidy(t *testing.T) (specs []spec, files []string) {
	t.Helper()
	dir := t.TempDir()
	for i, s := range mixed(4) {
		file := filepath.Join(dir, s.id)
		files = append(files, file)
		s.flags = []string{"--on-term", file, "--status", "7"}
		if i < 2 {
			s.flags = append(s.flags, family...)
		}
		specs = append(specs, s)
	}
	return specs, files
}

func checkFiles(t *testing.T, files []string) {
	t.Helper()
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || string(text) != "SIGTERM\n" {
			t.Errorf("the worker left %q, %v; want one SIGTERM", text, err)
		}
	}
}

// A background job of a script ignores INT and QUIT, as POSIX wants. A worker
// that the watchdog starts must not inherit that.
func TestRunGivesACleanStart(t *testing.T) {
	testkit.Need(t, "bash")
	python := testkit.NeedPython(t)
	code := "import signal; print('INT', signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
	for _, c := range []struct{ prefix, want string }{{"", "True"}, {`"$2" run -- `, "False"}} {
		script := c.prefix + `"$0" -c "$1" & wait`
		cmd := exec.Command("bash", "-c", script, python, code)
		if c.prefix != "" {
			cmd.Args = append(cmd.Args, testkit.Watchdog(t))
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if got := testkit.Start(t, cmd).Stdout.Await("INT "); got != c.want {
			t.Errorf("%s: ignores INT: %s, want %s", script, got, c.want)
		}
	}
}

const gunicorn = "/usr/bin/gunicorn"

// gunicorn waits for requests in progress at the stop signal. A request
// that never ends must not keep it.
func TestGunicornKilledInMidRequest(t *testing.T) {
	p := startGunicorn(t, testkit.Watchdog(t), "run", "--log-format", "json", "--grace", "500ms", "--")
	port := awaitGunicornPort(t, p)
	tree := treeOf(t, p)
	held := openRequest(t, p, port)
	defer held.Close()

	p.Kill()
	testkit.AwaitGone(t, tree...)
	portIsFree(t, port)
	p.Stderr.AwaitEnd()
	if ev := p.Stderr.AwaitEvent("process.cleanup_completed"); ev["success"] != true {
		t.Errorf("cleanup: %v", ev)
	}
}

// The same without a watchdog: gunicorn stays and still listens.
func TestGunicornStaysWithoutWatchdog(t *testing.T) {
	p := startGunicorn(t)
	port := awaitGunicornPort(t, p)
	tree := treeOf(t, p)
	held := openRequest(t, p, port)
	defer held.Close()

	p.Kill()
	p.Wait()
	testkit.StillAlive(t, tree...)
	openRequest(t, p, port).Close()
}

// startGunicorn starts a shell that starts gunicorn with 4 workers, behind the
// command that is given.
func startGunicorn(t *testing.T, before ...string) *testkit.Proc {
	t.Helper()
	python := testkit.NeedPython(t, "gunicorn")
	testkit.Need(t, gunicorn)
	args := append([]string{"-c", `"$@" & wait`, "parent"}, before...)
	args = append(args, python, gunicorn, "--workers", "4", "--bind", "127.0.0.1:0",
		"--chdir", peer(t, ""), "web_app:app")
	cmd := exec.Command("sh", args...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	return testkit.Start(t, cmd)
}

var (
	listening = regexp.MustCompile(`Listening at: http://127\.0\.0\.1:(\d+)`)
	booting   = regexp.MustCompile(`Booting worker with pid`)
)

// awaitGunicornPort waits until all is up and returns the port.
func awaitGunicornPort(t *testing.T, p *testkit.Proc) int {
	t.Helper()
	for range 4 {
		p.Stderr.AwaitMatch(booting)
	}
	port, err := strconv.Atoi(p.Stderr.AwaitMatch(listening)[1])
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// treeOf lists what the shell has started, and has it ended with the test.
func treeOf(t *testing.T, p *testkit.Proc) []testkit.Ident {
	t.Helper()
	tree := testkit.Descendants(t, p.PID)
	testkit.Adopt(t, tree...)
	if len(tree) < 1+4 {
		t.Fatalf("gunicorn and 4 workers, but there are only %v", tree)
	}
	return tree
}

// openRequest returns when a worker is in the midst of a request.
func openRequest(t *testing.T, p *testkit.Proc, port int) io.Closer {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		t.Fatal(err)
	}
	p.Stderr.Await("REQUEST ")
	return resp.Body
}

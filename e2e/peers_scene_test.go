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
	s.beam = s.identify(s.parent.Stdout.Await("PARENT "))
	for _, want := range specs {
		s.await(want)
	}
	s.awaitWatchdogs()
	s.collect()
	for _, w := range s.workers {
		if got, err := echo(w.port, w.id); err != nil || got != w.id {
			t.Fatalf("call of worker %s gives %q, %v", w.id, got, err)
		}
	}
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

// graceFor is short if somebody is deaf, and else long enough for everybody.
func graceFor(specs []spec) string {
	if slices.ContainsFunc(specs, func(s spec) bool { return slices.Contains(s.flags, "--deaf") }) {
		return "1s"
	}
	return "1m"
}

func (s spec) watched() bool { return s.mode != "bare" }

// await waits until a worker is ready, and reads the PIDs that it told before.
func (s *scene) await(want spec) {
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

// checkEvent looks at what every event carries.
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

// checkDeaths looks at what the watchdogs say about a parent that was killed.
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

// portIsFree fails the test if somebody listens there, or could not.
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

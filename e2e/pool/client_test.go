//go:build linux || windows

package pool

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"leash/internal/testkit"
)

// patience is how long anything may take on a slow machine.
const patience = 3 * time.Minute

type params map[string]any

// message is one line of the pool.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params map[string]any  `json:"params"`
	Result map[string]any  `json:"result"`
	Error  *struct {
		Code    int            `json:"code"`
		Message string         `json:"message"`
		Data    map[string]any `json:"data"`
	} `json:"error"`
}

func (m message) event() string {
	if m.Method != "event" {
		return ""
	}
	name, _ := m.Params["event"].(string)
	return name
}

// of reports whether it is about a worker.
func (m message) of(worker string) bool {
	return m.Params["leash.worker_id"] == worker || m.Params["worker_id"] == worker
}

// client is the parent's end of a pool.
type client struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	stderr *os.File
	self   testkit.Ident

	mu    sync.Mutex
	cond  *sync.Cond
	all   []message
	ended bool
	next  int
}

// dialect is how a pool is started.
type dialect struct {
	args []string
	uid  uint32 // 0: as we are
	mute bool   // its output is not read until listen is called
	attr *syscall.SysProcAttr
	by   []string // a command that executes the pool
}

func start(t *testing.T, args ...string) *client { t.Helper(); return startAs(t, dialect{args: args}) }

func startAs(t *testing.T, d dialect) *client {
	t.Helper()
	program, dir := program(t), t.TempDir()
	state := filepath.Join(dir, "state")
	c := &client{t: t}
	c.cond = sync.NewCond(&c.mu)
	var err error
	if c.stderr, err = os.Create(filepath.Join(dir, "stderr")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.stderr.Close() }) // on Windows an open file cannot be removed
	attr := d.attr
	if d.uid != 0 {
		program, state, attr = asUser(t, program, d.uid)
	}
	line := slices.Concat(d.by, []string{program, "pool"}, d.args)
	c.cmd = exec.Command(line[0], line[1:]...)
	c.cmd.Env = append(os.Environ(), "LEASH_STATE_DIR="+state)
	c.cmd.Dir, c.cmd.Stderr, c.cmd.SysProcAttr = "/", c.stderr, attr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if c.out, err = c.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.self = testkit.Identify(t, c.cmd.Process.Pid)
	t.Cleanup(func() {
		c.in.Close()
		c.self.Kill()
		c.cmd.Process.Wait()
	})
	if !d.mute {
		c.listen()
	}
	return c
}

// listen reads what the pool writes.
func (c *client) listen() {
	go func() {
		r := bufio.NewReaderSize(c.out, 1<<20)
		for {
			line, err := r.ReadBytes('\n')
			c.mu.Lock()
			if err != nil {
				c.ended = true
			} else {
				var m message
				if err := json.Unmarshal(line, &m); err != nil {
					m.Method = "bad line: " + string(line)
				}
				c.all = append(c.all, m)
			}
			c.cond.Broadcast()
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
}

// write sends text as it is.
func (c *client) write(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, text); err != nil {
		c.t.Fatal(err)
	}
}

// send sends a request and returns its id.
func (c *client) send(method string, p params) string {
	c.t.Helper()
	c.mu.Lock()
	c.next++
	id := strconv.Itoa(c.next)
	c.mu.Unlock()
	if p == nil {
		p = params{}
	}
	b, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": c.next, "method": method, "params": p})
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(string(b) + "\n")
	return id
}

// await waits for a message.
func (c *client) await(what string, want func(message) bool) message {
	c.t.Helper()
	_, m := c.awaitFrom(0, what, want)
	return m
}

func (c *client) awaitFrom(from int, what string, want func(message) bool) (int, message) {
	c.t.Helper()
	late := false
	timer := time.AfterFunc(patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		late = true
		c.cond.Broadcast()
	})
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := from; ; i++ {
		for i >= len(c.all) && !c.ended && !late {
			c.cond.Wait()
		}
		if i >= len(c.all) {
			b, _ := os.ReadFile(c.stderr.Name())
			c.t.Fatalf("no %s came (the pool has ended: %t); the last messages: %v; standard error: %s", what, c.ended, c.all[max(0, len(c.all)-12):], b)
		}
		if want(c.all[i]) {
			return i, c.all[i]
		}
	}
}

func (c *client) answer(id string) message {
	c.t.Helper()
	return c.await("answer to "+id, func(m message) bool { return string(m.ID) == id })
}

// call returns the result of a request.
func (c *client) call(method string, p params) map[string]any {
	c.t.Helper()
	m := c.answer(c.send(method, p))
	if m.Error != nil {
		c.t.Fatalf("%s %v: %+v", method, p, *m.Error)
	}
	return m.Result
}

// fails returns the message of an error that must come.
func (c *client) fails(code int, method string, p params) message {
	c.t.Helper()
	m := c.answer(c.send(method, p))
	if m.Error == nil || m.Error.Code != code {
		c.t.Fatalf("%s %v: %v %+v, want error %d", method, p, m.Result, m.Error, code)
	}
	return m
}

// run starts a worker.
func (c *client) run(id string, more params, argv ...string) testkit.Ident {
	c.t.Helper()
	p := params{"worker_id": id, "argv": argv}
	for k, v := range more {
		p[k] = v
	}
	r := c.call("run", p)
	return c.known(r["pid"])
}

func (c *client) known(pid any) testkit.Ident {
	c.t.Helper()
	n, ok := pid.(float64)
	if !ok {
		c.t.Fatalf("%v is no PID", pid)
	}
	id, ok := testkit.Lookup(int(n))
	if ok { // otherwise it has ended already
		testkit.Adopt(c.t, id)
	}
	return id
}

func (c *client) event(worker, name string) message {
	c.t.Helper()
	return c.await(name+" of "+worker, func(m message) bool { return m.event() == name && m.of(worker) })
}

// line waits for a line that a worker prints.
func (c *client) line(worker, prefix string) string {
	c.t.Helper()
	m := c.await(fmt.Sprintf("line %q of %s", prefix, worker), func(m message) bool {
		line, _ := m.Params["line"].(string)
		return m.Method == "output" && m.of(worker) && strings.HasPrefix(line, prefix)
	})
	return m.Params["line"].(string)
}

// process is a process whose PID a worker prints behind a word.
func (c *client) process(worker, word string) testkit.Ident {
	c.t.Helper()
	pid, err := strconv.Atoi(strings.TrimPrefix(c.line(worker, word+" "), word+" "))
	if err != nil {
		c.t.Fatal(err)
	}
	id := testkit.Identify(c.t, pid)
	testkit.Adopt(c.t, id)
	return id
}

// messages are those so far that are about a worker.
func (c *client) messages(worker string) (all []message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.all {
		if m.of(worker) {
			all = append(all, m)
		}
	}
	return all
}

// status waits for the end of the pool, and is its exit status, -1 after a signal.
func (c *client) status() int {
	c.t.Helper()
	var st *os.ProcessState
	done := make(chan error, 1)
	go func() {
		var err error
		st, err = c.cmd.Process.Wait()
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			c.t.Fatal(err)
		}
	case <-time.After(patience):
		c.t.Fatal("the pool does not end")
	}
	return st.ExitCode()
}

// awaitFile waits until a file has what is wanted. Its writer tells nobody, so it is read
// again and again.
func awaitFile(t *testing.T, path string, good func(string) bool) {
	t.Helper()
	for until := time.Now().Add(patience); ; {
		b, err := os.ReadFile(path)
		if err == nil && good(string(b)) {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%s: %q, %v", path, b, err)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
}

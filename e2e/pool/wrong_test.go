//go:build linux

package pool

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// Each bad line is answered with its code, names what is wrong, and the pool goes on.
func TestBadLines(t *testing.T) {
	t.Parallel()
	c := start(t)
	long := strings.Repeat("x", 1<<20)
	for _, l := range []struct {
		line string
		code int
		id   string
		says string
	}{
		{`{`, -32700, "null", ""},
		{``, -32700, "null", ""},
		{`nonsense`, -32700, "null", ""},
		{"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"list\"}", -32700, "null", "UTF-8"},
		{`{"jsonrpc":"2.0","id":1,"id":2,"method":"list"}`, -32700, "null", `"id"`},
		{`[]`, -32600, "null", "list"},
		{`[{"jsonrpc":"2.0","id":"l1","method":"list"}]`, -32600, "null", "list"},
		{`7`, -32600, "null", ""},
		{`{"jsonrpc":"2.0","id":"m1","method":"list","params":{},"pad":"` + long + `"}`, -32600, "null", "1 MiB"},
		{`{"jsonrpc":"1.0","id":"v","method":"list"}`, -32600, `"v"`, "jsonrpc"},
		{`{"id":"v2","method":"list"}`, -32600, `"v2"`, "jsonrpc"},
		{`{"jsonrpc":"2.0","id":{},"method":"list"}`, -32600, "null", "id"},
		{`{"jsonrpc":"2.0","id":"m2"}`, -32600, `"m2"`, "method"},
		{`{"jsonrpc":"2.0","id":"m3","method":7}`, -32600, `"m3"`, "method"},
		{`{"jsonrpc":"2.0","id":"u","method":"fly"}`, -32601, `"u"`, "fly"},
		{`{"jsonrpc":"2.0","id":-1.5e2,"method":"fly"}`, -32601, `-1.5e2`, "fly"},
		{`{"jsonrpc":"2.0","id":"p1","method":"list","params":[]}`, -32602, `"p1"`, "name"},
		{`{"jsonrpc":"2.0","id":"p2","method":"list","params":7}`, -32602, `"p2"`, "params"},
		{`{"jsonrpc":"2.0","id":"p3","method":"list","params":{"x":1}}`, -32602, `"p3"`, "x"},
	} {
		c.write(l.line + "\n")
		shown := l.line[:min(len(l.line), 80)]
		n := 0
		m := c.await("answer to "+shown, func(m message) bool {
			if string(m.ID) != l.id && !(l.id == "null" && m.ID == nil) || m.Error == nil {
				return false
			}
			n++
			return l.id != "null" || m.Error.Code == l.code && strings.Contains(m.Error.Message, l.says)
		})
		if m.Error.Code != l.code || !strings.Contains(m.Error.Message, l.says) {
			t.Errorf("%s: %+v", shown, *m.Error)
		}
	}
	// Notifications are done, and not answered.
	c.write(`{"jsonrpc":"2.0","method":"run","params":{"worker_id":"n","argv":["sleep","1000000"]}}` + "\n")
	c.write(`{"jsonrpc":"2.0","method":"fly"}` + "\n")
	c.event("n", "process.started")
	if list := c.call("list", nil)["workers"].([]any); len(list) != 1 {
		t.Errorf("%v", list)
	}
}

func TestBadParameters(t *testing.T) {
	t.Parallel()
	c := start(t)
	dir := t.TempDir()
	plain := dir + "/plain"
	os.WriteFile(plain, []byte("x"), 0o600)
	bad := func(code int, says string, more params) {
		t.Helper()
		p := params{"worker_id": "a", "argv": []string{"sleep", "1000000"}}
		for k, v := range more {
			if p[k] = v; v == "(none)" {
				delete(p, k)
			}
		}
		if m := c.fails(code, "run", p); !strings.Contains(m.Error.Message, says) {
			t.Errorf("%v: %q does not say %q", more, m.Error.Message, says)
		}
	}
	for _, id := range []any{"", "a b", strings.Repeat("a", 65), "ä", 7, nil, "(none)", "a/b"} {
		bad(-32602, "worker_id", params{"worker_id": id})
	}
	for _, argv := range []any{"sleep", []string{}, []any{"sleep", 7}, []string{""}, []string{"a\x00b"}, nil, "(none)"} {
		bad(-32602, "argv", params{"argv": argv})
	}
	for name, values := range map[string][]any{
		"env": {7, params{"A=B": "x"}, params{"": "x"}, params{"A": 7}, params{"A": "\x00"}}, "cwd": {7, "", dir + "/none", plain},
		"stdout": {"pipe", 7, params{"file": ""}, params{"file": dir}, params{"file": dir + "/none/x"}, params{"file": plain, "x": 1}},
		"stderr": {nil, params{}},
		"grace":  {"3", 3, "", "-1s", "25h", nil}, "stop_signal": {"NONE", 99, ""}, "kill_mode": {"all", ""}, "heartbeat": {"on", true},
		"max_missed": {"3", 0, 1.5}, "heartbeat_interval": {"0s", 2}, "restart": {"sometimes"}, "max_restarts": {-1, "3"},
		"poll_interval": {"0s"}, "startup_timeout": {"1s"}, "close_fds": {"yes"}, "keep_fd": {"3"},
		"parent_pid": {1}, "parent_fd": {0}, "run_id": {"abcdefg"}, "log_format": {"json"}, "log_level": {"info"}, "log_file": {"x"}, "log_fd": {2},
		"sentinel": {"off"}, "backend": {"poll"}, "worker_pid": {7}, "help": {true}, "version": {true}, "Grace": {"1s"}, "nonsense": {1},
	} {
		for _, v := range values {
			bad(-32602, name, params{name: v})
		}
	}
	bad(-32005, "keep_fd", params{"keep_fd": []int{3}})
	m := c.fails(-32003, "run", params{"worker_id": "a", "argv": []string{"/nowhere/at/all"}})
	if m.Error.Data["status"] != 127.0 {
		t.Errorf("%+v", m.Error)
	}
	if m = c.fails(-32003, "run", params{"worker_id": "a", "argv": []string{plain}}); m.Error.Data["status"] != 126.0 {
		t.Errorf("%+v", m.Error)
	}
	big := make([]string, 6)
	for i := range big {
		big[i] = strings.Repeat("x", 140<<10) // longer than one argument may be (MAX_ARG_STRLEN)
	}
	if m = c.fails(-32003, "run", params{"worker_id": "a", "argv": append([]string{"true"}, big...)}); m.Error.Data["status"] != 126.0 {
		t.Errorf("%+v", m.Error)
	}
	for _, name := range []string{"restart", "max_restarts", "close_fds", "keep_fd", "argv", "stdout"} {
		if m := c.fails(-32602, "guard", params{"worker_id": "a", "pid": 1 << 20, name: nil}); !strings.Contains(m.Error.Message, name) {
			t.Errorf("%s: %q", name, m.Error.Message)
		}
	}
	for method, names := range map[string][]string{"stop": {"signal"}, "signal": {"grace"}, "release": {"grace"}} {
		c.fails(-32602, method, params{names[0]: "1s"})
	}
	if list := c.call("list", nil)["workers"].([]any); len(list) != 0 {
		t.Errorf("%v", list)
	}
	if left := testkit.Descendants(t, c.sentinel().PID); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Two requests for one worker ID at once: one wins.
func TestOneWorkerIDTwice(t *testing.T) {
	t.Parallel()
	c := start(t)
	line := func(id int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"run","params":{"worker_id":"a","argv":["sleep","1000000"]}}`+"\n", id)
	}
	c.write(line(1) + line(2))
	one, two := c.answer("1"), c.answer("2")
	if (one.Error == nil) == (two.Error == nil) {
		t.Fatalf("%+v, %+v", one, two)
	}
	if two.Error == nil || two.Error.Code != -32002 {
		t.Errorf("%+v", two)
	}
}

// Half a line is no request, and the end-of-file behind it is the parent's death.
func TestHalfALine(t *testing.T) {
	t.Parallel()
	c := start(t)
	w := c.run("a", nil, "sleep", "1000000")
	c.write(`{"jsonrpc":"2.0","id":9,"method":"run","params":{"worker_id":"b","argv":["sleep","1000000"]}}`)
	c.in.Close()
	testkit.AwaitGone(t, w)
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
	if len(c.messages("b")) > 0 {
		t.Error("half a line was done")
	}
}

func TestManyRequestsAtOnce(t *testing.T) {
	t.Parallel()
	c := start(t)
	const n = 100_000
	go func() {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `{"jsonrpc":"2.0","id":"r%d","method":"list"}`+"\n", i)
		}
		io.WriteString(c.in, b.String())
	}()
	c.await("last answer", func(m message) bool { return string(m.ID) == fmt.Sprintf(`"r%d"`, n-1) })
	c.mu.Lock()
	defer c.mu.Unlock()
	answers := 0
	for _, m := range c.all {
		if m.ID != nil && m.Error == nil {
			answers++
		}
	}
	if answers != n {
		t.Errorf("%d answers", answers)
	}
}

// A parent that closes standard output alone loses answers and events, and nothing else.
func TestParentClosesItsOutput(t *testing.T) {
	t.Parallel()
	c := startAs(t, dialect{mute: true})
	dir := t.TempDir()
	c.out.Close()
	c.send("run", params{"worker_id": "a", "argv": []string{"sh", "-c", "yes | head -c 1000000; echo $$ > " + dir + "/pid; exec sleep 1000000"}})
	w := testkit.Ident{}
	awaitFile(t, dir+"/pid", func(text string) bool {
		var pid int
		if n, _ := fmt.Sscan(text, &pid); n != 1 {
			return false
		}
		w = testkit.Identify(t, pid)
		return true
	})
	testkit.Adopt(t, w)
	c.send("list", nil)
	testkit.StillAlive(t, w)
	c.in.Close()
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
	testkit.AwaitGone(t, w)
	if b, _ := os.ReadFile(c.stderr.Name()); strings.Count(string(b), "\n") != 1 || !strings.Contains(string(b), "cannot be written") {
		t.Errorf("standard error: %q", b)
	}
}

// A parent that does not read gets the answers when it reads again, the number of events that
// were dropped, and every line of output.
func TestParentThatDoesNotRead(t *testing.T) {
	t.Parallel()
	c := startAs(t, dialect{mute: true, args: []string{"--grace=1s"}})
	dir := t.TempDir()
	c.send("run", params{"worker_id": "loud", "argv": []string{"sh", "-c", "seq 1 200000; echo last; exec sleep 1000000"}})
	// Events of short workers, until more than 4 MiB are waiting: then no request is read.
	full := make(chan int)
	go func() {
		n := 0
		for ; n < 20000; n++ {
			b, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": fmt.Sprint("f", n), "method": "stop", "params": params{"worker_id": strings.Repeat("x", 60)}})
			pad := strings.Repeat(" ", 200)
			if _, err := io.WriteString(c.in, string(b)+pad+"\n"); err != nil {
				break
			}
		}
		full <- n
	}()
	c.send("run", params{"worker_id": "quiet", "argv": []string{"sh", "-c", "echo $$ > " + dir + "/pid; exec sleep 1000000"}})
	awaitFile(t, dir+"/pid", func(text string) bool { return strings.HasSuffix(text, "\n") })
	c.listen()
	n := <-full
	if n != 20000 {
		t.Fatalf("%d requests were sent", n)
	}
	c.answer(`"f19999"`)
	c.line("loud", "last")
	next := 1
	for _, m := range c.messages("loud") {
		if m.Method == "output" && m.Params["line"] != "last" {
			if m.Params["line"] != fmt.Sprint(next) {
				t.Fatalf("line %v, want %d", m.Params["line"], next)
			}
			next++
		}
	}
	if next != 200001 {
		t.Errorf("%d lines", next-1)
	}
}

// A parent that neither reads nor lives is noticed.
func TestParentThatDoesNotReadDies(t *testing.T) {
	t.Parallel()
	c := startAs(t, dialect{mute: true, args: []string{"--grace=1s"}})
	dir := t.TempDir()
	c.send("run", params{"worker_id": "loud", "argv": []string{"sh", "-c", "echo $$ > " + dir + "/pid; exec yes"}})
	var w testkit.Ident
	awaitFile(t, dir+"/pid", func(text string) bool {
		var pid int
		if n, _ := fmt.Sscan(text, &pid); n != 1 || !strings.HasSuffix(text, "\n") {
			return false
		}
		w = testkit.Identify(t, pid)
		return true
	})
	testkit.Adopt(t, w)
	c.in.Close()
	testkit.AwaitGone(t, w)
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}

//go:build linux || darwin

package pool

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestOnAnyUnix is the pool with what every Unix has: it also runs on a Mac, for which the
// other tests have no eyes.
func TestOnAnyUnix(t *testing.T) {
	cmd := exec.Command(program(t), "pool", "--grace=100ms")
	cmd.Env = append(os.Environ(), "LEASH_STATE_DIR="+t.TempDir()+"/state")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	stuck := time.AfterFunc(3*time.Minute, func() { cmd.Process.Kill() }) // which ends its output
	defer stuck.Stop()
	lines := bufio.NewScanner(out)
	await := func(what string, good func(map[string]any) bool) map[string]any {
		t.Helper()
		for lines.Scan() {
			var m struct {
				ID any            `json:"id"`
				P  map[string]any `json:"params"`
				R  map[string]any `json:"result"`
			}
			if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
				t.Fatal(err)
			}
			flat := map[string]any{"id": m.ID}
			for _, part := range []map[string]any{m.P, m.R} {
				for k, v := range part {
					flat[k] = v
				}
			}
			if good(flat) {
				return flat
			}
		}
		t.Fatalf("no %s came: %v", what, lines.Err())
		return nil
	}
	ask := func(line string) { io.WriteString(in, line+"\n") }
	answer := func(id string) map[string]any {
		t.Helper()
		return await("answer to "+id, func(m map[string]any) bool { return m["id"] == id })
	}
	dir := t.TempDir()
	ask(fmt.Sprintf(`{"jsonrpc":"2.0","id":"a","method":"run","params":{"worker_id":"a","cwd":%q,"env":{"ONE":"1"},"argv":["sh","-c","echo $ONE; pwd -P; exit 3"]}}`, dir))
	await("line", func(m map[string]any) bool { return m["worker_id"] == "a" && m["line"] == "1" })
	folder := await("folder", func(m map[string]any) bool { return m["worker_id"] == "a" && m["line"] != nil })
	if one, err := os.Stat(fmt.Sprint(folder["line"])); err != nil {
		t.Error(err)
	} else if two, err := os.Stat(dir); err != nil || !os.SameFile(one, two) {
		t.Errorf("it is in %v, not in %s (%v)", folder["line"], dir, err)
	}
	if m := await("end", func(m map[string]any) bool { return m["event"] == "process.terminated" }); m["process.exit.code"] != 3.0 {
		t.Errorf("%v", m)
	}
	ask(`{"jsonrpc":"2.0","id":"b","method":"run","params":{"worker_id":"b","argv":["sleep","1000"]}}`)
	answer("b")
	ask(`{"jsonrpc":"2.0","id":"stop","method":"stop","params":{"worker_id":"b"}}`)
	if m := answer("stop"); m["signal"] != "SIGTERM" || m["survivors"] != 0.0 {
		t.Errorf("%v", m)
	}
	ask(`{"jsonrpc":"2.0","id":"c","method":"run","params":{"worker_id":"c","argv":["sleep","1000"]}}`)
	pid, ok := answer("c")["pid"].(float64)
	if !ok {
		t.Fatal("no PID")
	}
	cmd.Process.Kill()
	cmd.Wait()
	for until := time.Now().Add(time.Minute); syscall.Kill(int(pid), 0) != syscall.ESRCH; {
		if time.Now().After(until) {
			t.Fatal("the worker outlives the pool")
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
}

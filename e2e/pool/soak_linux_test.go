package pool

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// soakVar says how long TestSoak takes. Without it, it ends after enough workers to see
// descriptors leak.
const soakVar = "LEASH_SOAK"

// A pool whose workers come and go keeps its descriptors, and its memory where it takes long.
func TestSoak(t *testing.T) {
	length, workers := time.Duration(0), 20
	if text := os.Getenv(soakVar); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", soakVar, err)
		}
		workers = 100
	}
	c := startAs(t, dialect{args: []string{"--grace", "100ms"}, mute: true})
	// Each kind of worker is started anew when the last one of its ID has ended.
	kinds := []string{"echo hello; exit 3", "sleep 1000000 & exec true", "setsid sleep 1000000 & exec sleep 0.01", "yes | head -c 100000", "kill -KILL $$"}
	run := func(n int) {
		c.write(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"run","params":{"worker_id":"w%d","argv":["sh","-c",%q]}}`+"\n", n, n, kinds[n%len(kinds)]))
	}
	for n := range workers {
		run(n)
	}
	lines := bufio.NewReaderSize(c.out, 1<<20)
	ends, rounds := 0, 0
	var first, last vitals
	stuck := time.AfterFunc(length+patience, func() { c.self.Kill() })
	defer stuck.Stop()
	for end := time.Now().Add(length); rounds < 3 || time.Now().Before(end); {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			Error  any
			Params struct {
				Event  string
				Worker string `json:"leash.worker_id"`
			}
		}
		if err := json.Unmarshal(line, &m); err != nil || m.Error != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if m.Params.Event != "watchdog.stopped" {
			continue
		}
		var n int
		if _, err := fmt.Sscanf(m.Params.Worker, "w%d", &n); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if ends++; ends == 2*workers { // what is kept was made by then
			first = c.vitals()
		}
		if ends%(2*workers) == 0 {
			last, rounds = c.vitals(), rounds+1
		}
		run(n)
	}
	t.Logf("%d workers ended; first %+v, last %+v", ends, first, last)
	if last.descriptors > first.descriptors+6*workers { // each that lives has some
		t.Errorf("%d descriptors became %d", first.descriptors, last.descriptors)
	}
	if os.Getenv(soakVar) != "" && last.kB > first.kB*3/2 {
		t.Errorf("%d kB became %d", first.kB, last.kB)
	}
}

// vitals is what a pool and its sentinel have.
type vitals struct{ descriptors, kB int }

func (c *client) vitals() (v vitals) {
	c.t.Helper()
	for _, pid := range []int{c.self.PID, c.sentinel().PID} {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			c.t.Fatal(err)
		}
		v.descriptors += len(open)
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			c.t.Fatal(err)
		}
		var kB int
		_, rest, _ := strings.Cut(string(text), "\nRssAnon:")
		if _, err := fmt.Sscan(rest, &kB); err != nil {
			c.t.Fatal(err)
		}
		v.kB += kB
	}
	return v
}

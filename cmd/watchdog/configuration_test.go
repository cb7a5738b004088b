//go:build linux

package main

import (
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"leash/internal/helptext"
)

var update = flag.Bool("update", false, "write the tables of docs/configuration.md anew")

// examples are calls, by the name of the flag that each shows.
var examples = map[string]string{
	"parent-pid":         "watchdog run --parent-pid 4711 -- python3 worker.py",
	"parent-fd":          "watchdog run --parent-fd 0 -- python3 worker.py",
	"backend":            "watchdog run --backend poll -- python3 worker.py",
	"poll-interval":      "watchdog run --backend poll --poll-interval 200ms -- python3 worker.py",
	"worker-id":          "watchdog run --worker-id pool-1 -- python3 worker.py",
	"run-id":             "watchdog run --run-id abc1234 -- python3 worker.py",
	"grace":              "watchdog run --grace 30s -- python3 worker.py",
	"stop-signal":        "watchdog run --stop-signal INT -- python3 worker.py",
	"kill-mode":          "watchdog run --kill-mode group -- python3 worker.py",
	"log-format":         "watchdog run --log-format json -- python3 worker.py",
	"log-level":          "watchdog run --log-level debug -- python3 worker.py",
	"log-file":           "watchdog run --log-file events.log -- python3 worker.py",
	"log-fd":             "watchdog run --log-fd 2 -- python3 worker.py",
	"heartbeat":          "watchdog run --heartbeat notify -- python3 worker.py",
	"heartbeat-interval": "watchdog run --heartbeat notify --heartbeat-interval 5s -- python3 worker.py",
	"heartbeat-timeout":  "watchdog run --heartbeat notify --heartbeat-timeout 1m -- python3 worker.py",
	"max-missed":         "watchdog run --heartbeat notify --max-missed 5 -- python3 worker.py",
	"startup-timeout":    "watchdog run --heartbeat notify --startup-timeout 2m -- python3 worker.py",
	"notify-socket":      "watchdog guard --worker-pid 4711 --heartbeat notify --notify-socket @worker-1",
	"on-hang-command":    "watchdog run --heartbeat notify --on-hang-command py-spy -- python3 worker.py",
	"on-hang-signal":     "watchdog run --heartbeat notify --on-hang-signal ABRT -- python3 worker.py",
	"on-hang-timeout":    "watchdog run --heartbeat notify --on-hang-signal ABRT --on-hang-timeout 10s -- python3 worker.py",
	"grace-max":          "watchdog run --heartbeat notify --grace-max 1m -- python3 worker.py",
	"worker-pid":         "watchdog guard --worker-pid 4711",
	"restart":            "watchdog run --restart on-failure -- python3 worker.py",
	"max-restarts":       "watchdog run --restart always --max-restarts 10 -- python3 worker.py",
	"sentinel":           "watchdog run --sentinel off -- python3 worker.py",
	"close-fds":          "watchdog run --close-fds -- python3 worker.py",
	"keep-fd":            "watchdog run --close-fds --keep-fd 3 -- python3 worker.py",
	"json":               "watchdog doctor --json",
}

// The page says what the grammar says, and each example is a right call.
func TestConfigurationPage(t *testing.T) {
	var f flags
	helped := false
	k, err := grammar(&f, io.Discard, &helped)
	if err != nil {
		t.Fatal(err)
	}
	const file = "../../docs/configuration.md"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := helptext.Merge(string(page), k.Model.Name, helptext.Page(k, examples))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		os.WriteFile(file, []byte(want), 0o644)
	} else if want != string(page) {
		t.Errorf("docs/configuration.md is not what the flags are: go test ./cmd/... -run Configuration -update")
	}
	for name, line := range examples {
		if !strings.Contains(line, "--"+name) {
			t.Errorf("%s: the example does not show it: %s", name, line)
		}
		words := strings.Fields(line)
		if words[0] != k.Model.Name {
			t.Errorf("%s: %s", name, line)
			continue
		}
		if _, err := parse(words[1:], io.Discard); err != nil && !strings.Contains(err.Error(), "is not open") && !strings.HasPrefix(err.Error(), "doctor was") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

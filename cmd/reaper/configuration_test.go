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
	"log-format": "reaper --log-format json",
	"log-level":  "reaper --log-level debug",
	"run-id":     "reaper --run-id abc1234",
	"worker-id":  "reaper --run-id abc1234 --worker-id pool-1",
	"unclaimed":  "reaper --unclaimed",
	"unguarded":  "reaper --unguarded",
	"grace":      "reaper --grace 10s",
	"dry-run":    "reaper --dry-run",
	"json":       "reaper list --json",
	"end":        "reaper who :50051 --end",
	"output":     "reaper metrics --output leash.prom",
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
		if _, _, err := parse(words[1:], io.Discard); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

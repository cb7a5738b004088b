//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// emptyGo is a Go program that ends at once: what any start costs.
func (b *bench) emptyGo() (string, error) {
	source := filepath.Join(b.dir, "empty.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		return "", err
	}
	return b.compile("empty", b.module, source)
}

// measureClean: a reaper that finds nothing to do, as at most starts.
func (b *bench) measureClean() ([]row, error) {
	if b.reaper == "" {
		return nil, fmt.Errorf("reaper not built")
	}
	nothing, err := b.emptyGo()
	if err != nil {
		return nil, err
	}
	foreseen, err := b.foresee()
	if err == nil {
		err = foreseen.onlyDoomed("", 0)
	}
	if err != nil {
		return nil, err
	}
	ours := &contender{name: "reaper", cast: cast{Worker: []string{b.reaper}}}
	empty := &contender{name: "empty Go program", cast: cast{Worker: []string{nothing}}}
	times := make(map[*contender][]time.Duration)
	count := processes()
	err = interleave(b.pick(200, 40), []*contender{ours, empty}, func(c *contender) error {
		spent, err := b.spend(c.cast.Worker)
		times[c] = append(times[c], spent)
		return err
	})
	if err != nil {
		return nil, err
	}
	return []row{{
		measure: fmt.Sprintf("reaper, nothing to do, %d processes", count),
		ours:    showTimes(times[ours]),
		peers:   []string{empty.name + " " + showTimes(times[empty])},
		ratio:   showRatio(ratio(median(times[ours]), median(times[empty])), empty.name),
		goal:    "≤ 15 ms",
		verdict: verdict(median(times[ours]) <= 15*time.Millisecond),
	}}, nil
}

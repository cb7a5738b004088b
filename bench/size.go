//go:build linux

package main

import (
	"fmt"
	"os"
)

// measureSize: the binaries, stripped.
func (b *bench) measureSize() ([]row, error) {
	var rows []row
	for _, binary := range []struct{ name, path string }{{"watchdog", b.watchdog}, {"reaper", b.reaper}} {
		r := row{measure: "size of " + binary.name, ours: "not built", ratio: "-", goal: "≤ 5 MiB", verdict: "-"}
		if binary.path != "" {
			info, err := os.Stat(binary.path)
			if err != nil {
				return nil, err
			}
			r.ours = fmt.Sprintf("%.2f MiB", float64(info.Size())/(1<<20))
			r.verdict = verdict(info.Size() <= 5<<20)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

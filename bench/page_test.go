//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gonum.org/v1/plot/plotter"
)

func TestBars(t *testing.T) {
	r := row{measure: "m", ours: "1.5 ms (0.9 … 2 ms)", peers: []string{"shell loop 0.5 s", "tini 900 µs", "other 3 MiB", "absent not installed", "7 ms"}}
	got := r.bars()
	want := []bar{{"ours", 1.5, "ms"}, {"shell loop", 500, "ms"}, {"tini", 0.9, "ms"}}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
	if bars := (row{ours: "failed", peers: []string{"a 1 ms"}}).bars(); bars != nil {
		t.Errorf("%+v", bars)
	}
}

func TestPage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "benchmarks.md")
	rows := []row{{measure: "death", ours: "1 ms", peers: []string{"loop 2 ms"}, ratio: "0.5", goal: "-", verdict: "-"}, {measure: "size", ours: "4 MiB"}}
	if err := writePage(file, rows, []line{{name: "ours", points: plotter.XYs{{X: 1, Y: 2}, {X: 1000, Y: 300}}}, {name: "absent"}}, "a", "b"); err != nil {
		t.Fatal(err)
	}
	page, _ := os.ReadFile(file)
	svg, err := os.ReadFile(filepath.Join(filepath.Dir(file), "benchmarks", "01.svg"))
	if err != nil || !strings.Contains(string(svg), "<svg") || strings.Count(string(page), ".svg") != 2 || !strings.Contains(string(page), "| death | 1 ms | loop 2 ms |") {
		t.Errorf("%v\n%s", err, page)
	}
	curve, err := os.ReadFile(filepath.Join(filepath.Dir(file), "benchmarks", curveFile))
	if err != nil || !strings.Contains(string(curve), ">ours</text>") || strings.Contains(string(curve), "absent") {
		t.Errorf("%v\n%s", err, curve)
	}
}

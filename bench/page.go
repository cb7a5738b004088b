//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// bar is one cell of a row: a contender and its figure.
type bar struct {
	name  string
	value float64
	unit  string
}

var figure = regexp.MustCompile(`([\d,]+(?:\.\d+)?) (µs|ms|s|kB|MB|KiB|MiB|%)(?:\s|$|[;,)])`)

// scales are the units that are the same but for a factor.
var scales = map[string]struct {
	unit   string
	factor float64
}{
	"µs": {"ms", 0.001}, "ms": {"ms", 1}, "s": {"ms", 1000}, "kB": {"MB", 0.001}, "MB": {"MB", 1},
	"KiB": {"MiB", 1. / 1024}, "MiB": {"MiB", 1}, "%": {"%", 1},
}

// barOf reads the first figure of a cell; what is before it is the name.
func barOf(cell string) (b bar, ok bool) {
	m := figure.FindStringSubmatchIndex(cell)
	if m == nil {
		return b, false
	}
	value, err := strconv.ParseFloat(strings.ReplaceAll(cell[m[2]:m[3]], ",", ""), 64)
	scale := scales[cell[m[4]:m[5]]]
	return bar{strings.TrimSpace(cell[:m[0]]), value * scale.factor, scale.unit}, err == nil
}

// bars are the figures of a row that can be compared: ours, and the peers of its unit.
func (r row) bars() (list []bar) {
	ours, ok := barOf(r.ours)
	if !ok {
		return nil
	}
	ours.name = "ours"
	list = append(list, ours)
	for _, cell := range r.peers {
		if b, ok := barOf(cell); ok && b.unit == ours.unit && b.name != "" {
			list = append(list, b)
		}
	}
	if len(list) < 2 {
		return nil
	}
	return list
}

// writePage writes the rows as a page, with a plot beside each that has peers.
func writePage(file string, rows []row, curve []line, before, after string) error {
	dir := filepath.Join(filepath.Dir(file), "benchmarks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench` on %s. Before: %s. After: %s.\n\n"+
		"What each row measures, and how to repeat one: [bench](../bench/README.md). Cells are medians; on a busy machine trust\n"+
		"the ratios, not the milliseconds.\n\n", time.Now().UTC().Format("2 January 2006"), before, after)
	b.WriteString("| measure | ours | peers | ratio | goal | goal met? |\n|---|---|---|---|---|---|\n")
	var plots strings.Builder
	for i, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.measure, r.ours, strings.Join(r.peers, "<br>"), r.ratio, r.goal, r.verdict)
		bars := r.bars()
		if bars == nil {
			continue
		}
		name := fmt.Sprintf("%02d.svg", i+1)
		if err := draw(filepath.Join(dir, name), r.measure, bars); err != nil {
			return err
		}
		fmt.Fprintf(&plots, "\n![%s](benchmarks/%s)\n", r.measure, name)
	}
	if len(curve) > 0 {
		if err := drawCurve(dir, curve); err != nil {
			return err
		}
		fmt.Fprintf(&plots, "\n![Parent killed to last worker dead, 1 to 1,000 workers](benchmarks/%s)\n", curveFile)
	}
	if plots.Len() > 0 {
		b.WriteString("\n## Plots\n" + plots.String())
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// draw writes a bar chart.
func draw(file, title string, bars []bar) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.X.Min = title, bars[0].unit, 0
	values, names := make(plotter.Values, len(bars)), make([]string, len(bars))
	for i, b := range bars { // the first on top
		values[len(bars)-1-i], names[len(bars)-1-i] = b.value, b.name
	}
	chart, err := plotter.NewBarChart(values, vg.Points(14))
	if err != nil {
		return err
	}
	chart.Horizontal = true
	p.Add(chart)
	p.NominalY(names...)
	return p.Save(16*vg.Centimeter, vg.Length(2+len(bars))*vg.Centimeter, file)
}

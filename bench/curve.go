//go:build linux

package main

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// curveFile is the plot of measureCurve, which the README shows.
const curveFile = "workers.svg"

// line is one contender's times by number of workers.
type line struct {
	name   string
	points plotter.XYs // workers, milliseconds
}

// measureCurve: the parent of 1 to 1,000 workers is killed, until the last one is dead.
func (b *bench) measureCurve() ([]row, error) {
	sizes := []int{1, 10, 100, 1000}
	if b.quick {
		sizes = sizes[:3]
	}
	all := []*contender{b.pool(), b.guard(), b.run(), b.setprivKill(), b.tini(), b.shellLoop("dash")}
	lines := make([]line, len(all))
	var rows []row
	for _, n := range sizes {
		measured, err := b.takeTolls(all, b.pick(5, 3), n, 200*time.Millisecond)
		if err != nil {
			return rows, err
		}
		r := row{measure: fmt.Sprintf("parent of %d workers killed → last worker dead", n), ours: all[0].absent, ratio: "-", goal: "-", verdict: "-"}
		for i, c := range all {
			times := measured.workers(c)
			if len(times) == 0 {
				continue
			}
			lines[i].name = c.name
			lines[i].points = append(lines[i].points, plotter.XY{X: float64(n), Y: float64(median(times).Microseconds()) / 1000})
			if i == 0 {
				r.ours = c.name + " " + showTimes(times)
			} else {
				r.peers = append(r.peers, c.name+" "+showTimes(times))
			}
		}
		rows = append(rows, r)
	}
	b.curve = lines
	return rows, nil
}

// drawCurve writes the plot, both axes logarithmic.
func drawCurve(dir string, lines []line) error {
	p := plot.New()
	p.Title.Text = "Parent killed to last worker dead"
	p.X.Label.Text, p.Y.Label.Text = "workers", "ms"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	colors := []color.Color{color.RGBA{R: 0xb0, A: 0xff}, color.RGBA{R: 0xe0, G: 0x70, A: 0xff}, color.RGBA{R: 0x80, B: 0x90, A: 0xff},
		color.RGBA{G: 0x60, B: 0xb0, A: 0xff}, color.RGBA{G: 0x80, B: 0x40, A: 0xff}, color.Gray{0x80}}
	low, high := math.Inf(1), 0.0
	for i, l := range lines {
		if len(l.points) == 0 {
			continue
		}
		for _, xy := range l.points {
			low, high = min(low, xy.Y), max(high, xy.Y)
		}
		drawn, dots, err := plotter.NewLinePoints(l.points)
		if err != nil {
			return err
		}
		drawn.Color, dots.Color = colors[i%len(colors)], colors[i%len(colors)]
		drawn.Width = vg.Points(1.5)
		p.Add(drawn, dots)
		p.Legend.Add(l.name, drawn, dots)
	}
	if high == 0 {
		return nil
	}
	// Whole powers of ten, with room for the legend above.
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high))+1)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return p.Save(16*vg.Centimeter, 11*vg.Centimeter, filepath.Join(dir, curveFile))
}

package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// row is one line of the report. Peers are listed below each other in their
// cell; every other cell is one line.
type row struct {
	measure string
	ours    string
	peers   []string
	ratio   string
	goal    string
	verdict string
}

var header = row{"measure", "ours", []string{"peers"}, "ratio", "goal", "goal met?"}

func (r row) cells(line int) []string {
	peer := ""
	if line < len(r.peers) {
		peer = r.peers[line]
	}
	if line == 0 {
		return []string{r.measure, r.ours, peer, r.ratio, r.goal, r.verdict}
	}
	return []string{"", "", peer, "", "", ""}
}

func (r row) height() int {
	return max(1, len(r.peers))
}

// printTable writes the rows with columns as wide as their widest cell.
func printTable(w io.Writer, rows []row) {
	rows = append([]row{header}, rows...)
	widths := make([]int, len(header.cells(0)))
	for _, r := range rows {
		for line := range r.height() {
			for i, cell := range r.cells(line) {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	for i, r := range rows {
		for line := range r.height() {
			fmt.Fprintln(w, joinCells(r.cells(line), widths))
		}
		if i == 0 {
			fmt.Fprintln(w, rule(widths))
		}
	}
}

func joinCells(cells []string, widths []int) string {
	var line strings.Builder
	for i, cell := range cells {
		if i > 0 {
			line.WriteString("  ")
		}
		line.WriteString(cell)
		line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
	}
	return strings.TrimRight(line.String(), " ")
}

func rule(widths []int) string {
	dashes := make([]string, len(widths))
	for i, width := range widths {
		dashes[i] = strings.Repeat("-", width)
	}
	return strings.Join(dashes, "  ")
}

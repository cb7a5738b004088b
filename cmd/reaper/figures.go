package main

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"leash/internal/gauge"
)

// Figures is what list shows of a process besides the verdict. Exported, so that package json
// can read it again.
type Figures struct {
	AgeMS       int64        `json:"age_ms"`
	MemoryBytes uint64       `json:"memory_bytes"` // 0: unknown
	Ports       []gauge.Port `json:"ports"`
	GPUs        []string     `json:"gpus"`
}

// measure reads the figures of the processes that are shown. A process that has ended
// meanwhile has none, also if its PID was reused.
func (j *job) measure() {
	shown := make(map[int][]*processReport)
	for _, r := range j.report.Runs {
		for _, p := range r.Processes {
			p.Figures = &Figures{AgeMS: j.table.Age(p.proc.Start).Milliseconds(), Ports: []gauge.Port{}, GPUs: []string{}}
			shown[p.PID] = append(shown[p.PID], p)
		}
	}
	pids := slices.Sorted(maps.Keys(shown))
	memory, holdings := gauge.Memory(pids), gauge.Holdings(pids)
	for pid, list := range shown {
		held, size := holdings[pid], memory[pid]
		if size == 0 && len(held.Ports)+len(held.GPUs) == 0 {
			continue
		}
		for _, p := range list {
			if j.lives(&p.proc) {
				p.MemoryBytes = size
				p.Ports, p.GPUs = append(p.Ports, held.Ports...), append(p.GPUs, held.GPUs...)
			}
		}
	}
}

// memory is the resident memory of a process, 0 if it was not measured.
func (p *processReport) memory() uint64 {
	if p.Figures == nil {
		return 0
	}
	return p.MemoryBytes
}

// mostHeld bounds how many ports and GPUs of a process are shown to people.
const mostHeld = 4

// holds is what a process holds, in one word, for people.
func (p *processReport) holds() string {
	if p.Figures == nil {
		return ""
	}
	var words []string
	for _, port := range p.Ports {
		if word := port.String(); !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	for _, gpu := range p.GPUs {
		words = append(words, path.Base(gpu))
	}
	if more := len(words) - mostHeld; more > 0 {
		words = append(words[:mostHeld], "+"+strconv.Itoa(more))
	}
	return strings.Join(words, ",")
}

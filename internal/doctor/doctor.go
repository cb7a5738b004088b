// Package doctor reports what a system offers to the programs: a line for each mechanism,
// whether it works, and what to do where it does not.
package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// States of a mechanism.
const (
	Works  = "works"
	InPart = "in part"
	No     = "no"
)

// Mechanism is one thing that the programs need or use. Users rely on its fields in JSON.
type Mechanism struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Advice string `json:"advice"` // empty where there is nothing to do
	// Needed: without it not all promises can be kept.
	Needed bool `json:"-"`
}

// Report is what doctor prints.
type Report struct {
	OK         bool        `json:"ok"`
	Mechanisms []Mechanism `json:"mechanisms"`
}

// New makes a report. It is OK if every mechanism works that is needed.
func New(list []Mechanism) *Report {
	r := &Report{OK: true, Mechanisms: append([]Mechanism{}, list...)}
	for _, m := range list {
		if m.Needed && m.State == No {
			r.OK = false
		}
	}
	return r
}

// Write writes the report for people, or as one line of JSON.
func (r *Report) Write(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return e.Encode(r)
	}
	var b strings.Builder
	room := 0
	for _, m := range r.Mechanisms {
		room = max(room, len(m.Name))
	}
	for _, m := range r.Mechanisms {
		line := fmt.Sprintf("%-7s  %-*s  %s", m.State, room, m.Name, m.Detail)
		if m.Advice != "" {
			line += ": " + m.Advice
		}
		b.WriteString(plain(line) + "\n")
	}
	if r.OK {
		b.WriteString("run and guard can keep all their promises here\n")
	} else {
		b.WriteString("run and guard cannot keep all their promises here\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// plain replaces control characters: an error may repeat a path.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
}

// Status is the exit status of doctor.
func (r *Report) Status() int {
	if r.OK {
		return 0
	}
	return 1
}

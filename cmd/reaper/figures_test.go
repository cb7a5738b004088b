package main

import (
	"encoding/json"
	"strings"
	"testing"

	"leash/internal/gauge"
)

// holding gives processes of the scene ports and GPUs.
func holding() *report {
	r := measured(reported(listed))
	for _, p := range r.index {
		switch p.PID {
		case 60:
			p.Ports = []gauge.Port{{Proto: "tcp", Address: "0.0.0.0", Port: 50051}, {Proto: "tcp", Address: "::", Port: 50051},
				{Proto: "udp", Address: "127.0.0.1", Port: 53}}
			p.GPUs = []string{"/dev/dri/renderD128", "/dev/nvidia0"}
		case 70:
			for port := range 9 {
				p.Ports = append(p.Ports, gauge.Port{Proto: "tcp", Address: "::1", Port: port + 1})
			}
		}
	}
	return r
}

// What processes hold has a column if there is any.
func TestTreeOfHolders(t *testing.T) {
	got := drawn(t, holding(), 0, false)
	for _, want := range []string{
		"environ     :50051,udp:127.0.0.1:53,renderD128,nvidia0  python3 -c",
		"environ  [::1]:1,[::1]:2,[::1]:3,[::1]:4,+5",
		"descendant                                              sleep <&>\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// Users rely on these fields of list, also if they are empty; reap has none of them.
func TestJSONOfFigures(t *testing.T) {
	text := func(r *report) string {
		r.close(0)
		var b strings.Builder
		if err := writeJSON(&b, r); err != nil || !json.Valid([]byte(b.String())) {
			t.Fatal(err, b.String())
		}
		return b.String()
	}
	got := text(holding())
	for _, want := range []string{
		`"age_ms":0,"memory_bytes":3145728,"ports":[{"proto":"tcp","address":"0.0.0.0","port":50051},`,
		`{"proto":"udp","address":"127.0.0.1","port":53}],"gpus":["/dev/dri/renderD128","/dev/nvidia0"]}`,
		`"memory_bytes":3145728,"ports":[],"gpus":[]}`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if got := text(reported(reaped)); strings.Contains(got, "ports") || strings.Contains(got, "age_ms") {
		t.Error(got)
	}
}

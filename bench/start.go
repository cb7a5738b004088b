//go:build linux

package main

import (
	"fmt"
	"os/exec"
	"time"
)

// measureStart: how long a command takes that does nothing, from before it is
// started until its exit status is known.
func (b *bench) measureStart() ([]row, error) {
	ours := []*contender{
		{name: "run", cast: cast{Worker: []string{b.watchdog, "run", "--"}}},
		{name: "run --sentinel off", cast: cast{Worker: []string{b.watchdog, "run", "--sentinel", "off", "--"}}},
	}
	for _, c := range ours {
		if b.watchdog == "" {
			c.absent = "not built"
		}
	}
	tini := prefix("tini", "-s", "--")
	peers := []*contender{
		tini,
		prefix("dumb-init", "--"),
		prefix("timeout", "60"),
		prefix("bwrap", "--dev-bind", "/", "/"),
		{name: "true alone"},
	}
	program, err := exec.LookPath("true")
	if err != nil {
		return nil, err
	}
	times := make(map[*contender][]time.Duration)
	err = interleave(b.pick(400, 60), append(ours, peers...), func(c *contender) error {
		spent, err := b.spend(append(c.cast.Worker[:len(c.cast.Worker):len(c.cast.Worker)], program))
		times[c] = append(times[c], spent)
		return err
	})
	if err != nil {
		return nil, err
	}
	var rows []row
	for i, c := range ours {
		most := []float64{5, 4}[i]
		r := row{measure: "watchdog " + c.name + " -- true", goal: fmt.Sprintf("≤ %g × tini", most), verdict: "-"}
		for _, p := range peers {
			if i == 0 {
				r.peers = append(r.peers, p.name+" "+orAbsent(p, showTimes(times[p])))
			}
		}
		against := ratio(median(times[c]), median(times[tini]))
		r.ours, r.ratio = orAbsent(c, showTimes(times[c])), showRatio(against, "tini")
		if against > 0 {
			r.verdict = verdict(against <= most)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// prefix is a tool that runs the command behind its arguments.
func prefix(tool string, args ...string) *contender {
	path, absent := find(tool)
	return &contender{name: tool, cast: cast{Worker: append([]string{path}, args...)}, absent: absent}
}

func (b *bench) spend(argv []string) (time.Duration, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = b.env
	start := time.Now()
	if err := begin(cmd); err != nil {
		return 0, err
	}
	err := cmd.Wait()
	spent := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("%v: %w", argv, err)
	}
	return spent, nil
}

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
	ours := &contender{name: "run", cast: cast{Worker: []string{b.watchdog, "run", "--"}}}
	if b.watchdog == "" {
		ours.absent = "not built"
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
	err = interleave(b.pick(400, 60), append([]*contender{ours}, peers...), func(c *contender) error {
		spent, err := b.spend(append(c.cast.Worker[:len(c.cast.Worker):len(c.cast.Worker)], program))
		times[c] = append(times[c], spent)
		return err
	})
	if err != nil {
		return nil, err
	}
	r := row{measure: "watchdog run -- true", goal: "≤ 3 × tini", verdict: "-"}
	for _, c := range peers {
		r.peers = append(r.peers, c.name+" "+orAbsent(c, showTimes(times[c])))
	}
	against := ratio(median(times[ours]), median(times[tini]))
	r.ours, r.ratio = orAbsent(ours, showTimes(times[ours])), showRatio(against, "tini")
	if against > 0 {
		r.verdict = verdict(against <= 3)
	}
	return []row{r}, nil
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

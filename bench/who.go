//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// measureWho: who listens on a port, asked of us and of others, and the figures for Prometheus,
// while count processes sleep.
func (b *bench) measureWho() ([]row, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	asked := func(name, tool string, argv ...string) *scanner {
		path, absent := find(tool)
		return &scanner{contender: contender{name: name, absent: absent}, argv: append([]string{path}, argv...)}
	}
	runID := randomWord(3)
	who := &scanner{contender: contender{name: "reaper who"}, argv: []string{b.reaper, "who", fmt.Sprintf(":%d", port)}}
	metrics := &scanner{contender: contender{name: "reaper metrics"}, argv: []string{b.reaper, "metrics"}}
	list := b.reaperScan(runID)
	list.name = "reaper list --json"
	lsof := asked("lsof -i", "lsof", "-i", fmt.Sprintf(":%d", port))
	_, absent := find("ss")
	both := asked("ss -ltnp, then ps", "sh", "-c", fmt.Sprintf("ss -ltnp 'sport = :%d'; ps -eo pid,user,etimes,args", port))
	if absent != "" {
		both.absent = absent
	}
	count := b.pick(5000, 1000)
	err = b.inField(runID, count, func(string) error {
		return b.scanInTurns(b.pick(15, 7), count, who, lsof, both, list, metrics)
	})
	if err != nil {
		return nil, err
	}
	whoRow := func(peer *scanner, most float64) row {
		r := row{measure: fmt.Sprintf("holder of a port among %d processes, against %s", count, peer.name), ours: showTimes(who.times),
			peers: []string{peer.name + " " + orAbsent(&peer.contender, showTimes(peer.times))}, ratio: "-", verdict: "-",
			goal: fmt.Sprintf("≤ 150 ms and ≤ %.1f × %s", most, peer.name)}
		if against := ratio(median(who.times), median(peer.times)); against > 0 {
			r.ratio = showRatio(against, peer.name)
			r.verdict = verdict(against <= most && median(who.times) <= 150*time.Millisecond)
		}
		return r
	}
	against := ratio(median(metrics.times), median(list.times))
	if against == 0 {
		return nil, errors.New("nothing was measured")
	}
	return []row{whoRow(lsof, 0.5), whoRow(both, 1), {
		measure: fmt.Sprintf("figures of %d processes (reaper metrics)", count), ours: showTimes(metrics.times),
		peers: []string{list.name + " " + showTimes(list.times)}, ratio: showRatio(against, list.name),
		goal: "≤ 1.5 × list --json", verdict: verdict(against <= 1.5),
	}}, nil
}

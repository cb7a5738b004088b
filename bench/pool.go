//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// pool is one `watchdog pool` for all workers of the parent.
func (b *bench) pool() *contender {
	sleep, absent := find("sleep")
	c := &contender{name: "pool", absent: absent, speaks: true,
		cast: cast{Worker: []string{sleep, "infinity"}, Pool: []string{b.watchdog, "pool"}}}
	if b.watchdog == "" {
		c.absent = "not built"
	}
	return c
}

// client is a parent's side of a pool.
type client struct {
	in   io.WriteCloser
	out  *bufio.Scanner
	next int
}

// startPool has the pool as a child, with our standard error.
func startPool(argv []string) (*client, int, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, 0, err
	}
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 2<<20)
	return &client{in: in, out: lines}, cmd.Process.Pid, nil
}

// runAll starts count workers and returns their PIDs once all answers are there.
func (c *client) runAll(argv []string, count int) (pids []int, err error) {
	words, err := json.Marshal(argv)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for range count {
		c.next++
		fmt.Fprintf(&b, `{"jsonrpc":"2.0","id":%d,"method":"run","params":{"worker_id":"w%d","argv":%s,"stdout":"null","stderr":"null"}}`+"\n", c.next, c.next, words)
	}
	failed := make(chan error, 1)
	go func() { // answers are read meanwhile
		_, err := io.WriteString(c.in, b.String())
		failed <- err
	}()
	for len(pids) < count && c.out.Scan() {
		var answer struct {
			ID     int
			Result struct{ PID int }
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal(c.out.Bytes(), &answer); err != nil {
			return nil, err
		}
		switch {
		case answer.Error != nil:
			return nil, errors.New("pool: " + answer.Error.Message)
		case answer.ID != 0:
			pids = append(pids, answer.Result.PID)
		}
	}
	if len(pids) < count {
		return nil, fmt.Errorf("pool: %d of %d answers came: %w", len(pids), count, errors.Join(c.out.Err(), io.ErrUnexpectedEOF))
	}
	return pids, <-failed
}

// startInPool starts all workers of a scene in one pool.
func (c *cast) startInPool() error {
	p, pid, err := startPool(c.Pool)
	if err != nil {
		return err
	}
	fmt.Println("watcher", pid)
	workers, err := p.runAll(c.Worker, c.Count)
	if err != nil {
		return err
	}
	for _, worker := range workers {
		fmt.Println("worker", worker)
	}
	for _, child := range childrenOf(pid) { // the sentinel, whose children the workers are
		fmt.Println("watcher", child)
	}
	go func() {
		for p.out.Scan() { // events
		}
	}()
	return nil
}

// measurePool: many workers in one pool.
func (b *bench) measurePool() ([]row, error) {
	if b.watchdog == "" {
		return nil, errors.New("watchdog not built")
	}
	count := b.pick(1000, 200)
	rows, err := b.poolDeaths(count)
	if err != nil {
		return rows, err
	}
	more, err := b.poolAtRest(count)
	rows = append(rows, more...)
	if err != nil {
		return rows, err
	}
	started, err := b.poolStart(count)
	return append(rows, started...), err
}

func (b *bench) poolDeaths(count int) ([]row, error) {
	ours, kernel := b.pool(), b.setprivKill()
	measured, err := b.takeTolls([]*contender{ours, kernel}, b.pick(7, 3), count, 500*time.Millisecond)
	if err != nil {
		return nil, err
	}
	dead := row{measure: fmt.Sprintf("pool of %d workers: parent killed → last worker dead", count), ours: showTimes(measured.workers(ours)),
		peers: peerTimes([]*contender{kernel}, measured), ratio: "-", goal: "≤ 1.2 × setpriv KILL", verdict: "-"}
	if against := ratio(median(measured.workers(ours)), median(measured.workers(kernel))); against > 0 {
		dead.ratio, dead.verdict = showRatio(against, kernel.name), verdict(against <= 1.2)
	}
	gone := median(measured.watchers(ours))
	return []row{dead, {measure: "the same → last process of ours gone", ours: showTimes(measured.watchers(ours)), ratio: "-",
		goal: "≤ 1 s", verdict: verdict(gone <= time.Second)}}, nil
}

// poolAtRest: memory and switches of the pool and its sentinel, all workers asleep.
func (b *bench) poolAtRest(count int) ([]row, error) {
	s, err := b.stage(b.pool(), count)
	if err != nil {
		return nil, err
	}
	window := time.Duration(b.pick(60, 20)) * time.Second
	time.Sleep(calm)
	var memory, before, after int64
	each := func(sum *int64, read func(pid int) (int64, error)) error {
		for _, h := range s.watchers {
			value, err := read(h.pid)
			if err != nil {
				return err
			}
			*sum += value
		}
		return nil
	}
	err1 := each(&memory, func(pid int) (int64, error) { return smaps(pid, "Private_Clean:", "Private_Dirty:") })
	err2 := each(&before, contextSwitches)
	time.Sleep(window)
	err3 := each(&after, contextSwitches)
	if err := errors.Join(err1, err2, err3, s.close()); err != nil {
		return nil, err
	}
	most := int64(10<<20 + count*16<<10)
	minute := float64(after-before) * float64(time.Minute) / float64(window)
	return []row{
		{measure: fmt.Sprintf("pool of %d workers: private memory of its processes", count), ours: showKB(memory), ratio: "-",
			goal: "≤ 10 MiB + 16 kB a worker", verdict: verdict(memory <= most)},
		{measure: "the same, idle: context switches per minute", ours: fmt.Sprintf("%.0f", minute), ratio: "-", goal: "≤ 12", verdict: verdict(minute <= 12)},
	}, nil
}

// spawner is a way to start many workers, from the first until all have begun.
type spawner struct {
	contender
	start func(count int) (time.Duration, error)
	times []time.Duration
}

// poolStart: count workers are started, until the last answer.
func (b *bench) poolStart(count int) ([]row, error) {
	sleep, absent := find("sleep")
	if absent != "" {
		return nil, errors.New("sleep " + absent)
	}
	program, err := b.compileC("spawn")
	if err != nil {
		return nil, err
	}
	python, absent := find("python3")
	timed := func(argv ...string) func(int) (time.Duration, error) {
		return func(count int) (time.Duration, error) {
			text, err := b.output(exec.Command(argv[0], append(argv[1:], fmt.Sprint(count), sleep)...))
			if err != nil {
				return 0, fmt.Errorf("%w\n%s", err, text)
			}
			micros, err := firstNumber([]byte(text))
			return time.Duration(micros) * time.Microsecond, err
		}
	}
	script, err := b.unpack("spawn.py")
	if err != nil {
		return nil, err
	}
	ours := &spawner{contender: contender{name: "pool"}, start: func(count int) (time.Duration, error) {
		p, _, err := startPool([]string{b.watchdog, "pool"})
		if err != nil {
			return 0, err
		}
		if !p.out.Scan() { // pool.started
			return 0, errors.Join(p.out.Err(), io.ErrUnexpectedEOF)
		}
		begin := time.Now()
		_, err = p.runAll([]string{sleep, "1000000"}, count)
		spent := time.Since(begin)
		p.in.Close()
		for p.out.Scan() { // until nothing of it is left
		}
		return spent, err
	}}
	c := &spawner{contender: contender{name: "C, posix_spawn"}, start: timed(program)}
	py := &spawner{contender: contender{name: "Python subprocess", absent: absent}, start: timed(python, script)}
	all := map[string]*spawner{ours.name: ours, c.name: c, py.name: py}
	err = interleave(b.pick(7, 3), []*contender{&ours.contender, &c.contender, &py.contender}, func(k *contender) error {
		s := all[k.name]
		spent, err := s.start(count)
		s.times = append(s.times, spent)
		return err
	})
	if err != nil {
		return nil, err
	}
	against, python3 := ratio(median(ours.times), median(c.times)), ratio(median(ours.times), median(py.times))
	return []row{
		{measure: fmt.Sprintf("pool: %d workers started → last answer", count), ours: showTimes(ours.times),
			peers: []string{c.name + " " + showTimes(c.times), py.name + " " + orAbsent(&py.contender, showTimes(py.times))},
			ratio: showRatio(against, c.name), goal: "≤ 2 × C, faster than Python", verdict: verdict(against <= 2 && python3 < 1)},
	}, nil
}

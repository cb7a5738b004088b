//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

const (
	guarded  = 10                // workers in the ledger while is scanned
	noWorker = "leash-bench-0th" // in the arguments of no process
)

// scanner is a program that reads arguments and environments of all processes.
type scanner struct {
	contender
	argv   []string
	inside bool // it prints how many microseconds its scan took; without, all of it counts
	// count takes the number of processes from what it printed; nil if it
	// does not tell.
	count func(text []byte) (int, error)
	own   []time.Duration // what it says itself, where that is not what counts
	times []time.Duration
}

// reaperScan also makes sure that the ledger was not empty.
func (b *bench) reaperScan(runID string) *scanner {
	s := &scanner{contender: contender{name: "reaper list"}, argv: []string{b.reaper, "list", "--json"}}
	s.count = func(text []byte) (int, error) {
		v, err := readVerdicts(text)
		if err != nil {
			return 0, err
		}
		s.own = append(s.own, time.Duration(v.Duration*float64(time.Millisecond)))
		if found := v.has(runID, "ledger"); found < guarded {
			return 0, fmt.Errorf("%d of %d workers were found by the ledger", found, guarded)
		}
		return v.Scanned, nil
	}
	return s
}

func (b *bench) readerScan() (*scanner, error) {
	program, err := b.compileC("reader")
	return &scanner{contender: contender{name: "C, one thread"}, argv: []string{program}, count: firstNumber}, err
}

func (b *bench) pgrepScan() *scanner {
	path, absent := find("pgrep")
	return &scanner{contender: contender{name: "pgrep -f", absent: absent}, argv: []string{path, "-f", noWorker}}
}

func (b *bench) psutilScan() (*scanner, error) {
	s := &scanner{contender: contender{name: "psutil (scan only)", absent: "not installed"}, inside: true, count: firstNumber}
	script, err := b.unpack("scan_psutil.py")
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(python, "-c", "import psutil").Run() == nil {
			s.absent, s.argv = "", []string{python, script}
			break
		}
	}
	return s, err
}

func (b *bench) gopsutilScan() (*scanner, error) {
	program, err := b.compile("gopsutilscan", b.module, "./gopsutilscan")
	return &scanner{contender: contender{name: "gopsutil v3 (scan only)"}, argv: []string{program}, inside: true,
		count: firstNumber}, err
}

func firstNumber(text []byte) (int, error) {
	words := bytes.Fields(text)
	if len(words) == 0 {
		return 0, errors.New("printed nothing")
	}
	return strconv.Atoi(string(words[0]))
}

// scan is one turn. What is printed goes to a file in memory, so that no reader delays it,
// and every scan can be checked for having seen every process.
func (b *bench) scan(s *scanner, atLeast int) error {
	output, err := os.Create(filepath.Join(b.ram, "scan"))
	if err != nil {
		return err
	}
	defer output.Close()
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.Env, cmd.Stdout = b.env, output
	start := time.Now()
	if err := begin(cmd); err != nil {
		return err
	}
	err = cmd.Wait()
	spent := time.Since(start)
	if err != nil && !(s.count == nil && cmd.ProcessState.ExitCode() == 1) { // pgrep found none: as it should
		return fmt.Errorf("%s: %w", s.name, err)
	}
	text, err := os.ReadFile(output.Name())
	if err != nil {
		return err
	}
	if s.count != nil {
		seen, err := s.count(text)
		if err == nil && seen < atLeast {
			err = fmt.Errorf("saw %d processes of %d", seen, atLeast)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if s.inside {
		words := bytes.Fields(text)
		micros, err := strconv.Atoi(string(words[len(words)-1]))
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		spent = time.Duration(micros) * time.Microsecond
	}
	s.times = append(s.times, spent)
	return nil
}

// guardOf is guard for workers of that run. The ID is another each time: the
// watchdogs of a second bench would take workers of the same names for theirs.
func (b *bench) guardOf(runID string) *contender {
	return b.ours("guard", cast{
		Worker:  b.worker(),
		Env:     []string{"LEASH_RUN_ID=" + runID, "LEASH_WORKER_ID=worker-{n}"},
		Watcher: []string{b.watchdog, "guard", "--worker-pid={pid}", "--run-id=" + runID, workerFlag},
	})
}

// inField calls a function while count processes sleep and a few workers of a
// run are in the ledger.
func (b *bench) inField(runID string, count int, do func(crowd string) error) error {
	if b.reaper == "" || b.watchdog == "" {
		return errors.New("reaper or watchdog not built")
	}
	crowd, err := b.compileC("crowd")
	if err != nil {
		return err
	}
	workers, err := b.stage(b.guardOf(runID), guarded)
	if err != nil {
		return err
	}
	f, err := b.sow(crowd, count)
	if err == nil {
		err = do(crowd)
	}
	return errors.Join(err, f.close(), workers.close())
}

// measureScan: one scan of all processes, by us and by others.
func (b *bench) measureScan() ([]row, error) {
	runID := randomWord(3)
	ours, pgrep := b.reaperScan(runID), b.pgrepScan()
	reader, err1 := b.readerScan()
	psutil, err2 := b.psutilScan()
	gopsutil, err3 := b.gopsutilScan()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	count := b.pick(5000, 1000)
	var memory row
	err := b.inField(runID, count, func(string) error {
		if err := b.scanInTurns(b.pick(31, 7), count, ours, reader, pgrep, psutil, gopsutil); err != nil {
			return err
		}
		var err error
		memory, err = b.peakMemory(count)
		return err
	})
	if err != nil {
		return nil, err
	}
	rows := []row{
		scanRow(ours, reader, 1, "≤ 1.0 × C"),
		scanRow(ours, pgrep, 3, "pgrep ≥ 3 × ours"),
		scanRow(ours, psutil, 5, "psutil ≥ 5 × ours"),
		scanRow(ours, gopsutil, 5, "gopsutil ≥ 5 × ours"),
		memory,
	}
	rows[0].measure = fmt.Sprintf("scan of %d processes", count)
	rows[0].ours = fmt.Sprintf("%s; scan only %s", showTimes(ours.times), showTime(median(ours.own)))
	if rows[0].ratio != "-" {
		rows[0].ratio = showRatio(ratio(median(ours.times), median(reader.times)), "C")
	}
	return rows, nil
}

// scanRow says how many times as fast as a peer we are, and whether that is enough.
func scanRow(ours, peer *scanner, least float64, goal string) row {
	r := row{measure: "the same, against " + peer.name, goal: goal, ratio: "-", verdict: "-",
		peers: []string{peer.name + " " + orAbsent(&peer.contender, showTimes(peer.times))}}
	if faster := ratio(median(peer.times), median(ours.times)); faster > 0 {
		r.ratio = fmt.Sprintf("%.1f × as fast", faster)
		r.verdict = verdict(faster >= least)
	}
	return r
}

// scanInTurns gives each scanner one turn that does not count: the kernel makes the
// entries in /proc when they are read first.
func (b *bench) scanInTurns(rounds, count int, scanners ...*scanner) error {
	byName := make(map[string]*scanner)
	var contenders []*contender
	for _, s := range scanners {
		byName[s.name] = s
		contenders = append(contenders, &s.contender)
	}
	turn := func(c *contender) error { return b.scan(byName[c.name], count) }
	if err := interleave(1, contenders, turn); err != nil {
		return err
	}
	for _, s := range scanners {
		s.times, s.own = nil, nil
	}
	return interleave(rounds, contenders, turn)
}

// measureScanTwice: twice as many processes.
func (b *bench) measureScanTwice() ([]row, error) {
	count := b.pick(5000, 1000)
	runID := randomWord(3)
	once, twice := b.reaperScan(runID), b.reaperScan(runID)
	err := b.inField(runID, count, func(crowd string) error {
		for range b.pick(5, 3) {
			if err := b.scanInRow(once, count); err != nil {
				return err
			}
			more, err := b.sow(crowd, count)
			if err != nil {
				return err
			}
			if err := errors.Join(b.scanInRow(twice, 2*count), more.close()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := row{measure: fmt.Sprintf("scan of %d processes", 2*count), ours: showTimes(twice.times),
		peers: []string{fmt.Sprintf("of %d %s", count, showTimes(once.times))}, goal: fmt.Sprintf("≤ 2.3 × of %d", count)}
	grown := ratio(median(twice.times), median(once.times))
	r.ratio, r.verdict = showRatio(grown, fmt.Sprintf("of %d", count)), verdict(grown <= 2.3)
	return []row{r}, nil
}

// scanInRow scans a few times; the first does not count, as above.
func (b *bench) scanInRow(s *scanner, count int) error {
	kept := s.times
	for i := range 1 + b.pick(7, 3) {
		if err := b.scan(s, count); err != nil {
			return err
		}
		if i == 0 {
			s.times = kept
		}
	}
	return nil
}

// peakMemory: the most that a scan held at once.
func (b *bench) peakMemory(count int) (row, error) {
	r := row{measure: fmt.Sprintf("peak memory of that scan, %d processes", count), ratio: "-", goal: "-", verdict: "-"}
	peak, err1 := b.compileC("peak")
	nothing, err2 := b.emptyGo()
	if err := errors.Join(err1, err2); err != nil {
		return r, err
	}
	pgrep, absent := find("pgrep")
	measured := make(map[*contender][]int64)
	ours := &contender{name: "reaper", cast: cast{Worker: []string{b.reaper, "list", "--json"}}}
	empty := &contender{name: "empty Go program", cast: cast{Worker: []string{nothing}}}
	peers := []*contender{empty, {name: "pgrep -f", absent: absent, cast: cast{Worker: []string{pgrep, "-f", noWorker}}}}
	err := interleave(b.pick(9, 3), append([]*contender{ours}, peers...), func(c *contender) error {
		cmd := exec.Command(peak, c.cast.Worker...)
		cmd.Env = b.env
		text, err := b.output(cmd)
		if err != nil {
			return fmt.Errorf("peak memory of %s: %w\n%s", c.name, err, text)
		}
		kilobytes, err := firstNumber([]byte(text))
		measured[c] = append(measured[c], int64(kilobytes)<<10)
		return err
	})
	for _, c := range peers {
		r.peers = append(r.peers, c.name+" "+orAbsent(c, showKB(median(measured[c]))))
	}
	r.ours = showKB(median(measured[ours]))
	r.ratio = showRatio(ratio(median(measured[ours]), median(measured[empty])), empty.name)
	return r, err
}

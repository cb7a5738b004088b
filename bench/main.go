//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// measures are the rows of the table, in its order.
var measures = []struct {
	name    string
	measure func(*bench) ([]row, error)
}{
	{"death", (*bench).measureDeath},
	{"crowd", (*bench).measureDeathInCrowd},
	{"many", (*bench).measureMany},
	{"pool", (*bench).measurePool},
	{"curve", (*bench).measureCurve},
	{"memory", (*bench).measureMemory},
	{"idle", (*bench).measureIdle},
	{"start", (*bench).measureStart},
	{"throughput", (*bench).measureThroughput},
	{"scan", (*bench).measureScan},
	{"scan10k", (*bench).measureScanTwice},
	{"who", (*bench).measureWho},
	{"orphans", (*bench).measureOrphans},
	{"clean", (*bench).measureClean},
	{"size", (*bench).measureSize},
	{"beats", (*bench).measureBeats},
	{"beatrate", (*bench).measureBeatRate},
	{"beatmemory", (*bench).measureBeatMemory},
	{"beatflood", (*bench).measureFlood},
	{"client", (*bench).measureClient},
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == helperWord {
		if err := runParent(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bench: parent of a scene:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	var names []string
	for _, m := range measures {
		names = append(names, m.name)
	}
	quick := flag.Bool("quick", false, "fewer rounds, fewer processes")
	only := flag.String("only", "", "these measures, separated by commas: "+strings.Join(names, ", "))
	watchdog := flag.String("watchdog", "", "measure this binary instead of building one")
	reaper := flag.String("reaper", "", "the same")
	page := flag.String("page", "", "also write the table, with plots, to this page")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	wanted := strings.Split(*only, ",")
	for _, name := range wanted {
		if *only != "" && !contains(names, name) {
			return fmt.Errorf("-only %s: no such measure; there are %s", name, strings.Join(names, ", "))
		}
	}
	b, err := newBench(*quick)
	if err != nil {
		return err
	}
	cleanUpOnSignal(b)
	defer func() { err = errors.Join(err, b.close()) }()
	before := machine()
	failed := b.build(*watchdog, *reaper)
	if *only == "" {
		wanted = names
	}
	rows, err := b.measureAll(wanted)
	spawning.Lock() // never granted once a signal has come: then there is nothing to print
	defer spawning.Unlock()
	fmt.Println("before:", before)
	fmt.Println("after: ", machine())
	fmt.Println()
	printTable(os.Stdout, rows)
	if *page != "" {
		err = errors.Join(err, writePage(*page, rows, b.curve, before, machine()))
	}
	return errors.Join(failed, err)
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// measureAll goes on after a measure that failed: its row says so.
func (b *bench) measureAll(wanted []string) ([]row, error) {
	var rows []row
	var failed error
	for _, m := range measures {
		if !contains(wanted, m.name) {
			continue
		}
		start := time.Now()
		fmt.Fprintf(os.Stderr, "bench: %s ...", m.name)
		found, err := m.measure(b)
		fmt.Fprintf(os.Stderr, " %.0f s\n", time.Since(start).Seconds())
		if err != nil {
			found = append(found, row{measure: m.name, ours: "failed", ratio: "-", verdict: "not measured"})
			failed = errors.Join(failed, fmt.Errorf("%s: %w", m.name, err))
		}
		rows = append(rows, found...)
	}
	return rows, failed
}

// cleanUpOnSignal ends everything that the bench started before the bench
// itself ends. The lock is never given back: nothing new may start.
func cleanUpOnSignal(b *bench) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		sig := <-signals
		spawning.Lock()
		if err := b.close(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(128 + int(sig.(syscall.Signal)))
	}()
}

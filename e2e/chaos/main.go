//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if signal.Ignored(syscall.SIGHUP) { // as below nohup(1): a parent that inherits this does not die of it
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	if len(os.Args) > 1 {
		role, spec := os.Args[1], ""
		if len(os.Args) > 2 {
			spec = os.Args[2]
		}
		switch role {
		case "life":
			runLife(spec)
		case "parent":
			runParent(spec)
		case "node":
			runNode(spec)
		case "host":
			runHost(spec)
		case "count":
			runCount()
		case "aide":
			forever()
		}
	}
	var o options
	flag.StringVar(&o.dir, "bin", "bin", "folder of watchdog and reaper")
	flag.Uint64Var(&o.seed, "seed", 0, "seed of the first life; the next has the next number. 0: from the clock")
	flag.IntVar(&o.lives, "lives", 0, "how many; 0: as many as -time lets")
	flag.DurationVar(&o.time, "time", 2*time.Minute, "how long, where -lives is 0")
	flag.IntVar(&o.jobs, "jobs", 4, "lives at once")
	flag.IntVar(&o.again, "again", 1, "play each life so many times: moments differ")
	skip := flag.String("skip", os.Getenv("CHAOS_SKIP"), "kinds of faults to leave out: "+strings.Join(kinds, ","))
	flag.Parse()
	if *skip != "" {
		o.skip = strings.Split(*skip, ",")
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano()/1e6) % 1e9
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	o.stop = stop
	bad, err := o.drive(os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(2)
	}
	if bad > 0 {
		os.Exit(1)
	}
}

//go:build linux

// Command gopsutilscan reads the arguments and the environment of every
// process with gopsutil and prints how many there are, and how many
// microseconds that took. Only the benchmarks run it.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/shirou/gopsutil/v3/process"
)

func main() {
	start := time.Now()
	processes, err := process.Processes()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, p := range processes {
		// A process that has ended meanwhile, or may not be read, is passed over.
		p.Cmdline()
		p.Environ()
	}
	fmt.Println(len(processes), time.Since(start).Microseconds())
}

// Package gauge reads figures for display, on which no decision rests. Only the reaper
// links it.
package gauge

import (
	"runtime"
	"sync"
)

// Memory returns the resident set, in bytes, of each of the processes. One that has
// ended or cannot be read is absent.
func Memory(pids []int) map[int]uint64 {
	sizes := make([]uint64, len(pids))
	var wg sync.WaitGroup
	n := min(runtime.GOMAXPROCS(0), len(pids))
	for part := range n {
		wg.Go(func() {
			for i := part; i < len(pids); i += n {
				sizes[i] = resident(pids[i])
			}
		})
	}
	wg.Wait()
	memory := make(map[int]uint64, len(pids))
	for i, size := range sizes {
		if size > 0 { // a zombie has none
			memory[pids[i]] = size
		}
	}
	return memory
}

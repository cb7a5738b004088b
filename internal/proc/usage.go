package proc

import "time"

// Usage is what a worker that has ended used.
type Usage struct {
	Known bool
	// Tree: all of its process tree is counted, by a cgroup or a job; otherwise it is the
	// worker alone, with the children that it waited for (wait4(2)).
	Tree         bool
	User, System time.Duration
	Peak         uint64 // memory in bytes
	// OOMKills is how many processes of the tree the kernel killed for want of memory.
	OOMKills uint64
}

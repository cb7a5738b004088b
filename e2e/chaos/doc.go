// Chaos plays short lives of parents, workers and watchdogs on real processes,
// kills them in random order at random moments, and counts what is left.
//
// Each life runs in a PID, mount and IPC namespace of its own, with a cgroup of
// its own where there is one. PID 1 of it is this program, so at the end of a
// life every process of the namespace that this program does not know is left
// over; nothing can hide from that count. The working folder of a process says
// to which tree it belongs: it survives fork(2), execve(2), setsid(2) and a wiped
// environment.
//
// What happens in a life follows from its seed (plan.go); the moments at which
// the system lets it happen do not.
package main

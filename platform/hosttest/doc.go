// Package hosttest is a system that exists in memory only: a process table
// with reused PIDs, zombies, orphans, groups and sessions, a clock, and a
// watch.Host over it. Between any two calls its processes may move, as they do
// on a real system, but by a seeded random source.
//
// World is the table and its laws, Kernel and its handles are what stop.Tree
// sees of it, Host is what watch.Guard sees. Scene builds one world by a seed,
// guards a worker in it, and compares what was done with what is true: the
// world, unlike any watchdog, knows who descends from whom. In some scenes the
// worker beats, by his own clock, until something befalls him, or is followed by
// another when he ends.
//
// Conform is a suite that the fake and the real kernel both pass, so that the
// one cannot drift from the other.
package hosttest

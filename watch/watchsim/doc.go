// Package watchsim simulates an operating system in memory, with a fake clock, under the real
// watch.Loop, watch.Worker and watch.Machine. Its processes may act between any two calls, as
// real ones do, but from a seeded random source.
//
// World is the process table and its rules: reused PIDs, zombies, orphans, groups and
// sessions. System is that world as a system.System for the watchdog, with subreapers, a
// sentinel, cgroups, heartbeats, lifelines and hooks, and with calls that fail, ends that are
// reported late or not at all, and kills of the watchdog and its sentinel between any two
// calls. Host is the program around one watch.Worker, and checks it: the world, unlike a
// watchdog, knows which process descends from which. Scene builds a world from a seed, runs
// it to its end, and returns what went wrong.
package watchsim

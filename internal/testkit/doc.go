// Package testkit helps tests that deal with real processes: it builds the
// binaries, starts processes and reads what they print, tells whether a
// process still lives, and makes sure that nothing outlives a test run.
//
// Three rules hold throughout:
//
//   - No sleeping. A test waits for a printed line, for an event or for the
//     end of a process, and gives up after Patience.
//   - A process is known by PID and start time and is signalled through a
//     pidfd, so that a reused PID is never hit.
//   - Nothing is left behind. With Main, orphans come to a process of ours,
//     which fails the run if anything is still alive at the end.
//
// A package that uses it has this in a file for Linux:
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
package testkit

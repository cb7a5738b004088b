// Package testkit helps tests that use real processes: it builds the binaries, starts
// processes and reads what they print, checks whether a process lives, and makes sure that
// no process outlives a test run.
//
// Three rules hold throughout:
//
//   - No sleeping. A test waits for a printed line, for an event or for the
//     end of a process, and gives up after Patience.
//   - A process is identified by PID and start time and is signalled through a
//     pidfd, so that a later process with its PID is never signalled.
//   - No process is left. With Main, orphans become children of a supervising
//     process, which fails the run if one is still alive at the end.
//
// When a test fails, the first line of a helper's message says what was expected of which
// process, and what happened. All output of the processes of the test is in one file, which
// the line names: in the folder LEASH_TEST_LOGS, or else in leash-test-logs in the folder for
// temporary files.
//
// A package that uses it has this in a file for Linux:
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
package testkit

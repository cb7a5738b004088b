// Command bench measures how fast and how small watchdog and reaper are, side by
// side with the tools that people use for the same job today.
//
//	go run ./bench                 every measure, about fifteen minutes
//	go run ./bench -quick          fewer rounds, smaller crowds
//	go run ./bench -only death     one measure
//
// Contenders take turns within one run, in an order drawn anew for each round,
// so that a ratio compares like with like even on a machine that is busy with
// other things.
// It prints a table and asserts nothing: the exit status is 1 only if
// something could not be measured.
package main

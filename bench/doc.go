// Command bench measures how fast and how small watchdog and reaper are, side by
// side with the tools that people use for the same job today.
//
//	go run -C bench .              every measure, about fifteen minutes
//	go run -C bench . -quick       fewer rounds, smaller crowds
//	go run -C bench . -only death  one measure
//
// It is a module of its own, so that the packages it compares with are no
// dependencies of the product.
//
// Contenders take turns within one run, in an order drawn anew for each round,
// so that a ratio compares like with like even on a machine that is busy with
// other things.
// It prints a table and asserts nothing: the exit status is 1 only if
// something could not be measured.
package main

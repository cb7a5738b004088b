// Package clients runs the tests and the examples of clients/ with the watchdog of this
// tree.
package clients

// Package e2e holds tests of the binaries among real programs: what people
// run as parents and as workers. What is about the command line alone is in
// testdata/script.
package e2e

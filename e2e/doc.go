// Package e2e holds tests of the binaries among real programs: what people
// run as parents and as workers.
package e2e

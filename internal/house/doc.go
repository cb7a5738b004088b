// Package house has only tests: which packages of this module may import which, and what
// the pages and scripts must hold.
package house

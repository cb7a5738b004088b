// Package house has only tests: which packages of this module may import which, how long
// a file may be, and what the pages and scripts must hold.
package house

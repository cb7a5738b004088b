// Package house has nothing but a test, which keeps the rooms of this module
// in order: who may import whom, and how long a file may be.
package house

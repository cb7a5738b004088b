//go:build !darwin && !linux

package platform

// TakeRole has nothing to do: here a watchdog needs no other process.
func TakeRole() {}

//go:build unix && !linux

package posix

// lastSignal is the highest number of a signal.
const lastSignal = 31

//go:build unix && !linux

package posix

func sendNow(fd int, b []byte) (int, error) { return writeIfReady(fd, b) }

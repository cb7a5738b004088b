package main

import "os"

// logFiles keeps the files from being closed by the garbage collector.
var logFiles []*os.File

func openLogFile(name string) (int, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return -1, err
	}
	logFiles = append(logFiles, f)
	return int(f.Fd()), nil
}

package main

import "os"

// logFile is kept from being closed.
var logFile *os.File

func openLogFile(name string) (int, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return -1, err
	}
	logFile = f
	return int(f.Fd()), nil
}

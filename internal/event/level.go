package event

import "log/slog"

// Level is the lowest level that is written, by its name: debug, info, warn, error or auto.
// auto is info if a log of the events was asked for, otherwise warn.
func Level(word string, asked bool) slog.Level {
	switch {
	case word == "debug":
		return slog.LevelDebug
	case word == "info", word == "auto" && asked:
		return slog.LevelInfo
	case word == "error":
		return slog.LevelError
	}
	return slog.LevelWarn
}

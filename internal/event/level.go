package event

import "log/slog"

// Level is the least level that is written, by its word: debug, info, warn,
// error, or auto. Nobody wants to hear of what goes as it should, unless they
// asked for the events: auto is info then, and else warn.
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

// IsLevel reports whether Level knows the word.
func IsLevel(word string) bool {
	switch word {
	case "auto", "debug", "info", "warn", "error":
		return true
	}
	return false
}

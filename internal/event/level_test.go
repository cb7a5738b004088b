package event

import (
	"log/slog"
	"testing"
)

func TestLevelWords(t *testing.T) {
	for word, want := range map[string][2]slog.Level{
		"debug": {slog.LevelDebug, slog.LevelDebug}, "info": {slog.LevelInfo, slog.LevelInfo},
		"warn": {slog.LevelWarn, slog.LevelWarn}, "error": {slog.LevelError, slog.LevelError},
		"auto": {slog.LevelWarn, slog.LevelInfo},
	} {
		if got := [2]slog.Level{Level(word, false), Level(word, true)}; got != want {
			t.Errorf("%s: %v, want %v", word, got, want)
		}
	}
}

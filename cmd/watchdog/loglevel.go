package main

import (
	"os"
	"strings"

	"leash/internal/event"
)

// autoLevel replaces auto by a level, before the settings are handed over. It is info for
// guard, and for run if a format or a place for the events was given; run is quiet otherwise.
func (s *settings) autoLevel(given map[string]bool) {
	if s.logLevel != "auto" {
		return
	}
	asked := !s.run
	for _, variable := range []string{"LEASH_LOG_FORMAT", "LEASH_LOG_FILE", "LEASH_LOG_FD"} {
		flag := "--" + strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(variable, "LEASH_")), "_", "-")
		asked = asked || given[flag] || os.Getenv(variable) != ""
	}
	s.logLevel = strings.ToLower(event.Level("auto", asked).String())
}

package main

import (
	"os"
	"strings"

	"leash/internal/event"
)

// autoLevel makes a level of auto, before the settings are handed over: whoever
// named a form or a place for the events wants to see them, and guard has no
// other voice. run is as quiet as its worker, until something has to be said.
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

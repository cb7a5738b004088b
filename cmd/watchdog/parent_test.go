package main

import (
	"strings"
	"testing"
)

// A parent whose PID is unknown is not taken for dead.
func TestParentThatCannotBeTold(t *testing.T) {
	w := &watchdog{settings: &settings{parentFD: none, defaultParent: -1}}
	if dead, err := w.watchParents(); dead != nil || err == nil || !strings.Contains(err.Error(), "--parent-pid") {
		t.Errorf("%v, %v", dead, err)
	}
}

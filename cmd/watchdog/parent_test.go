package main

import (
	"strings"
	"testing"
)

// Who does not know its parent does not take it for dead.
func TestParentThatCannotBeTold(t *testing.T) {
	w := &watchdog{settings: &settings{parentFD: none, defaultParent: -1}}
	if dead, err := w.watchParents(); dead != nil || err == nil || !strings.Contains(err.Error(), "--parent-pid") {
		t.Errorf("%v, %v", dead, err)
	}
}

//go:build windows

package windows

import (
	"testing"

	win "golang.org/x/sys/windows"
)

// The system ends the tree when the job's last handle is closed.
func TestJobIsClosed(t *testing.T) {
	for _, spare := range []bool{false, true} {
		j, err := newJob(true)
		if err != nil {
			t.Fatal(err)
		}
		a := start(t, "fork", 0)
		h := opened(t, newTestKernel(t), a.PID())
		if err := j.add(h.h); err != nil {
			t.Fatal(err)
		}
		child := opened(t, h.k, a.fork(t, "plain"))
		j.close(spare)
		if !spare {
			await(t, "the end of the tree", func() bool { return h.ended() && child.ended() })
		} else if ev, _ := win.WaitForSingleObject(h.h, 50); ev == win.WAIT_OBJECT_0 {
			t.Error("it was to be spared")
		}
	}
}

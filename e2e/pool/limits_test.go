//go:build linux

package pool

import (
	"fmt"
	"testing"

	"leash/internal/testkit"
)

// A pool without descriptors left starts no further worker, and keeps those that it has.
func TestNoDescriptorsLeft(t *testing.T) {
	t.Parallel()
	testkit.Need(t, "prlimit")
	for _, most := range []int{40, 41, 42, 43} {
		c := startAs(t, dialect{by: []string{"prlimit", fmt.Sprintf("--nofile=%d:%d", most, most)}})
		var all []testkit.Ident
		for {
			p := params{"worker_id": fmt.Sprint("w", len(all)), "argv": []string{"sleep", "1000000"}}
			m := c.answer(c.send("run", p))
			if m.Error != nil {
				if m.Error.Code != -32005 {
					t.Errorf("%+v", *m.Error)
				}
				break
			}
			if all = append(all, c.known(m.Result["pid"])); len(all) > most {
				t.Fatalf("%d workers with %d descriptors", len(all), most)
			}
		}
		if list := c.call("list", nil)["workers"].([]any); len(list) != len(all) || len(all) == 0 {
			t.Errorf("%d descriptors: %d workers are listed, want %d", most, len(list), len(all))
		}
		testkit.StillAlive(t, all...)
		c.call("stop", params{"worker_id": "w0"})
		c.run("next", nil, "sleep", "1000000")
		c.in.Close()
		if status := c.status(); status != 0 {
			t.Errorf("status %d", status)
		}
		testkit.AwaitGone(t, all...)
	}
}

//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// diagnosis is what doctor prints with --json.
type diagnosis struct {
	OK         *bool
	Mechanisms []struct{ Name, State, Detail, Advice string }
}

func (d diagnosis) state(name string) string {
	for _, m := range d.Mechanisms {
		if m.Name == name {
			return m.State
		}
	}
	return "absent"
}

// diagnose calls doctor behind a command, and checks that status and JSON agree.
func diagnose(t *testing.T, u user, behind ...string) (d diagnosis) {
	t.Helper()
	for _, program := range []string{testkit.Reaper(t), testkit.Watchdog(t)} {
		d = diagnosis{}
		words := append(append([]string{}, behind...), program, "doctor", "--json")
		status, stdout, stderr := testkit.Run(t, u.as(exec.Command(words[0], words[1:]...)))
		if err := json.Unmarshal([]byte(stdout), &d); err != nil || d.OK == nil || status != map[bool]int{true: 0, false: 1}[*d.OK] || stderr != "" {
			t.Fatalf("%q: status %d, %v: %s %s", words, status, err, stdout, stderr)
		}
		for _, m := range d.Mechanisms {
			if m.State != "works" && m.State != "in part" && m.State != "no" || m.Detail == "" || m.State == "no" && m.Advice == "" {
				t.Errorf("%q: %+v", words, m)
			}
		}
	}
	return d // the watchdog's
}

// What works here works for run and guard too: the tests of this package say so.
func TestDoctor(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		for _, u := range []user{root(), ordinary(t, alice)} {
			d := diagnose(t, u)
			for _, name := range []string{"/proc", "pidfd", "subreaper", "sentinel", "notify socket", "ledger folder"} {
				if d.state(name) != "works" {
					t.Errorf("user %d: %s is %q: %+v", u.uid, name, d.state(name), d)
				}
			}
			if !*d.OK {
				t.Errorf("user %d: %+v", u.uid, d)
			}
		}
		status, text, _ := testkit.Run(t, exec.Command(testkit.Watchdog(t), "doctor"))
		if status != 0 || !strings.Contains(text, "works    pidfd ") || !strings.Contains(text, "keep all their promises here") {
			t.Errorf("%d %s", status, text)
		}
		if left := testkit.Descendants(t, 1); len(left) > 1 { // this test itself
			t.Logf("%v", left)
		}
	})
}

// Each thing that is missing is named, and only what is needed changes the status.
func TestDoctorWhereSomethingIsMissing(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		testkit.Need(t, "unshare", "mount")
		py := testkit.NeedPython(t)
		refusing := func(call int) []string {
			return []string{py, "-c", filtered(fmt.Sprintf("ins(0x15,0,1,%d) + ins(0x06,0,0,0x00050001)", call))}
		}
		mounts := func(script string) []string {
			return []string{"unshare", "--mount", "sh", "-c", script + ` && exec "$@"`, "sh"}
		}
		a := ordinary(t, alice)
		hidden := mounts("mount -t proc -o hidepid=2 proc /proc")
		asAlice := append(hidden, "setpriv", "--reuid", itoa(alice), "--regid", itoa(alice), "--clear-groups")
		closed := root()
		closed.state = "/no/such/folder"
		for name, c := range map[string]struct {
			user      user
			behind    []string
			mechanism string
			state     string
			ok        bool
		}{
			"foreign /proc":    {root(), []string{"unshare", "--pid", "--fork", "--kill-child"}, "/proc", "no", false},
			"no /proc":         {root(), mounts("mount -t tmpfs none /proc"), "/proc", "no", false},
			"pidfd_open":       {root(), refusing(unix.SYS_PIDFD_OPEN), "pidfd", "no", false},
			"pidfd_send":       {root(), refusing(unix.SYS_PIDFD_SEND_SIGNAL), "pidfd", "no", false},
			"prctl":            {root(), refusing(unix.SYS_PRCTL), "subreaper", "no", false},
			"epoll":            {root(), refusing(unix.SYS_EPOLL_CREATE1), "epoll", "in part", true},
			"no cgroup":        {root(), mounts("umount -a -t cgroup2,cgroup; mount -t tmpfs none /sys/fs/cgroup"), "cgroup", "no", true},
			"read-only cgroup": {root(), mounts("mount -t cgroup2 -o ro none /sys/fs/cgroup"), "cgroup", "no", true},
			"hidepid":          {a, nil, "hidepid", "works", true},
			"hidepid=2":        {user{uid: 0, state: a.state}, asAlice, "hidepid", "in part", true},
			"hidepid=2, root":  {root(), hidden, "hidepid", "works", true},
			"ledger":           {closed, nil, "ledger folder", "no", false},
		} {
			t.Run(name, func(t *testing.T) {
				d := diagnose(t, c.user, c.behind...)
				if d.state(c.mechanism) != c.state || *d.OK != c.ok {
					t.Errorf("%s is %q and ok %t, want %q and %t: %+v", c.mechanism, d.state(c.mechanism), *d.OK, c.state, c.ok, d)
				}
			})
		}
	})
}

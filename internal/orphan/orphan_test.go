package orphan

import "testing"

func TestLikely(t *testing.T) {
	for name, c := range map[string]struct {
		Facts
		want bool
	}{
		"(run &) in a shell that has gone":      {Facts{PID: 50, Session: 40, Group: 49, Parent: 1, ParentName: "systemd", ParentSession: 1, ParentGroup: 1}, true},
		"setsid -f":                             {Facts{PID: 50, Session: 50, Group: 50, Parent: 1, ParentName: "systemd", ParentSession: 1, ParentGroup: 1}, true},
		"setsid -f where PID 1 is a program":    {Facts{PID: 50, Session: 50, Group: 50, Parent: 1, ParentName: "node", ParentSession: 1, ParentGroup: 1}, true},
		"setsid -f in a namespace":              {Facts{PID: 50, Session: 50, Group: 50, Parent: 1, ParentName: "sh"}, true},
		"a unit of systemd":                     {Facts{PID: 50, Session: 50, Group: 50, Parent: 1, ParentName: "systemd", ParentSession: 1, ParentGroup: 1, Service: true}, false},
		"a child of the container's program":    {Facts{PID: 50, Session: 1, Group: 1, Parent: 1, ParentName: "node", ParentSession: 1, ParentGroup: 1}, false},
		"the same, with a group of its own":     {Facts{PID: 50, Session: 1, Group: 50, Parent: 1, ParentName: "tini", ParentSession: 1, ParentGroup: 1}, false},
		"a child in a namespace":                {Facts{PID: 50, Parent: 1, ParentName: "sh"}, false},
		"(run &) below tini":                    {Facts{PID: 50, Session: 1, Group: 7, Parent: 1, ParentName: "tini", ParentSession: 1, ParentGroup: 1, LeaderParent: 1}, true},
		"a job of a shell that is PID 1":        {Facts{PID: 50, Session: 1, Group: 49, Parent: 1, ParentName: "bash", ParentSession: 1, ParentGroup: 1, ParentTerminal: true, LeaderParent: 1}, false},
		"(run &) in a shell below one that is":  {Facts{PID: 50, Session: 1, Group: 49, Parent: 1, ParentName: "tini", ParentSession: 1, ParentGroup: 1, ParentTerminal: true}, true},
		"a user's systemd has it":               {Facts{PID: 50, Session: 40, Group: 49, Parent: 900, ParentName: "systemd", ParentSession: 900, ParentGroup: 900}, true},
		"a user's unit":                         {Facts{PID: 50, Session: 50, Group: 50, Parent: 900, ParentName: "systemd", ParentSession: 900, Service: true}, false},
		"a shell's child":                       {Facts{PID: 50, Session: 40, Group: 50, Parent: 40, ParentName: "bash", ParentSession: 40, ParentGroup: 40}, false},
		"a session of its own, below a program": {Facts{PID: 50, Session: 50, Group: 50, Parent: 40, ParentName: "python3", ParentSession: 40, ParentGroup: 40}, false},
	} {
		if got := Likely(c.Facts); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

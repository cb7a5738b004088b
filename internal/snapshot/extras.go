package snapshot

// Extras are the processes that a scan includes although neither their arguments nor their
// environment name a run: those that records name, and those in a group or session of a
// recorded worker or of a member that is being ended.
type Extras struct{ PIDs, Groups, Sessions map[int]bool }

// Extras lists them, by the snapshot's records and held members.
func (s *Snapshot) Extras() Extras {
	x := Extras{make(map[int]bool), make(map[int]bool), make(map[int]bool)}
	for i := range s.Records {
		if r := &s.Records[i]; s.Here(r) {
			x.PIDs[r.Worker.PID], x.PIDs[r.Watchdog.PID] = true, true
			group, session := r.Leads()
			x.Groups[r.Group] = x.Groups[r.Group] || group
			x.Sessions[r.Session] = x.Sessions[r.Session] || session
		}
	}
	for _, h := range s.Held {
		x.Groups[h.Group] = x.Groups[h.Group] || h.Group == h.PID
		x.Sessions[h.Session] = x.Sessions[h.Session] || h.Session == h.PID
	}
	return x
}

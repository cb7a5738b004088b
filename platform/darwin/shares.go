package darwin

import "leash/internal/system"

var _ system.Shares = (*System)(nil)

// Poke makes Wait return soon.
func (s *System) Poke() {
	// Not by loop, which is for one goroutine. It needs no answer.
	s.loop.q.Kevent([]kevent{{Ident: wakeIdent, Filter: filterUser, Fflags: noteTrigger}}, nil, 0)
}

// Prepare names what will hold the trees of workers. Each worker has a sentinel of its own,
// which is started with it: one for all would have to be told of every worker again whenever
// it is replaced, and a worker could not begin meanwhile.
func (s *System) Prepare(sentinel bool) (names []string) {
	if sentinel && s.program.path != "" && s.program.same() {
		names = append(names, "sentinel")
	}
	return append(names, "session", "group", "descendants", "environment")
}

// EndRest has nothing to do: a sentinel whose worker left something goes on to kill that.
func (s *System) EndRest() bool { return true }

package pool

import (
	"slices"

	"leash/internal/rpc"
	"leash/watch"
)

// longestID is how many characters a worker ID may have.
const longestID = 64

func workerID(params *rpc.Value) (string, *rpc.Error) {
	id, failed := text(params, "worker_id", true)
	if failed != nil {
		return "", failed
	}
	good := len(id) >= 1 && len(id) <= longestID
	for _, c := range []byte(id) {
		good = good && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	if !good {
		return "", rpc.Errorf(rpc.InvalidParams, "worker_id: it must be 1 to 64 of letters, digits, '.', '_' and '-'")
	}
	return id, nil
}

// text is a parameter that must be a string.
func text(params *rpc.Value, name string, needed bool) (string, *rpc.Error) {
	v := params.Get(name)
	if v == nil {
		if needed {
			return "", rpc.Errorf(rpc.InvalidParams, "%s: it is missing", name)
		}
		return "", nil
	}
	if v.Kind != rpc.String {
		return "", rpc.Errorf(rpc.InvalidParams, "%s: it is %v, and must be a string", name, v.Kind)
	}
	return v.Text, nil
}

// only refuses parameters of other names.
func only(params *rpc.Value, names ...string) *rpc.Error {
	for _, m := range params.Members {
		if !slices.Contains(names, m.Name) {
			return rpc.Errorf(rpc.InvalidParams, "%s: there is no such parameter", m.Name)
		}
	}
	return nil
}

func (p *Pool) entry(params *rpc.Value) (*entry, *rpc.Error) {
	id, failed := workerID(params)
	if failed != nil {
		return nil, failed
	}
	e := p.workers[id]
	if e == nil {
		return nil, rpc.Errorf(rpc.NoSuchWorker, "worker_id: no worker %q lives", id)
	}
	return e, nil
}

// asked is how a worker is to be ended.
type asked struct{ event watch.Asked }

func (p *Pool) asked(params *rpc.Value, names ...string) (a asked, failed *rpc.Error) {
	if failed = only(params, names...); failed != nil {
		return a, failed
	}
	if params.Get("grace") != nil {
		s, failed := text(params, "grace", true)
		if failed != nil {
			return a, failed
		}
		d, err := p.Program.Grace(s)
		if err != nil {
			return a, rpc.Errorf(rpc.InvalidParams, "grace: %v", err)
		}
		a.event.Grace = &d
	}
	if params.Get("stop_signal") != nil {
		s, failed := text(params, "stop_signal", true)
		if failed != nil {
			return a, failed
		}
		sig, err := p.Program.Signal(s)
		if err != nil {
			return a, rpc.Errorf(rpc.InvalidParams, "stop_signal: %v", err)
		}
		a.event.Signal = &sig
	}
	return a, nil
}

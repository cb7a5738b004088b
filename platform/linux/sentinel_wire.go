package linux

import (
	"encoding/binary"
	"errors"
)

// order is what a sentinel needs to know to start a worker.
type order struct {
	Path      string
	Args, Env []string
	// Cgroup is the folder of the leaf that holds the worker, empty if there is none.
	Cgroup string
	// Last: no other worker follows, so the descriptors meant for it can be closed.
	Last bool
	// Listens: LISTEN_PID is to be the worker's PID.
	Listens bool
	// Scored: the worker's oom_score_adj is to be Score.
	Scored bool
	Score  int
	// Limited: Cgroup has limits. Enter is the folder of the cgroup that a gate moves into;
	// empty: none.
	Limited bool
	Enter   string
}

func (o *order) encode() []byte {
	b := appendText(nil, o.Path)
	b = appendText(b, o.Cgroup)
	b = appendText(b, o.Enter)
	b = binary.AppendVarint(b, int64(o.Score))
	b = append(b, flagByte(o.Last, o.Listens, o.Scored, o.Limited))
	for _, list := range [][]string{o.Args, o.Env} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = appendText(b, s)
		}
	}
	return b
}

func flagByte(flags ...bool) (b byte) {
	for i, f := range flags {
		if f {
			b |= 1 << i
		}
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errOrder = errors.New("not an order to a sentinel")

func decodeOrder(b []byte) (o order, err error) {
	r := textReader{rest: b}
	o.Path, o.Cgroup, o.Enter = r.text(), r.text(), r.text()
	o.Score = r.signed()
	if len(r.rest) == 0 {
		return o, errOrder
	}
	flags := r.rest[0]
	o.Last, o.Listens, o.Scored, o.Limited = flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&8 != 0
	r.rest = r.rest[1:]
	o.Args, o.Env = r.list(), r.list()
	if r.bad || flags > 15 || o.Score < -1000 || o.Score > 1000 || len(r.rest) > 0 || o.Path == "" || len(o.Args) == 0 {
		return order{}, errOrder
	}
	return o, nil
}

type textReader struct {
	rest []byte
	bad  bool
}

// number reads a length or a count, each unit of which takes at least one byte.
func (r *textReader) number() int {
	n, used := binary.Uvarint(r.rest)
	if used <= 0 || n > uint64(len(r.rest)-used) {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[used:]
	return int(n)
}

func (r *textReader) signed() int {
	n, used := binary.Varint(r.rest)
	if used <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[used:]
	return int(n)
}

func (r *textReader) text() string {
	n := r.number()
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

func (r *textReader) list() []string {
	n := r.number()
	list := make([]string, 0, n)
	for range n {
		list = append(list, r.text())
	}
	return list
}

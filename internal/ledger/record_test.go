package ledger

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"leash/internal/proc"
)

// sample is a record with every field set.
func sample() Record {
	return Record{
		RunID: "abc1234", WorkerID: "pool-1 \"b\"\n", Parents: []proc.ID{{PID: 40, Start: 5, Inode: 6}, {PID: 41}},
		Watchdog: proc.ID{PID: 42, Start: 7, Inode: 8}, Worker: proc.ID{PID: 43, Start: 9, Inode: math.MaxUint64},
		Group: 43, Session: 44, Cgroup: "/sys/fs/cgroup/a b", Boot: "0f-1", NS: 4026531836,
		Ending: true, Started: time.UnixMilli(1700000000123), Seen: 10,
	}
}

const sampleText = `leash 1
run "abc1234"
worker-id "pool-1 \"b\"\n"
parent 40 5 6
parent 41 0 0
watchdog 42 7 8
worker 43 9 18446744073709551615
group 43
session 44
cgroup "/sys/fs/cgroup/a b"
boot "0f-1"
pid-namespace 4026531836
ending 1
started-ms 1700000000123
seen 10
`

func summed(text string) []byte {
	return fmt.Appendf(nil, "%ssum %d\n", text, checksum([]byte(text)))
}

func TestForm(t *testing.T) {
	r := sample()
	if got := string(r.Append(nil)); got != string(summed(sampleText)) {
		t.Errorf("a record is written as\n%s", got)
	}
	if got := string(r.Append([]byte("before\n"))); got != "before\n"+string(summed(sampleText)) {
		t.Errorf("behind other text it is\n%s", got)
	}
	if got := r.Name(); got != "4026531836-42-7.worker" {
		t.Errorf("its name is %s", got)
	}
	got, err := Parse(summed(sampleText))
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("read again: %+v, %v", got, err)
	}
}

// Any strings are read as they were written.
func TestWhatIsWrittenIsRead(t *testing.T) {
	same := func(worker, cgroup, boot []byte, parents []uint32, ids [6]uint64, ns, seen uint64, ms uint32, ending bool) bool {
		r := Record{RunID: "abc1234", WorkerID: string(worker), Cgroup: string(cgroup), Boot: "b" + string(boot), NS: ns, Ending: ending,
			Watchdog: proc.ID{PID: 1 + int(ids[0]>>40), Start: ids[1], Inode: ids[2]},
			Worker:   proc.ID{PID: 2 + int(ids[3]>>40), Start: 1 | ids[4], Inode: ids[5]},
			Group:    int(ids[0] >> 33), Session: int(ids[3] >> 33), Started: time.UnixMilli(int64(ms)), Seen: seen}
		for _, p := range parents[:min(len(parents), maxParents)] {
			r.Parents = append(r.Parents, proc.ID{PID: int(p >> 1), Start: uint64(p) << 32, Inode: seen})
		}
		got, err := Parse(r.Append(nil))
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v became %+v: %v", r, got, err)
		}
		return err == nil
	}
	if err := quick.Check(same, &quick.Config{MaxCount: 3000}); err != nil {
		t.Error(err)
	}
}

func TestTruncatedIsRefused(t *testing.T) {
	r := sample()
	whole := r.Append(nil)
	for n := range whole {
		if got, err := Parse(whole[:n]); err == nil {
			t.Errorf("the first %d of %d bytes give %+v", n, len(whole), got)
		}
	}
	if _, err := Parse(append(whole, '\n')); err == nil {
		t.Error("bytes behind it are taken")
	}
}

// A record with any single byte changed is refused.
func TestChangedIsRefused(t *testing.T) {
	r := sample()
	whole := r.Append(nil)
	for i, old := range whole {
		for c := range 256 {
			if whole[i] = byte(c); whole[i] == old {
				continue
			}
			if got, err := Parse(whole); err == nil {
				t.Errorf("byte %d of %d from %q to %q gives %+v", i, len(whole), old, byte(c), got)
			}
		}
		whole[i] = old
	}
	if _, err := Parse(whole); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// With the right checksum, but not as a watchdog writes it.
func TestMadeUpIsRefused(t *testing.T) {
	for _, c := range []struct{ old, new string }{
		{"leash 1\n", "leash 2\n"},
		{`run "abc1234"`, `run "abc123"`},
		{`run "abc1234"`, `run "ABC1234"`},
		{`run "abc1234"`, "run `abc1234`"},
		{`run "abc1234"`, `run abc1234`},
		{`run "abc1234"`, `run "abc1234`},
		{`run "abc1234"` + "\n", ""},
		{`boot "0f-1"`, `boot ""`},
		{"worker 43 9 18446744073709551615", "worker 1 9 1"},
		{"worker 43 9 18446744073709551615", "worker 0 9 1"},
		{"worker 43 9 18446744073709551615", "worker -43 9 1"},
		{"worker 43 9 18446744073709551615", "worker 2147483648 9 1"},
		{"worker 43 9 18446744073709551615", "worker 43 0 1"},
		{"worker 43 9 18446744073709551615", "worker 43 9"},
		{"worker 43 9 18446744073709551615", "worker 43 9 18446744073709551616"},
		{"worker 43 9 18446744073709551615", "worker 43 9 1 1"},
		{"worker 43 9 18446744073709551615\n", ""},
		{"watchdog 42 7 8", "watchdog 0 7 8"},
		{"parent 41 0 0", "parent"},
		{"group 43", "group 2147483648"},
		{"session 44", "session x"},
		{"ending 1", "ending 2"},
		{"started-ms 1700000000123", "started-ms 9007199254740992"},
		{"seen 10", "seen +10"},
		{"seen 10", "seen"},
		{"seen 10", "later 10"},
		{"seen 10\n", "seen 10\n\n"},
		{"seen 10\n", "seen 10\nseen 10\n"},
		{"seen 10", "seen 010"},
		{"seen 10\n", ""},
		{"started-ms 1700000000123\n", ""},
		{"group 43\nsession 44\n", "session 44\ngroup 43\n"},
		{`pool-1`, `pool\x2d1`},
	} {
		text := strings.Replace(sampleText, c.old, c.new, 1)
		if text == sampleText {
			t.Fatalf("the sample does not hold %q", c.old)
		}
		if got, err := Parse(summed(text)); err == nil {
			t.Errorf("%q instead of %q gives %+v", c.new, c.old, got)
		}
	}
	for _, b := range []string{"", "\n", "leash 1\n", "\nsum 1\n", "leash 1\nsum\n", "leash 1\nsum 1\n", "sum 1\n"} {
		if got, err := Parse([]byte(b)); err == nil {
			t.Errorf("%q gives %+v", b, got)
		}
	}
	if _, err := Parse(summed(strings.Replace(sampleText, "pool", strings.Repeat("pool", maxSize/4), 1))); err == nil {
		t.Error("a huge one is read")
	}
}

// A group or session ID is evidence only if it is the worker's PID.
func TestLeads(t *testing.T) {
	for _, c := range []struct {
		group, session          int
		leadsGroup, leadsInTurn bool
	}{{43, 43, true, true}, {43, 40, true, false}, {40, 40, false, false}} {
		r := Record{Worker: proc.ID{PID: 43}, Group: c.group, Session: c.session}
		if g, s := r.Leads(); g != c.leadsGroup || s != c.leadsInTurn {
			t.Errorf("group %d, session %d: %t, %t", c.group, c.session, g, s)
		}
	}
}

package ledger

import (
	"bytes"
	"reflect"
	"strconv"
	"testing"
	"time"

	"leash/internal/proc"
)

// Every text that parses has the right checksum, and is the text that Append writes.
func FuzzParse(f *testing.F) {
	r := sample()
	f.Add(r.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		last := bytes.LastIndex(b, []byte("\nsum ")) + 1
		sum, err := strconv.ParseUint(string(bytes.TrimSpace(b[last+4:])), 10, 64)
		if err != nil || sum != checksum(b[:last]) {
			t.Errorf("the sum of %q does not cover it", b)
		}
		if again := r.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%q is written as %q", b, again)
		}
	})
}

// The same with the right checksum added, which fuzzing would not find.
func FuzzParseSummed(f *testing.F) {
	f.Add([]byte(sampleText))
	f.Fuzz(func(t *testing.T, text []byte) {
		b := summed(string(text))
		r, err := Parse(b)
		if err != nil {
			return
		}
		if r.Worker.PID <= 1 || r.Group < 0 || r.Session < 0 || r.Boot == "" || r.RunID == "" {
			t.Errorf("%q gives %+v", text, r)
		}
		if again := r.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%q is written as %q", b, again)
		}
	})
}

func FuzzStrings(f *testing.F) {
	f.Add("worker 1", "/sys/fs/cgroup/leash-1-2", "0828eb69-4837", uint64(3), int64(1700000000000))
	f.Fuzz(func(t *testing.T, worker, cgroup, boot string, n uint64, ms int64) {
		r := Record{RunID: "abc1234", WorkerID: worker, Cgroup: cgroup, Boot: "b" + boot, NS: n, Seen: n,
			Watchdog: proc.ID{PID: 1, Inode: n}, Worker: proc.ID{PID: 2, Start: n | 1}, Started: time.UnixMilli(ms & (1<<53 - 1))}
		if got, err := Parse(r.Append(nil)); len(r.Append(nil)) <= maxSize && (err != nil || !reflect.DeepEqual(got, r)) {
			t.Errorf("%+v became %+v: %v", r, got, err)
		}
	})
}

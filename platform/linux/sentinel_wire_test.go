package linux

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestOrderRoundTrip(t *testing.T) {
	long := strings.Repeat("x", 1<<17)
	for _, o := range []order{
		{Path: "/bin/true", Args: []string{"true"}},
		{Path: "a", Args: []string{"", "b c", long}, Env: []string{"A=1", "=", "B=\xff\n", long}, Cgroup: "/sys/fs/cgroup/x", Last: true},
		{Path: "a", Args: []string{"a"}, Listens: true},
		{Path: "a", Args: []string{"a"}, Scored: true, Score: -1000, Cgroup: "/c", Limited: true},
		{Path: "a", Args: []string{"a"}, Scored: true, Score: 1000, Enter: "/c"},
	} {
		got, err := decodeOrder(o.encode())
		if err != nil || got.Path != o.Path || got.Cgroup != o.Cgroup || got.Last != o.Last || got.Listens != o.Listens ||
			got.Scored != o.Scored || got.Score != o.Score || got.Enter != o.Enter || got.Limited != o.Limited ||
			!slices.Equal(got.Args, o.Args) || !slices.Equal(got.Env, o.Env) {
			t.Errorf("%.200v came back as %.200v, %v", o, got, err)
		}
	}
}

// Anything but an order as it is encoded is refused.
func TestDecodeOrderRefuses(t *testing.T) {
	good := (&order{Path: "/bin/true", Args: []string{"true", "x"}, Env: []string{"A=1"}, Cgroup: "/c"}).encode()
	for n := range good {
		if o, err := decodeOrder(good[:n]); err == nil {
			t.Errorf("the first %d bytes are %+v", n, o)
		}
	}
	for name, b := range map[string][]byte{
		"more behind":       append(slices.Clone(good), 0),
		"no path":           (&order{Args: []string{"x"}}).encode(),
		"no arguments":      (&order{Path: "x"}).encode(),
		"unknown flags":     func() []byte { b := slices.Clone(good); b[1+len("/bin/true")+1+len("/c")+1+1] = 16; return b }(),
		"no such score":     (&order{Path: "x", Args: []string{"x"}, Scored: true, Score: 1001}).encode(),
		"an endless length": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"a huge count":      {1, 'x', 0, 0, 0xff, 0xff, 0xff, 0x7f},
	} {
		if o, err := decodeOrder(b); err == nil {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func FuzzDecodeOrder(f *testing.F) {
	f.Add((&order{Path: "/bin/true", Args: []string{"true"}, Env: []string{"A=1", ""}, Last: true}).encode())
	f.Add([]byte{1, 'x', 0, 0, 1, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeOrder(b)
		if err != nil {
			return
		}
		if again, err := decodeOrder(o.encode()); err != nil || !reflect.DeepEqual(again, o) {
			t.Errorf("%x: %+v became %+v, %v", b, o, again, err)
		}
	})
}

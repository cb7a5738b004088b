package flagvalue

import (
	"math"
	"reflect"
	"strconv"
	"testing"
	"testing/quick"
	"time"

	"github.com/alecthomas/kong"
)

func TestInt(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "7": 7, "10": 10, "-1": -1, "4194304": 4194304, strconv.Itoa(math.MinInt): math.MinInt} {
		if got, err := Int(text); err != nil || got != want {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-", "--1", "+1", "00", "-0", "01", "-01", "0x1", "0b1", "0o1", "1_0", " 1", "1 ", "1\n",
		"1.0", "1e1", "٣", "１", "9223372036854775808", "-9223372036854775809"} {
		if got, err := Int(text); err == nil || got != 0 {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}

// A number that is accepted, written again, is the same text.
func FuzzInt(f *testing.F) {
	f.Add("010")
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := Int(text); err == nil && strconv.Itoa(n) != text {
			t.Errorf("%q is %d", text, n)
		}
	})
}

func TestEveryIntIsTaken(t *testing.T) {
	same := func(n int) bool {
		got, err := Int(strconv.Itoa(n))
		return err == nil && got == n
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
}

type grammar struct {
	N     int
	P     *int
	L     []int
	T     string
	D     time.Duration
	Texts []string `sep:"none"`
	B     bool
	Words []string `arg:"" optional:"" passthrough:""`
}

func TestStrict(t *testing.T) {
	five := 5
	for _, c := range []struct {
		args []string
		want grammar
	}{
		{nil, grammar{}},
		{[]string{"--n=-3", "--p=5", "--l=1,2", "--l", "3"}, grammar{N: -3, P: &five, L: []int{1, 2, 3}}},
		{[]string{"--t= ", "--d", "3s", "--texts=a,b", "--texts", "c", "--b"},
			grammar{T: " ", D: 3 * time.Second, Texts: []string{"a,b", "c"}, B: true}},
		{[]string{"x", "", "--t=", "--n"}, grammar{Words: []string{"x", "", "--t=", "--n"}}},
	} {
		if got, err := parse(t, c.args); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, %v; want %+v", c.args, got, err, c.want)
		}
	}
	for _, name := range []string{"--n", "--p", "--l", "--t", "--d", "--texts"} {
		for _, args := range [][]string{{name + "="}, {name, ""}, {name}, {name, "--b"}} {
			if got, err := parse(t, args); err == nil {
				t.Errorf("%q was taken: %+v", args, got)
			} else if empty := len(args) == 2 && args[1] == "" || args[0] != name; empty && err.Error() != name+": "+errEmpty.Error() {
				t.Errorf("%q: %v", args, err)
			}
		}
	}
}

func parse(t *testing.T, args []string) (g grammar, err error) {
	t.Helper()
	k, err := kong.New(&g, append(Strict(), kong.Name("test"))...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Parse(args)
	return g, err
}

package runid

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// block joins as /proc/PID/cmdline and environ do: each ended by NUL.
func block(parts ...string) []byte {
	return []byte(strings.Join(parts, "\x00") + "\x00")
}

func TestFromArgs(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"two arguments", []string{"python3", "worker.py", "--run-id", "abc1234"}, "abc1234"},
		{"one argument", []string{"python3", "worker.py", "--run-id=abc1234", "--port=1"}, "abc1234"},
		{"older flag", []string{"python3", "--snakepit-run-id", "abc1234"}, "abc1234"},
		{"older flag with =", []string{"python3", "--snakepit-run-id=abc1234"}, "abc1234"},
		{"older ID", []string{"python3", "--run-id", "1760151234493767_621181"}, "1760151234493767_621181"},
		{"behind --", []string{"python3", "-m", "x", "--", "--run-id", "abc1234"}, "abc1234"},
		{"behind -- with =", []string{"python3", "--", "x", "--run-id=abc1234"}, "abc1234"},
		{"the first counts", []string{"p", "--run-id=abc1234", "--run-id=xyz9876"}, "abc1234"},
		{"a bad one before", []string{"p", "--run-id", "no", "--run-id", "abc1234"}, "abc1234"},
		{"the flag twice", []string{"p", "--run-id", "--run-id", "abc1234"}, "abc1234"},

		{"nothing", nil, ""},
		{"a name only", []string{"python3"}, ""},
		{"the program's name", []string{"--run-id=abc1234"}, ""},
		{"the name as flag", []string{"--run-id", "abc1234"}, ""},
		{"no value", []string{"p", "--run-id"}, ""},
		{"empty value", []string{"p", "--run-id", ""}, ""},
		{"empty value with =", []string{"p", "--run-id="}, ""},
		{"a value two further", []string{"p", "--run-id", "", "abc1234"}, ""},

		// Bystanders: part of an argument or of a value is no evidence.
		{"a grep", []string{"grep", "-e--run-id=abc1234"}, ""},
		{"a grep in quotes", []string{"grep", "--run-id abc1234"}, ""},
		{"a grep for more", []string{"grep", "--run-id=abc1234x"}, ""},
		{"a grep for less", []string{"grep", "--run-id=abc123"}, ""},
		{"an editor", []string{"vi", "/tmp/--run-id=abc1234"}, ""},
		{"a file of that name", []string{"vi", "--run-id=abc1234.log"}, ""},
		{"a script", []string{"sh", "-c", "worker --run-id abc1234 & worker --run-id=abc1234"}, ""},
		{"a script behind --", []string{"sh", "-c", "--", "exec worker --run-id=abc1234"}, ""},
		{"one dash", []string{"p", "-run-id", "abc1234", "-run-id=abc1234"}, ""},
		{"three dashes", []string{"p", "---run-id", "abc1234"}, ""},
		{"a longer flag", []string{"p", "--run-idx", "abc1234", "--run-id-file=abc1234"}, ""},
		{"no =", []string{"p", "--run-idabc1234", "--snakepit-run-idabc1234"}, ""},
		{"another's flag", []string{"p", "--other-run-id", "abc1234", "--x--run-id=abc1234"}, ""},
		{"another case", []string{"p", "--Run-ID", "abc1234", "--RUN-ID=abc1234"}, ""},
		{"a value with more", []string{"p", "--run-id", "abc1234,xyz9876"}, ""},
		{"a value in blanks", []string{"p", "--run-id", " abc1234"}, ""},
		{"a line feed", []string{"p", "--run-id=abc1234\n"}, ""},
		{"the variable", []string{"env", "LEASH_RUN_ID=abc1234", "p"}, ""},
	} {
		if got := FromArgs(block(c.args...)); got != c.want {
			t.Errorf("%s: %q gives %q, want %q", c.name, c.args, got, c.want)
		}
	}
	// The last NUL may be missing: a program may write its own title.
	if got := FromArgs([]byte("p\x00--run-id\x00abc1234")); got != "abc1234" {
		t.Errorf("without the last NUL: %q", got)
	}
}

func TestFromEnviron(t *testing.T) {
	for _, c := range []struct {
		name        string
		env         []string
		run, worker string
	}{
		{"both", []string{"A=1", "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w 1=x", "B=2"}, "abc1234", "w 1=x"},
		{"older", []string{"SNAKEPIT_RUN_ID=abc1234"}, "abc1234", ""},
		{"older ID", []string{"SNAKEPIT_RUN_ID=1760151234493767_621181"}, "1760151234493767_621181", ""},
		{"ours first", []string{"SNAKEPIT_RUN_ID=xyz9876", "LEASH_RUN_ID=abc1234"}, "abc1234", ""},
		{"ours bad", []string{"LEASH_RUN_ID=?", "SNAKEPIT_RUN_ID=xyz9876"}, "xyz9876", ""},
		{"twice", []string{"LEASH_RUN_ID=abc1234", "LEASH_RUN_ID=xyz9876"}, "abc1234", ""},
		{"worker twice", []string{"LEASH_WORKER_ID=a", "LEASH_WORKER_ID=b"}, "", "a"},
		{"worker only", []string{"LEASH_WORKER_ID=w1"}, "", "w1"},
		{"empty", []string{"LEASH_RUN_ID=", "LEASH_WORKER_ID="}, "", ""},
		{"nothing", nil, "", ""},

		{"part of a value", []string{"X=LEASH_RUN_ID=abc1234", "Y=SNAKEPIT_RUN_ID=abc1234", "Z=LEASH_WORKER_ID=w"}, "", ""},
		{"part of a name", []string{"MY_LEASH_RUN_ID=abc1234", "LEASH_RUN_ID2=abc1234", "MY_LEASH_WORKER_ID=w"}, "", ""},
		{"blanks before", []string{" LEASH_RUN_ID=abc1234", " LEASH_WORKER_ID=w"}, "", ""},
		{"value too long", []string{"LEASH_RUN_ID=abc1234x"}, "", ""},
		{"value with more", []string{"LEASH_RUN_ID=abc1234\nLEASH_WORKER_ID=w"}, "", ""},
		{"another case", []string{"leash_run_id=abc1234"}, "", ""},
		{"an argument", []string{"--run-id=abc1234", "CMD=--run-id abc1234"}, "", ""},
		{"no =", []string{"LEASH_RUN_ID", "abc1234"}, "", ""},
	} {
		run, worker := FromEnviron(block(c.env...))
		if run != c.run || worker != c.worker {
			t.Errorf("%s: %q gives %q and %q, want %q and %q", c.name, c.env, run, worker, c.run, c.worker)
		}
	}
}

func TestAllFromArgs(t *testing.T) {
	const old = "1760151234493767_621181"
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"none", []string{"p", "x"}, nil},
		{"one", []string{"p", "--run-id", "abc1234"}, []string{"abc1234"}},
		{"the same twice", []string{"p", "--run-id", "abc1234", "--snakepit-run-id=abc1234"}, []string{"abc1234"}},
		{"two in both forms", []string{"p", "--run-id=abc1234", "--run-id", "xyz9876"}, []string{"abc1234", "xyz9876"}},
		{"in their order", []string{"p", "--snakepit-run-id", old, "--run-id", "abc1234"}, []string{old, "abc1234"}},
		{"three", []string{"p", "--run-id=abc1234", "--run-id=xyz9876", "--run-id=" + old}, []string{"abc1234", "xyz9876", old}},
		{"on both sides of --", []string{"p", "--run-id=abc1234", "--", "--run-id=xyz9876"}, []string{"abc1234", "xyz9876"}},
		{"bad ones between", []string{"p", "--run-id=abc1234", "--run-id=ABC1234", "--run-id", "", "--run-id=xyz9876"}, []string{"abc1234", "xyz9876"}},
		{"a flag as value", []string{"p", "--run-id", "--snakepit-run-id", "abc1234"}, []string{"abc1234"}},
		{"the name and more", []string{"--run-id=xyz9876", "--run-id=abc1234"}, []string{"abc1234"}},
	} {
		if got := AllFromArgs(block(c.args...)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q gives %q, want %q", c.name, c.args, got, c.want)
		}
	}
}

func TestReadEnviron(t *testing.T) {
	const old = "1760151234493767_621181"
	for _, c := range []struct {
		name string
		env  string
		want Labels
	}{
		{"nothing", "", Labels{}},
		{"others", "A=1\x00B=2\x00", Labels{}},
		{"all", "LEASH_RUN_ID=abc1234\x00LEASH_WORKER_ID=w\x00LEASH_RUN_OWNER=1:2:b:3\x00",
			Labels{Runs: []string{"abc1234"}, Worker: "w", Owner: "1:2:b:3"}},
		{"without the last NUL", "A=1\x00LEASH_RUN_ID=abc1234", Labels{Runs: []string{"abc1234"}}},
		{"owner without the last NUL", "LEASH_RUN_OWNER=1:2:b:3", Labels{Owner: "1:2:b:3"}},
		{"empty entries", "\x00\x00LEASH_RUN_ID=abc1234\x00\x00", Labels{Runs: []string{"abc1234"}}},
		{"one for both", "SNAKEPIT_RUN_ID=abc1234\x00LEASH_RUN_ID=abc1234\x00", Labels{Runs: []string{"abc1234"}}},
		{"they contradict", "SNAKEPIT_RUN_ID=xyz9876\x00LEASH_RUN_ID=abc1234\x00", Labels{Runs: []string{"abc1234", "xyz9876"}}},
		{"one twice", "LEASH_RUN_ID=abc1234\x00LEASH_RUN_ID=abc1234\x00", Labels{Runs: []string{"abc1234"}}},
		{"one contradicts itself", "LEASH_RUN_ID=abc1234\x00LEASH_RUN_ID=xyz9876\x00", Labels{Runs: []string{"abc1234", "xyz9876"}}},
		{"the older twice", "SNAKEPIT_RUN_ID=" + old + "\x00SNAKEPIT_RUN_ID=xyz9876\x00", Labels{Runs: []string{old, "xyz9876"}}},
		{"ours first, always", "SNAKEPIT_RUN_ID=" + old + "\x00SNAKEPIT_RUN_ID=abc1234\x00LEASH_RUN_ID=xyz9876\x00LEASH_RUN_ID=abc1234\x00",
			Labels{Runs: []string{"xyz9876", "abc1234", old}}},
		{"empty ones", "LEASH_RUN_ID=\x00SNAKEPIT_RUN_ID=\x00LEASH_WORKER_ID=\x00LEASH_RUN_OWNER=\x00", Labels{}},
		{"empty ones first", "LEASH_RUN_ID=\x00LEASH_WORKER_ID=\x00LEASH_RUN_OWNER=\x00LEASH_RUN_ID=abc1234\x00LEASH_WORKER_ID=w\x00LEASH_RUN_OWNER=o\x00",
			Labels{Runs: []string{"abc1234"}, Worker: "w", Owner: "o"}},
		{"the first worker and owner count", "LEASH_WORKER_ID=a\x00LEASH_RUN_OWNER=o\x00LEASH_WORKER_ID=b\x00LEASH_RUN_OWNER=p\x00",
			Labels{Worker: "a", Owner: "o"}},
		{"no =", "LEASH_RUN_ID\x00LEASH_WORKER_ID\x00LEASH_RUN_OWNER\x00LEASH_HANDOVER\x00", Labels{}},
		{"a bad one and a good one", "LEASH_RUN_ID=ABC1234\x00SNAKEPIT_RUN_ID=abc1234\x00", Labels{Runs: []string{"abc1234"}}},
		{"longer names", "LEASH_RUN_IDS=abc1234\x00XLEASH_RUN_ID=abc1234\x00LEASH_RUN_OWNERS=o\x00XLEASH_HANDOVER=1\x00LEASH_HANDOVERS=1\x00", Labels{}},
		{"a variable of ours", "LEASH_HANDOVER=3\x00LEASH_RUN_ID=abc1234\x00", Labels{Runs: []string{"abc1234"}}},
		{"part of a value", "X=LEASH_RUN_ID=abc1234\x00Y=\nLEASH_RUN_ID=abc1234\x00", Labels{}},
	} {
		if got := ReadEnviron([]byte(c.env)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q gives %+v, want %+v", c.name, c.env, got, c.want)
		}
	}
}

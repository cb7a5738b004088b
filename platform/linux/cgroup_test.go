//go:build linux

package linux

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"leash/internal/testkit"
)

func TestOwnCgroup(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"v2 only":       {"0::/user.slice/a.scope\n", "/user.slice/a.scope"},
		"root":          {"0::/\n", "/"},
		"hybrid":        {"12:cpu,cpuacct:/x\n1:name=systemd:/y\n0::/z\n", "/z"},
		"v2 first":      {"0::/z\n1:cpu:/x\n", "/z"},
		"no line feed":  {"0::/z", "/z"},
		"colons inside": {"0::/a:b::c\n", "/a:b::c"},
		"blanks inside": {"0::/a b\n", "/a b"},
		"v1 only":       {"12:cpu:/x\n1:name=systemd:/y\n", ""},
		"deleted":       {"0::/z (deleted)\n", ""},
		"empty path":    {"0::\n", ""},
		"relative":      {"0::x\n", ""},
		"number 10":     {"10::/x\n", ""},
		"inside a line": {"1:a:/0::/x\n", ""},
		"named":         {"0:name:/x\n", ""},
		"empty":         {"", ""},
	} {
		if got := ownCgroup([]byte(c.text)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

const (
	v2Line  = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
	v1Line  = "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
	subLine = "40 23 0:26 /docker/x /mnt/cg rw shared:4 master:1 - cgroup2 none rw\n"
)

func TestCgroup2Mount(t *testing.T) {
	for name, c := range map[string]struct{ text, root, point string }{
		"v2":                  {v2Line, "/", "/sys/fs/cgroup"},
		"behind v1":           {v1Line + v2Line, "/", "/sys/fs/cgroup"},
		"optional fields":     {subLine, "/docker/x", "/mnt/cg"},
		"the first counts":    {subLine + v2Line, "/docker/x", "/mnt/cg"},
		"no line feed":        {strings.TrimSuffix(v2Line, "\n"), "/", "/sys/fs/cgroup"},
		"v1 only":             {v1Line, "", ""},
		"escaped, then plain": {strings.Replace(subLine, "/mnt/cg", `/mnt/c\040g`, 1) + v2Line, "/", "/sys/fs/cgroup"},
		"escaped":             {strings.Replace(subLine, "/mnt/cg", `/mnt/c\040g`, 1), "", ""},
		"another type":        {strings.Replace(v2Line, "- cgroup2 ", "- cgroup22 ", 1), "", ""},
		"type in the source":  {"30 23 0:26 / /x rw - tmpfs cgroup2 rw\n", "", ""},
		"too short":           {"30 23 0:26 / - cgroup2 cgroup2 rw\n", "", ""},
		"no separator":        {"30 23 0:26 / /x rw cgroup2 cgroup2 rw\n", "", ""},
		"empty":               {"", "", ""},
	} {
		if root, point := cgroup2Mount([]byte(c.text)); root != c.root || point != c.point {
			t.Errorf("%s: %q on %q, want %q on %q", name, root, point, c.root, c.point)
		}
	}
}

var ownLine = regexp.MustCompile(`(?m)^0::(.*)$`)

func FuzzOwnCgroup(f *testing.F) {
	f.Add([]byte("12:cpu:/x\n0::/user.slice\n"))
	f.Add([]byte("0::/z (deleted)\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		want := ""
		if m := ownLine.FindSubmatch(text); m != nil {
			if p := string(m[1]); strings.HasPrefix(p, "/") && !strings.HasSuffix(p, " (deleted)") {
				want = p
			}
		}
		if got := ownCgroup(text); got != want {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	})
}

func plainCgroup2Mount(text string) (root, point string) {
	for line := range strings.SplitSeq(text, "\n") {
		i := strings.Index(line, " - ")
		if i < 0 || !strings.HasPrefix(line[i:], " - cgroup2 ") {
			continue
		}
		if f := strings.Fields(line[:i]); len(f) >= 5 && !strings.Contains(f[4], `\`) {
			return f[3], f[4]
		}
	}
	return "", ""
}

func FuzzCgroup2Mount(f *testing.F) {
	f.Add([]byte(v1Line + v2Line))
	f.Add([]byte(subLine))
	f.Fuzz(func(t *testing.T, text []byte) {
		root, point := cgroup2Mount(text)
		if wantRoot, wantPoint := plainCgroup2Mount(string(text)); root != wantRoot || point != wantPoint {
			t.Errorf("%q gives %q on %q, want %q on %q", text, root, point, wantRoot, wantPoint)
		}
	})
}

// A nested watchdog may be killed with the worker, and leaves its own leaf.
func TestLeafInALeaf(t *testing.T) {
	k := newTestKernel(t)
	c := k.newCgroup()
	if c == nil {
		testkit.Skip(t, "no cgroup can be made here")
	}
	inner := c.path + "/" + leafName(1, 2, 3)
	innermost := inner + "/" + leafName(4, 5, 6)
	for _, dir := range []string{inner, innermost} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c.remove()
	if _, err := os.Stat(c.path); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", c.path, err)
	}
	// A cgroup that no watchdog made stays, and so does the leaf that contains it.
	if c = k.newCgroup(); c == nil {
		t.Fatal("no second cgroup")
	}
	other := c.path + "/other"
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	c.remove()
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
	if err := os.Remove(other); err != nil {
		t.Error(err)
	}
	if err := os.Remove(c.path); err != nil {
		t.Error(err)
	}
}

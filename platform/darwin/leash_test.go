//go:build unix

package darwin

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLeash(t *testing.T) {
	w := newWorld(t)
	k := w.kernel()
	dir := t.TempDir()
	if err := os.Symlink(dir, dir+".link"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir + ".link") })
	for _, name := range []string{"watchdog", "reaper", "a-name-of-more-than-16"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	k.dir, k.name = filepath.Split(resolved(filepath.Join(dir, "a-name-of-more-than-16")))
	pwd := []string{"A=1", "PWD=" + dir}
	for _, c := range []struct {
		name, path string
		env        []string
		want       bool
	}{
		{"watchdog", filepath.Join(dir, "watchdog"), nil, true},
		{"watchdog", filepath.Join(dir+".link", "watchdog"), nil, true},
		{"reaper", filepath.Join(dir, "reaper"), nil, true},
		{"a-name-of-more-t", filepath.Join(dir, "a-name-of-more-than-16"), nil, true},
		{"watchdog", "./watchdog", pwd, true},
		{"watchdog", "./watchdog", nil, false},
		{"watchdog", "watchdog", []string{"PWD=relative"}, false},
		{"watchdog", "/elsewhere/watchdog", pwd, false},
		{"python3", filepath.Join(dir, "watchdog"), nil, false}, // it is called otherwise: never read
		{"watchdog", filepath.Join(dir, "python3"), nil, false},
	} {
		p := w.born(100, 1)
		p.Name = c.name
		p.args = [][]byte{image{argc: -1, path: c.path, args: []string{c.name}, env: c.env}.bytes()}
		h, err := k.open(100)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := h.Info(); err != nil || info.Leash != c.want {
			t.Errorf("%s, executed as %s: %t, %v", c.name, c.path, info.Leash, err)
		}
		h.worker = true
		if info, _ := h.Info(); info.Leash {
			t.Error("the worker is taken for a watchdog")
		}
	}
}

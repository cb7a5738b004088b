//go:build windows

package windows

import (
	"os"
	"path/filepath"
	"testing"

	"leash/watch"
)

// fdOf is a file's descriptor as a flag would name it.
func fdOf(f *os.File) int { return int(f.Fd()) }

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestLifeline(t *testing.T) {
	for name, unread := range map[string]string{"empty": "", "never read": "hello"} {
		t.Run(name, func(t *testing.T) {
			h := newGuarded(t, "event")
			r, w := pipe(t)
			if alive, err := h.AddLifeline(fdOf(r)); !alive || err != nil {
				t.Fatal(alive, err)
			}
			w.WriteString(unread)
			if events, err := h.Wait(h.Now()+3*lifelinePoll, true); len(events) > 0 || err != nil {
				t.Fatal(events, err)
			}
			w.Close()
			if e := next[watch.ParentDied](t, h); e.By != "lifeline" || e.PID != 0 {
				t.Errorf("%+v", e)
			}
			if alive, err := h.AddLifeline(fdOf(r)); alive || err != nil {
				t.Errorf("one that has ended: %v, %v", alive, err)
			}
		})
	}
}

func TestLifelinesThatAreNone(t *testing.T) {
	h := newGuarded(t, "event")
	null, err := os.Open("NUL")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, f := range []*os.File{null, file} {
		if alive, err := h.AddLifeline(fdOf(f)); alive || err != nil {
			t.Errorf("%s: %v, %v", f.Name(), alive, err)
		}
	}
	_, w := pipe(t)
	if _, err := h.AddLifeline(fdOf(w)); err == nil {
		t.Error("the end for writing is taken")
	}
}

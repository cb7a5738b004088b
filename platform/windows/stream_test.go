//go:build windows

package windows

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	win "golang.org/x/sys/windows"

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
			h := newTestHost(t, "event")
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
	h := newTestHost(t, "event")
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

func TestSink(t *testing.T) {
	r, w := pipe(t)
	s, err := Sink(fdOf(w))
	if err != nil {
		t.Fatal(err)
	}
	record := []byte(strings.Repeat("x", 1000) + "\n")
	var began time.Time
	for n, dropped := 0, 0; dropped < 1000; n++ {
		if n > 10000 {
			t.Fatal("a pipe that nobody reads takes all")
		}
		switch _, err := s.Write(record); {
		case err == nil: // whatever was dropped before: the machine was slow, and it was not full
			dropped = 0
		case !errors.Is(err, ErrFull):
			t.Fatal(err)
		case dropped == 0:
			began, dropped = time.Now(), 1
		default:
			dropped++
		}
	}
	if took := time.Since(began); took > 1000*patience/2 {
		t.Errorf("what is dropped takes %v", took)
	}
	ended := make(chan struct{})
	// A file is closed when the read that is under way is over, so the other end
	// is closed first.
	defer func() { w.Close(); <-ended }()
	go func() { // he reads again
		defer close(ended)
		for b := make([]byte, 1<<16); ; {
			if _, err := r.Read(b); err != nil {
				return
			}
		}
	}()
	await(t, "a sink that takes again", func() bool { _, err := s.Write(record); return err == nil })
	if _, err := Sink(12344); err == nil {
		t.Error("a handle that is not open")
	}
}

func TestSinkOfAFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := Sink(fdOf(f))
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte("one\n"))
	s.Write([]byte("two\n"))
	if b, err := os.ReadFile(f.Name()); string(b) != "one\ntwo\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestStateDir(t *testing.T) {
	base := t.TempDir()
	t.Setenv("LEASH_STATE_DIR", "")
	t.Setenv("LOCALAPPDATA", base)
	for range 2 { // made, then found
		f, err := StateDir()
		if err != nil {
			t.Fatal(err)
		}
		if f.Name() != filepath.Join(base, "leash") {
			t.Error(f.Name())
		}
		f.Close()
	}
	named := filepath.Join(base, "a", "b")
	t.Setenv("LEASH_STATE_DIR", named)
	if _, err := StateDir(); err == nil {
		t.Error("the folder above was made")
	}
	if err := os.Mkdir(filepath.Dir(named), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := StateDir()
	if err != nil || f.Name() != named {
		t.Fatal(err)
	}
	f.Close()
	file := filepath.Join(base, "file")
	os.WriteFile(file, nil, 0o600)
	t.Setenv("LEASH_STATE_DIR", file)
	if _, err := StateDir(); err == nil {
		t.Error("a file is taken")
	}
	everybody := filepath.Join(base, "everybody")
	sd, err := win.SecurityDescriptorFromString("D:P(A;OICI;FA;;;WD)")
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := sd.DACL()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(everybody, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := win.SetNamedSecurityInfo(everybody, win.SE_FILE_OBJECT, win.DACL_SECURITY_INFORMATION, nil, nil, list, nil); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LEASH_STATE_DIR", everybody)
	if _, err := StateDir(); !errors.Is(err, errWrites) {
		t.Errorf("a folder that everybody may write in: %v", err)
	}
	t.Setenv("LEASH_STATE_DIR", "")
	t.Setenv("LOCALAPPDATA", "")
	if _, err := StateDir(); err == nil {
		t.Error("there is no place")
	}
}

// Wine keeps of an access list what Unix modes can say, so these are judged alone.
func TestAccessLists(t *testing.T) {
	user, err := userSID()
	if err != nil {
		t.Fatal(err)
	}
	for list, want := range map[string]error{
		"(A;;FA;;;" + user.String() + ")(A;;FA;;;SY)(A;;FA;;;BA)": nil,
		"(A;;FRFX;;;WD)":     nil,
		"(D;;FA;;;WD)":       nil,
		"(A;OICIIO;FA;;;CO)": nil,
		"(A;;0x2;;;WD)":      errWrites,
		"(A;;0x100;;;BU)":    errWrites, // attributes: a folder may become a link
		"(A;OICIIO;FW;;;AU)": errWrites, // what is made in it
		"(A;;WD;;;AU)":       errWrites,
	} {
		sd, err := win.SecurityDescriptorFromString("D:P" + list)
		if err != nil {
			t.Fatal(list, err)
		}
		acl, _, err := sd.DACL()
		if err != nil {
			t.Fatal(list, err)
		}
		if err := checkList(acl, user); !errors.Is(err, want) {
			t.Errorf("%s: %v", list, err)
		}
	}
}

func TestRecord(t *testing.T) {
	h := newTestHost(t, "event")
	parent, worker := start(t, "sleep", 0), start(t, "fork", 0)
	h.AddParent(parent.PID())
	if _, err := h.Adopt(worker.PID()); err != nil {
		t.Fatal(err)
	}
	r, err := h.Record()
	if err != nil {
		t.Fatal(err)
	}
	p, w := opened(t, h.Kernel, parent.PID()).id(), opened(t, h.Kernel, worker.PID()).id()
	if r.Worker != w || len(r.Parents) != 1 || r.Parents[0] != p || r.Watchdog.PID != os.Getpid() || r.Boot == "" {
		t.Errorf("%+v", r)
	}
	h.Survey()
	if h.Refresh(&r) {
		t.Error("nothing has changed")
	}
	worker.fork(t, "plain")
	h.Survey()
	if !h.Refresh(&r) {
		t.Error("a child was born")
	}
	if got := h.Owner(); !strings.HasPrefix(got, p.String()[:strings.IndexByte(p.String(), '@')]+":") {
		t.Error(got)
	}
	if age := time.Since(h.Created(w)); age < 0 || age > time.Hour {
		t.Errorf("created %v ago", age)
	}
}

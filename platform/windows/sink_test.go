//go:build windows

package windows

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

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
			t.Fatal("a pipe that is not read takes all")
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
	go func() { // it is read again
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

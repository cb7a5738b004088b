//go:build windows

package windows

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	win "golang.org/x/sys/windows"
)

func outputPipeOf(t *testing.T) (*OutputPipe, *os.File) {
	t.Helper()
	r, w, err := NewOutputPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// What was written is available at once, whether or not the goroutine has taken it.
func TestOutputIsAvailableAtOnce(t *testing.T) {
	r, w := outputPipeOf(t)
	b := make([]byte, 100_000)
	for _, n := range []int{1, readAhead - 1, readAhead, readAhead + 1, 10_000, inPipe} {
		for range 50 {
			text := bytes.Repeat([]byte{'x'}, n)
			if _, err := w.Write(text); err != nil {
				t.Fatal(err)
			}
			if got := r.Available(); got != n {
				t.Fatalf("%d of %d bytes are available", got, n)
			}
			for got := 0; got < n; {
				more, err := r.Read(b[:7000])
				if err != nil || more == 0 {
					t.Fatalf("%d of %d bytes, then %d, %v", got, n, more, err)
				}
				got += more
			}
			if more, err := r.Read(b); more != 0 || err != nil || r.Available() != 0 {
				t.Fatalf("behind it: %d, %v", more, err)
			}
		}
	}
}

func TestOutputEnds(t *testing.T) {
	r, w := outputPipeOf(t)
	if _, err := w.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var all []byte
	b := make([]byte, 3)
	for {
		if !r.Wait() {
			t.Fatal("it was closed")
		}
		n, err := r.Read(b)
		if all = append(all, b[:n]...); err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if string(all) != "last" {
		t.Errorf("%q", all)
	}
}

// To write nothing is not the end.
func TestOutputOfNothing(t *testing.T) {
	r, w := outputPipeOf(t)
	var n uint32
	if err := win.WriteFile(win.Handle(w.Fd()), []byte{}, &n, nil); err != nil {
		t.Fatal(err)
	}
	if r.Available() != 0 {
		t.Error("something is available")
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n := r.Available(); n != 1 {
		t.Errorf("%d bytes", n)
	}
}

// Another process has the writing end too.
func TestOutputIsClosed(t *testing.T) {
	r, _ := outputPipeOf(t)
	ended := make(chan bool)
	go func() {
		for r.Wait() {
		}
		close(ended)
	}()
	r.Close()
	<-ended
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF || r.Available() != 0 {
		t.Errorf("%d, %v", n, err)
	}
}

// Every byte comes, in order, however the reader takes them.
func TestOutputInOrder(t *testing.T) {
	r, w := outputPipeOf(t)
	const total = 4 << 20
	random := rand.New(rand.NewPCG(1, 2))
	go func() {
		defer w.Close()
		b := make([]byte, 100_000)
		for sent := 0; sent < total; {
			n := min(1+random.IntN(len(b)), total-sent)
			for i := range n {
				b[i] = byte((sent + i) % 251)
			}
			if _, err := w.Write(b[:n]); err != nil {
				t.Error(err)
				return
			}
			sent += n
		}
	}()
	b := make([]byte, 64<<10)
	at := 0
	for turn := 0; r.Wait(); turn++ {
		if turn%5 == 0 {
			r.Available()
		}
		n, err := r.Read(b[:1+turn*7919%len(b)])
		for _, c := range b[:n] {
			if c != byte(at%251) {
				t.Fatalf("byte %d is wrong", at)
			}
			at++
		}
		if err != nil {
			break
		}
	}
	if at != total {
		t.Errorf("%d bytes", at)
	}
}

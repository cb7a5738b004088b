package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// gate is a reader that takes nothing until it is opened.
type gate struct {
	open chan struct{}
	mu   sync.Mutex
	got  bytes.Buffer
	err  error
}

func (g *gate) Write(b []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return 0, g.err
	}
	return g.got.Write(b)
}

func (g *gate) lines() (all []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Split(strings.TrimSuffix(g.got.String(), "\n"), "\n")
}

// tube is a pipe whose reads never block.
type tube struct {
	mu     sync.Mutex
	change sync.Cond
	data   []byte
	ended  bool
	closed bool
	most   int // at most that much in one read
}

func newTube(text string, ended bool) *tube {
	p := &tube{data: []byte(text), ended: ended, most: 1 << 20}
	p.change.L = &p.mu
	return p
}

func (p *tube) Wait() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.data) == 0 && !p.ended && !p.closed {
		p.change.Wait()
	}
	return !p.closed
}

func (p *tube) Available() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.data) }

func (p *tube) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.data) == 0 {
		if p.ended || p.closed {
			return 0, io.EOF
		}
		return 0, nil
	}
	n := copy(b[:min(len(b), p.most)], p.data)
	p.data = p.data[n:]
	return n, nil
}

func (p *tube) Close() { p.mu.Lock(); p.closed = true; p.change.Broadcast(); p.mu.Unlock() }

const long = time.Minute

func TestOutKeepsAnswersAndDropsEvents(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	o := NewOut(g, func(error) {})
	event := bytes.Repeat([]byte("e"), 64<<10)
	event[len(event)-1] = '\n'
	kept := 0
	for o.Event(event) == nil {
		if kept++; kept > Limit/len(event) {
			t.Fatal("no event is dropped")
		}
	}
	o.Send(bytes.Repeat([]byte("a"), 2*len(event)))
	o.Send([]byte("\n"))
	if !o.Full() || o.WaitForRoom(time.Millisecond) {
		t.Error("it is not full")
	}
	close(g.open)
	if !o.WaitForRoom(long) {
		t.Error("it stays full")
	}
	o.Flush(long)
	if got := g.lines(); len(got) != kept+1 {
		t.Errorf("%d lines, want %d", len(got), kept+1)
	}
	if o.Event(event) != nil {
		t.Error("an event is dropped, although there is room")
	}
}

// A worker's output is read only when the reader has taken what was before it, and stands
// before what was told after it.
func TestOutDrainsBeforeWhatFollows(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	o := NewOut(g, func(error) {})
	o.Send([]byte("first\n"))
	own := newTube("one\ntwo", false)
	s := o.Attach(own, "a", 7, "stdout")
	o.Drain(false, s)
	o.Send([]byte("terminated\n"))
	own.mu.Lock()
	own.data = append(own.data, " of the tree\n"...)
	own.mu.Unlock()
	o.Drain(true, s)
	o.Send([]byte("completed\n"))
	close(g.open)
	o.Flush(long)
	var short []string
	for _, l := range g.lines() {
		var m struct{ Params struct{ Line string } }
		if json.Unmarshal([]byte(l), &m) == nil {
			l = m.Params.Line
		}
		short = append(short, l)
	}
	got := strings.Join(short, "|")
	if got != "first|one|two of the tree|terminated|completed" && got != "first|one|two|terminated|of the tree|completed" {
		t.Errorf("%s", got)
	}
	if !own.closed {
		t.Error("the pipe is still open")
	}
}

func TestOutWithoutAReader(t *testing.T) {
	g := &gate{open: make(chan struct{}), err: errors.New("broken")}
	close(g.open)
	told := make(chan error, 9)
	o := NewOut(g, func(err error) { told <- err })
	pipe := newTube(strings.Repeat("x\n", 1000), true)
	o.Attach(pipe, "a", 7, "stdout")
	o.Send([]byte("x\n"))
	if err := <-told; err.Error() != "broken" {
		t.Error(err)
	}
	for range 100 {
		if o.Event(bytes.Repeat([]byte("x"), Limit/50)) == nil {
			o.Flush(long)
		}
	}
	o.Flush(long)
	if o.Full() || len(told) > 0 {
		t.Error("it is full, or told twice")
	}
}

// Whatever the parts in which it comes, text is the same when it is put together again, and no
// piece is too long or splits a character.
func TestSplit(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var text []byte
		for len(text) < 10+r.IntN(300<<10) {
			switch r.IntN(6) {
			case 0:
				text = append(text, '\n')
			case 1:
				text = append(text, strings.Repeat("€", r.IntN(9000))...)
			case 2:
				text = append(text, strings.Repeat("😀", r.IntN(9000))...)
			case 3:
				text = append(text, strings.Repeat("x", r.IntN(90000))...)
			case 4:
				text = append(text, 0xff, 0xe2, 0x82, 0x80)
			case 5:
				text = append(text, `"\`...)
			}
		}
		g := &gate{open: make(chan struct{})}
		close(g.open)
		o := NewOut(g, func(error) {})
		pipe := newTube(string(text), true)
		pipe.most = 1 + r.IntN(70<<10)
		o.Attach(pipe, "a", 7, "stdout")
		pipe.mu.Lock()
		for !pipe.closed {
			pipe.change.Wait()
		}
		pipe.mu.Unlock()
		o.Flush(long)
		var again strings.Builder
		for _, l := range g.lines() {
			var m struct {
				Params struct {
					Line    string
					Partial bool
				}
			}
			if err := json.Unmarshal([]byte(l), &m); err != nil {
				t.Fatal(err)
			}
			if again.WriteString(m.Params.Line); !m.Params.Partial {
				again.WriteByte('\n')
			}
			// U+FFFD has three bytes, and stands for one.
			if n := len(m.Params.Line) - 2*strings.Count(m.Params.Line, "\ufffd"); n > MaxOutput || m.Params.Partial && n < MaxOutput-utf8.UTFMax {
				t.Fatalf("seed %d: a piece of %d bytes, partial %t", seed, n, m.Params.Partial)
			}
		}
		want := string([]rune(string(text)))
		if !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		if again.String() != want {
			t.Fatalf("seed %d: %s", seed, firstDifference(again.String(), want))
		}
	}
}

func firstDifference(a, b string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("at byte %d: %.40q, want %.40q", i, a[i:], b[i:])
		}
	}
	return fmt.Sprintf("%d bytes, want %d", len(a), len(b))
}

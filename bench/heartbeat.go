//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pair is a worker that beats when it is told to, and what listens to it.
type pair struct {
	worker   *handle
	listener *handle // nil where there is none
	orders   *os.File
	output   *os.File
	answers  *bufio.Reader
	socket   string
	log      string
}

// listeners are what receives the beats of a worker: run, guard, and the
// least that any listener needs. The sender is the same for all.
func (b *bench) listeners(sender string) (run, guard, least *contender) {
	run = b.ours("run", cast{Worker: []string{b.watchdog, "run", "--log-level=info", runFlag, "--heartbeat=notify", "--", sender, "send"}})
	guard = b.ours("guard", cast{
		Worker: []string{sender, "send", "{socket}"},
		Watcher: []string{b.watchdog, "guard", "--worker-pid={pid}", runFlag, "--heartbeat=notify",
			"--notify-socket={socket}"},
	})
	least = &contender{name: "recvmsg loop in C", cast: cast{Worker: []string{sender, "receive", sender, "send"}}}
	return run, guard, least
}

// withoutHeartbeats gives the same watchdogs with heartbeats off.
func (b *bench) withoutHeartbeats(sender string) (run, guard *contender) {
	run = b.ours("run, off", cast{Worker: []string{b.watchdog, "run", "--log-level=info", runFlag, "--", sender, "send"}})
	guard = b.ours("guard, off", cast{
		Worker:  []string{sender, "send"},
		Watcher: []string{b.watchdog, "guard", "--worker-pid={pid}", runFlag},
	})
	return run, guard
}

var sockets int

// pairUp starts a worker and its listener. The bench is the parent of both.
func (b *bench) pairUp(c *contender) (*pair, error) {
	sockets++
	name := fmt.Sprintf("@leash-bench-%d-%d", os.Getpid(), sockets)
	fill := func(argv []string, pid int) []string {
		var filled []string
		for _, arg := range argv {
			filled = append(filled, strings.NewReplacer("{socket}", name, "{pid}", strconv.Itoa(pid)).Replace(arg))
		}
		return filled
	}
	p, err := b.startWorker(fill(c.cast.Worker, 0))
	if p == nil {
		return nil, err
	}
	if err == nil && c.cast.Watcher != nil {
		p.listener, err = b.startListener(fill(c.cast.Watcher, p.worker.pid), p.log)
		p.socket = name
	}
	if err == nil && c.logs {
		err = waitFor(c.name+": watchdog.started", func() bool {
			text, err := os.ReadFile(p.log)
			return err == nil && bytes.Contains(text, []byte("watchdog.started"))
		})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w%s", c.name, err, p.complaints()), p.close())
	}
	return p, nil
}

// startWorker starts a command and waits until a worker prints its PID: the
// command itself, or one that it has started.
func (b *bench) startWorker(argv []string) (*pair, error) {
	log, err := os.CreateTemp(b.ram, "log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	stdin, orders, err1 := os.Pipe()
	output, stdout, err2 := os.Pipe()
	p := &pair{orders: orders, output: output, answers: bufio.NewReader(output), log: log.Name()}
	var started *handle
	if err = errors.Join(err1, err2); err == nil {
		started, err = b.start(argv, []*os.File{stdin, stdout, log})
	}
	closeAll([]*os.File{stdin, stdout})
	if err != nil {
		return p, err
	}
	p.listener = started
	return p, p.greet()
}

// greet reads "worker PID SOCKET". What was started is the worker itself, or
// else its listener.
func (p *pair) greet() error {
	var pid int
	p.output.SetReadDeadline(time.Now().Add(patience))
	line, err := p.answers.ReadString('\n')
	if err != nil {
		return fmt.Errorf("no worker came up: %w", err)
	}
	if _, err := fmt.Sscanf(line, "worker %d %s", &pid, &p.socket); err != nil {
		return fmt.Errorf("unexpected line %q", line)
	}
	if pid == p.listener.pid {
		p.worker, p.listener = p.listener, nil
		return nil
	}
	p.worker, err = openHandle(pid)
	return err
}

func (b *bench) startListener(argv []string, log string) (*handle, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	stderr, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	return b.start(argv, []*os.File{null, null, stderr})
}

// order is what a worker shall send.
type order struct {
	count int
	gap   time.Duration // between two; 0: as fast as they are taken
	limit time.Duration // stop after it; 0: never
	hasty bool          // do not wait until all are handled
}

// tell gives an order, and answer waits until it has been carried out.
func (p *pair) tell(o order) error {
	wait := 1
	if o.hasty {
		wait = 0
	}
	_, err := fmt.Fprintf(p.orders, "%d %d %d WATCHDOG=1 %d\n", o.count, o.gap.Nanoseconds(), o.limit.Milliseconds(), wait)
	return err
}

// outcome is what became of an order: how many went out, in what time.
type outcome struct {
	sent  int
	spent time.Duration
}

func (p *pair) answer() (outcome, error) {
	var sent, nanoseconds, unheard int64
	p.output.SetReadDeadline(time.Now().Add(patience))
	line, err := p.answers.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscanf(line, "sent %d %d %d", &sent, &nanoseconds, &unheard)
	}
	if err == nil && unheard != 0 {
		err = errors.New("the barrier was not answered")
	}
	if err != nil {
		return outcome{}, fmt.Errorf("worker: %q: %w%s", line, err, p.complaints())
	}
	return outcome{int(sent), time.Duration(nanoseconds)}, nil
}

func (p *pair) do(o order) (outcome, error) {
	if err := p.tell(o); err != nil {
		return outcome{}, err
	}
	return p.answer()
}

// doAll lets all workers beat at the same time.
func doAll(pairs []*pair, o order) error {
	var err error
	for _, p := range pairs {
		err = errors.Join(err, p.tell(o))
	}
	for _, p := range pairs {
		if err == nil {
			_, err = p.answer()
		}
	}
	return err
}

func (p *pair) complaints() string {
	return (&scene{log: p.log}).complaints()
}

// close ends the listener with a stop signal, so that it cleans up, and then the worker.
func (p *pair) close() error {
	var err error
	if p.listener != nil {
		p.listener.signal(unix.SIGTERM)
		awaitDeaths([]*handle{p.listener}, politeness)
	}
	for _, h := range []*handle{p.listener, p.worker} {
		if h != nil {
			err = errors.Join(err, h.end())
			h.close()
		}
	}
	reapOrphans()
	closeAll([]*os.File{p.orders, p.output})
	if p.log != "" {
		err = errors.Join(err, os.Remove(p.log))
	}
	return err
}

func closePairs(pairs []*pair) error {
	var err error
	for _, p := range pairs {
		err = errors.Join(err, p.close())
	}
	return err
}

// gather starts count pairs of each contender, and gives a way to read a
// number from all of their listeners.
func (b *bench) gather(count int, contenders []*contender) (map[*contender][]*pair, error) {
	pairs := make(map[*contender][]*pair)
	err := interleave(count, contenders, func(c *contender) error {
		p, err := b.pairUp(c)
		if err == nil {
			pairs[c] = append(pairs[c], p)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, closePairs(everyone(pairs)))
	}
	return pairs, nil
}

func everyone(pairs map[*contender][]*pair) []*pair {
	var all []*pair
	for _, some := range pairs {
		all = append(all, some...)
	}
	return all
}

// sampleListeners reads a number from every listener.
func sampleListeners(pairs map[*contender][]*pair, read func(pid int) (int64, error)) (map[*contender][]int64, error) {
	result := make(map[*contender][]int64)
	for c, some := range pairs {
		for _, p := range some {
			value, err := read(p.listener.pid)
			if err != nil {
				return nil, fmt.Errorf("%s: %w%s", c.name, err, p.complaints())
			}
			result[c] = append(result[c], value)
		}
	}
	return result, nil
}

// cpuNanoseconds adds up the time that all threads have run: finer than ticks.
func cpuNanoseconds(pid int) (int64, error) {
	return overThreads(pid, "schedstat", func(text string) (int64, error) {
		first, _, _ := strings.Cut(text, " ")
		return strconv.ParseInt(first, 10, 64)
	})
}

// wakeUps adds up how often the threads have waited for something.
func wakeUps(pid int) (int64, error) {
	return overThreads(pid, "status", readWakeUps)
}

func readWakeUps(status string) (int64, error) {
	return sumFields(status, 1, "voluntary_ctxt_switches:")
}

func overThreads(pid int, file string, read func(text string) (int64, error)) (int64, error) {
	each, err := perThread(pid, file, read)
	var sum int64
	for _, value := range each {
		sum += value
	}
	return sum, err
}

// perThread gives a number for each thread, by its ID.
func perThread(pid int, file string, read func(text string) (int64, error)) (map[int]int64, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/%s", pid, file))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("process %d is gone", pid)
	}
	result := make(map[int]int64)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		value, err := read(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		thread, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		result[thread] = value
	}
	return result, nil
}

// showThreads gives what each thread did since before, the busiest first.
func showThreads(before, after map[int]int64) string {
	var counts []int64
	for thread, count := range after {
		counts = append(counts, count-before[thread])
	}
	slices.Sort(counts)
	slices.Reverse(counts)
	words := make([]string, len(counts))
	for i, count := range counts {
		words[i] = strconv.FormatInt(count, 10)
	}
	return strings.Join(words, " + ")
}

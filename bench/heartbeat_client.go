//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// python is a Debian interpreter, the worker script, and what makes the client
// be found. Beats are asked for as `watchdog run` does it by default.
type python struct {
	interpreter, worker, calls string
	env                        []string
}

func (b *bench) findPython() (*python, error) {
	worker, err1 := b.unpack("heartbeat_worker.py")
	calls, err2 := b.unpack("heartbeat_calls.py")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	client := filepath.Join(filepath.Dir(b.module), "clients", "python")
	if _, err := os.Stat(filepath.Join(client, "leash.py")); err != nil {
		return nil, fmt.Errorf("the client: %w", err)
	}
	py := &python{worker: worker, calls: calls, env: []string{"PYTHONPATH=" + client, "PYTHONDONTWRITEBYTECODE=1"}}
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		path, err := exec.LookPath(name)
		if err == nil && exec.Command(path, "-c", "import grpc").Run() == nil {
			py.interpreter = path
			break
		}
	}
	if py.interpreter == "" {
		path, err := exec.LookPath("python3")
		if err != nil {
			return nil, err
		}
		py.interpreter = path
	}
	return py, nil
}

// workerWith is a Python worker in front of the least that any listener needs.
// Beats are asked for every usec/3 microseconds.
func (py *python) workerWith(sender, name, mode, server string, usec int) *contender {
	argv := append([]string{"/usr/bin/env", "WATCHDOG_USEC=" + strconv.Itoa(usec)}, py.env...)
	argv = append(argv, sender, "receive", py.interpreter, py.worker, mode, server)
	c := &contender{name: name, cast: cast{Worker: argv}}
	if server != "none" && exec.Command(py.interpreter, "-c", "import grpc").Run() != nil {
		c.absent = "no grpc"
	}
	return c
}

const usualUsec = 4000000 // min(2 × 2 s, 10 s, 3 × 2 s)

// measureClient: what the Python client costs the worker.
func (b *bench) measureClient() ([]row, error) {
	sender, err := b.compileC("heartbeat")
	if err != nil {
		return nil, err
	}
	py, err := b.findPython()
	if err != nil {
		return nil, err
	}
	rows, err := b.measureIdleClient(py, sender)
	for _, server := range []string{"sync", "aio"} {
		more, err1 := b.measureCalls(py, sender, server)
		rows, err = append(rows, more...), errors.Join(err, err1)
	}
	return rows, err
}

// measureIdleClient: a worker that rests, with and without beats.
func (b *bench) measureIdleClient(py *python, sender string) ([]row, error) {
	plain := py.workerWith(sender, "without", "plain", "none", usualUsec)
	ways := []*contender{
		py.workerWith(sender, "a thread", "timer", "none", usualUsec),
		py.workerWith(sender, "a thread, progress_within", "progress", "none", usualUsec),
		py.workerWith(sender, "an asyncio loop", "loop", "none", usualUsec),
	}
	window := time.Duration(b.pick(40, 20)) * time.Second
	pairs, err := b.gather(3, append(ways, plain))
	if err != nil {
		return nil, err
	}
	time.Sleep(2 * time.Second) // start-up is over then
	time1, err1 := sampleWorkers(pairs, cpuNanoseconds)
	wakes1, err2 := sampleWorkers(pairs, wakeUps)
	time.Sleep(window)
	time2, err3 := sampleWorkers(pairs, cpuNanoseconds)
	wakes2, err4 := sampleWorkers(pairs, wakeUps)
	if err := errors.Join(err1, err2, err3, err4, closePairs(everyone(pairs))); err != nil {
		return nil, err
	}
	spent, woken := subtract(time2, time1), subtract(wakes2, wakes1)
	percent := func(nanoseconds int64) float64 { return 100 * float64(nanoseconds) / float64(window) }
	perMinute := float64(time.Minute) / float64(window)
	var rows []row
	for _, c := range ways {
		rows = append(rows, row{measure: "client, resting worker, CPU, " + c.name,
			ours: fmt.Sprintf("%.4f %% (most %.4f %%)", percent(median(spent[c])), percent(slices.Max(spent[c]))),
			peers: []string{fmt.Sprintf("without %.4f %%", percent(median(spent[plain]))),
				"wake-ups per minute " + spread(c, woken, perMinute) + ", without " + spread(plain, woken, perMinute)},
			ratio: "-", goal: "< 0.1 %", verdict: verdict(percent(slices.Max(spent[c])-median(spent[plain])) < 0.1)})
	}
	return rows, nil
}

// sampleWorkers reads a number from every worker.
func sampleWorkers(pairs map[*contender][]*pair, read func(pid int) (int64, error)) (map[*contender][]int64, error) {
	result := make(map[*contender][]int64)
	for c, some := range pairs {
		for _, p := range some {
			value, err := read(p.worker.pid)
			if err != nil {
				return nil, fmt.Errorf("%s: %w%s", c.name, err, p.complaints())
			}
			result[c] = append(result[c], value)
		}
	}
	return result, nil
}

// calls are what the calls to one server took, in nanoseconds, round by round.
type calls struct {
	median, mean, p99, longest []float64
}

// measureCalls: the time that the client adds to small gRPC calls. The server
// is the same program for all, and they are called by turns.
func (b *bench) measureCalls(py *python, sender, server string) ([]row, error) {
	mode := map[string]string{"sync": "progress", "aio": "loop"}[server]
	plain := py.workerWith(sender, "without", "plain", server, usualUsec)
	again := py.workerWith(sender, "without, again", "plain", server, usualUsec)
	with := py.workerWith(sender, "with the client", mode, server, usualUsec)
	thread := py.workerWith(sender, "with its thread", "timer", server, usualUsec)
	hurried := py.workerWith(sender, "a hundred times as often", mode, server, usualUsec/100)
	all := []*contender{plain, again, with, thread, hurried}
	if plain.absent != "" {
		return []row{{measure: "client, gRPC call, " + server, ours: plain.absent, ratio: "-", verdict: "-"}}, nil
	}
	pairs, err := b.gather(1, all)
	if err != nil {
		return nil, err
	}
	found, err := b.call(py, all, pairs)
	if err := errors.Join(err, closePairs(everyone(pairs))); err != nil {
		return nil, err
	}
	var rows []row
	for _, c := range all[2:] {
		rows = append(rows, callRow(server, c, found[c], found[plain], found[again]))
	}
	last := len(rows) - 1
	rows[last].goal, rows[last].verdict = "", "-" // no worker sends so many; it shows what a beat may do
	return rows, nil
}

func callRow(server string, c *contender, ours, plain, again calls) row {
	show := func(c calls) string {
		return fmt.Sprintf("%.0f µs (mean %.0f, p99 %.0f, most %.0f)", median(c.median)/1e3, median(c.mean)/1e3,
			median(c.p99)/1e3, slices.Max(c.longest)/1e3)
	}
	added := func(c calls) (mean, slow float64) {
		return (median(c.mean) - median(plain.mean)) / 1e3, (median(c.p99) - median(plain.p99)) / 1e3
	}
	mean, slow := added(ours)
	chance, slowChance := added(again)
	return row{measure: "client, gRPC call, " + server + " server, " + c.name, ours: show(ours),
		peers: []string{"without " + show(plain),
			fmt.Sprintf("added %+.0f µs; to the p99 %+.0f µs", mean, slow),
			fmt.Sprintf("without, again %+.0f µs; to the p99 %+.0f µs", chance, slowChance)},
		ratio: showRatio(median(pairwise(ours.mean, plain.mean)), "without"),
		goal:  "< 1 ms added", verdict: verdict(mean < 1000)}
}

func (b *bench) call(py *python, all []*contender, pairs map[*contender][]*pair) (map[*contender]calls, error) {
	argv := []string{py.calls, strconv.Itoa(b.pick(40, 8)), "200"}
	for _, c := range all {
		argv = append(argv, pairs[c][0].socket) // the port: it stands where others tell their socket
	}
	text, err := b.output(exec.Command(py.interpreter, argv...))
	if err != nil {
		return nil, fmt.Errorf("calls: %w\n%s", err, text)
	}
	found := make(map[*contender]calls)
	for line := range strings.Lines(text) {
		var place int
		var middle, mean, p99, longest float64
		if _, err := fmt.Sscanf(line, "%d %f %f %f %f", &place, &middle, &mean, &p99, &longest); err != nil {
			return nil, fmt.Errorf("calls: unexpected line %q", line)
		}
		c := found[all[place]]
		found[all[place]] = calls{append(c.median, middle), append(c.mean, mean), append(c.p99, p99), append(c.longest, longest)}
	}
	return found, nil
}

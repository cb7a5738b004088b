//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// measureThroughput: how fast the output of a worker arrives, as against the
// same program without a watchdog. Writer and reader share one core: whether
// the scheduler lets them meet there or apart makes a difference of three
// times on some machines, which would drown everything else.
func (b *bench) measureThroughput() ([]row, error) {
	mebibytes := b.pick(1024, 256)
	file, err := b.bigFile(mebibytes)
	if err != nil {
		return nil, err
	}
	defer os.Remove(file)
	path, err := exec.LookPath("cat")
	if err != nil {
		return nil, err
	}
	ours := &contender{name: "run", cast: cast{Worker: []string{b.watchdog, "run", "--", path, file}}}
	if b.watchdog == "" {
		ours.absent = "not built"
	}
	plain := &contender{name: "plain cat", cast: cast{Worker: []string{path, file}}}
	again := &contender{name: "plain cat again", cast: plain.cast} // how far chance alone goes
	unpin, err := pin()
	if err != nil {
		return nil, err
	}
	speeds := make(map[*contender][]float64)
	buffer := make([]byte, 1<<20)
	err = interleave(b.pick(30, 6), []*contender{ours, plain, again}, func(c *contender) error {
		spent, err := b.drain(c.cast.Worker, int64(mebibytes)<<20, buffer)
		speeds[c] = append(speeds[c], float64(mebibytes)/spent.Seconds())
		return err
	})
	if err := errors.Join(err, unpin()); err != nil {
		return nil, err
	}
	show := func(c *contender) string { return orAbsent(c, fmt.Sprintf("%.0f MiB/s", median(speeds[c]))) }
	against := median(pairwise(speeds[ours], speeds[plain]))
	r := row{measure: fmt.Sprintf("watchdog run -- cat, %d MiB", mebibytes), ours: show(ours),
		peers: []string{plain.name + " " + show(plain),
			fmt.Sprintf("%s %s (%.2f ×)", again.name, show(again), median(pairwise(speeds[again], speeds[plain])))},
		ratio: showRatio(against, plain.name),
		goal:  "≥ 0.98 × plain cat", verdict: "-"}
	if against > 0 {
		r.verdict = verdict(against >= 0.98)
	}
	return []row{r}, nil
}

// pairwise gives the ratio of each round: what disturbs the machine for
// seconds disturbs both of a pair.
func pairwise(a, b []float64) []float64 {
	var ratios []float64
	for i := range min(len(a), len(b)) {
		ratios = append(ratios, ratio(a[i], b[i]))
	}
	return ratios
}

func (b *bench) bigFile(mebibytes int) (string, error) {
	path := filepath.Join(b.ram, "big")
	file, err := os.Create(path)
	if err != nil {
		return "", err
	}
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i)
	}
	for range mebibytes {
		if _, err := file.Write(block); err != nil {
			return "", errors.Join(err, file.Close(), os.Remove(path))
		}
	}
	return path, file.Close()
}

// drain runs the command and reads its output to the end, from before the
// start until the exit. The pipe is a blocking one, to keep Go's poller out.
func (b *bench) drain(argv []string, size int64, buffer []byte) (time.Duration, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return 0, err
	}
	defer unix.Close(ends[0])
	stdout := os.NewFile(uintptr(ends[1]), "stdout")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout = b.env, stdout
	start := time.Now()
	err := begin(cmd)
	stdout.Close()
	if err != nil {
		return 0, err
	}
	got, err := readAll(ends[0], buffer)
	err = errors.Join(err, cmd.Wait())
	spent := time.Since(start)
	if err == nil && got != size {
		err = fmt.Errorf("%d of %d bytes arrived", got, size)
	}
	if err != nil {
		return 0, fmt.Errorf("%v: %w", argv, err)
	}
	return spent, nil
}

func readAll(fd int, buffer []byte) (int64, error) {
	var got int64
	for {
		n, err := unix.Read(fd, buffer)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return got, err
		}
		got += int64(n)
	}
}

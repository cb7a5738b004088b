//go:build linux

package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const childrenEach = 2

// orphans are what a dead run left behind: by now children and grandchildren
// of the bench.
type orphans struct {
	runID string
	word  string // in the arguments of each, and of no other process
	sid   int    // the session that all of them are in
	count int
}

// abandon makes orphans, and returns when all are there.
func (b *bench) abandon(crowd string, parents int) (*orphans, error) {
	owner, err := b.deadOwner()
	if err != nil {
		return nil, err
	}
	word := randomWord(16)
	o := &orphans{runID: randomWord(3), word: word, count: parents * (1 + childrenEach)}
	cmd := exec.Command(crowd, "orphans", strconv.Itoa(parents), word)
	cmd.Env = memberEnv("LEASH_RUN_ID="+o.runID, "LEASH_RUN_OWNER="+owner)
	text, err := b.output(cmd)
	if err != nil {
		return nil, fmt.Errorf("make orphans: %w\n%s", err, text)
	}
	o.sid = cmd.Process.Pid
	return o, nil
}

// randomWord is one that no other process has; of three bytes it is a run ID.
func randomWord(bytes int) string {
	random := make([]byte, bytes)
	rand.Read(random)
	return "b" + hex.EncodeToString(random)
}

// deadOwner is the identity of a process that is no more, as a watchdog puts
// it into the environment of a worker.
func (b *bench) deadOwner() (string, error) {
	owner := exec.Command(b.shell, "-c", "read line")
	stdin, err := owner.StdinPipe()
	if err != nil {
		return "", err
	}
	if err := begin(owner); err != nil {
		return "", err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", owner.Process.Pid))
	stdin.Close()
	owner.Wait() // with status 1: there was no line to read
	if err != nil {
		return "", err
	}
	fields := statFields(string(stat))
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil || len(fields) < 20 {
		return "", fmt.Errorf("the owner's identity: %d fields, %w", len(fields), err)
	}
	return fmt.Sprintf("%d:%s:%s:%s", owner.Process.Pid, fields[19],
		kernelSays("sys/kernel/random/boot_id"), strings.Trim(space, "pid:[]")), nil
}

// ending is how long it took a command to end all orphans: until the last was
// dead and reaped, and until the command itself had ended.
type ending struct {
	lastOrphan time.Duration
	command    time.Duration
}

// endOrphans runs a command that is to end all orphans, and reaps them as
// they die, as a good init does.
func (b *bench) endOrphans(o *orphans, argv []string) (ending, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return ending{}, err
	}
	defer null.Close()
	start := time.Now()
	command, err := b.start(argv, []*os.File{null, null, null})
	if err != nil {
		return ending{}, err
	}
	defer command.close()
	done := make(chan harvest, 1)
	go func() { done <- reapAll(command.pid) }()
	select {
	case h := <-done:
		if h.reaped != o.count || h.status.ExitStatus() != 0 {
			return ending{}, fmt.Errorf("%s: exit status %d, %d of %d orphans ended", argv[0], h.status.ExitStatus(), h.reaped, o.count)
		}
		return ending{h.last.Sub(start), h.command.Sub(start)}, nil
	case <-time.After(patience):
		return ending{}, fmt.Errorf("%s did not end all %d orphans within %v", argv[0], o.count, patience)
	}
}

// harvest is what was seen while children died.
type harvest struct {
	reaped  int
	last    time.Time
	command time.Time
	status  unix.WaitStatus
}

// reapAll waits until there is no child left. That is an exact count to zero:
// a process that loses its parent is the bench's child before that parent can be reaped.
func reapAll(command int) (h harvest) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return h
		case pid == command:
			h.command, h.status = time.Now(), status
		default:
			h.last = time.Now()
			h.reaped++
		}
	}
}

// measureOrphans: a thousand orphans with children are ended, with a stop signal by the
// reaper, with SIGKILL by pkill.
func (b *bench) measureOrphans() ([]row, error) {
	if b.reaper == "" {
		return nil, errors.New("reaper not built")
	}
	crowd, err := b.compileC("crowd")
	if err != nil {
		return nil, err
	}
	parents := b.pick(1000, 200)
	pkill, absent := find("pkill")
	ours, peer := &contender{name: "reaper"}, &contender{name: "pkill -KILL -f", absent: absent}
	endings := make(map[*contender][]ending)
	err = interleave(b.pick(9, 3), []*contender{ours, peer}, func(c *contender) error {
		o, err := b.abandon(crowd, parents)
		if err != nil {
			return errors.Join(err, endEverything(politeness))
		}
		argv := []string{b.reaper, "--json"}
		if c == peer {
			// The session holds nothing but the orphans: another process with the word
			// among its arguments, such as a search for it, is not hit.
			argv = []string{pkill, "-KILL", "-s", strconv.Itoa(o.sid), "-f", o.word}
		}
		// Before both of them, so that neither is the first to read the orphans.
		foreseen, err := b.foresee()
		if err == nil {
			err = foreseen.onlyDoomed(o.runID, o.count)
		}
		var e ending
		if err == nil {
			e, err = b.endOrphans(o, argv)
		}
		endings[c] = append(endings[c], e)
		return errors.Join(err, endEverything(politeness)) // nothing is left to end where all is well
	})
	if err != nil {
		return nil, err
	}
	label := fmt.Sprintf("%d orphans with %d children each", parents, childrenEach)
	last := func(e ending) time.Duration { return e.lastOrphan }
	command := func(e ending) time.Duration { return e.command }
	return []row{
		endingRow(label+": none left", endings, ours, peer, last, 1.2),
		endingRow(label+": command ended", endings, ours, peer, command, 0),
	}, nil
}

func endingRow(label string, endings map[*contender][]ending, ours, peer *contender,
	which func(ending) time.Duration, factor float64) row {
	times := func(c *contender) (list []time.Duration) {
		for _, e := range endings[c] {
			list = append(list, which(e))
		}
		return list
	}
	r := row{measure: label, ours: showTimes(times(ours)), goal: "-", verdict: "-",
		peers: []string{peer.name + " " + orAbsent(peer, showTimes(times(peer)))}}
	against := ratio(median(times(ours)), median(times(peer)))
	r.ratio = showRatio(against, "pkill")
	if factor > 0 {
		r.goal = fmt.Sprintf("≤ %.1f × pkill", factor)
	}
	if factor > 0 && against > 0 {
		r.verdict = verdict(against <= factor)
	}
	return r
}

//go:build linux

package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// stranger starts a process outside the worker's tree that writes to its socket
// without end, and returns when that has begun.
func stranger(t *testing.T, u user, socket, message string) *testkit.Proc {
	t.Helper()
	p := strangerTo(t, u, socket, message)
	for range 3 { // not only its first
		p.Stdout.Await("SAID")
	}
	return p
}

// strangerTo is that process, whether there is a watchdog to read or not.
func strangerTo(t *testing.T, u user, socket, message string) *testkit.Proc {
	t.Helper()
	script := readFile(t, peer(t, "stranger.py"))
	cmd := u.as(exec.Command(testkit.NeedPython(t), "-c", string(script), message))
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+socket)
	return testkit.Start(t, cmd)
}

func strangers(t *testing.T) map[string]user {
	t.Helper()
	testkit.NeedRoot(t)
	return map[string]user{"same user": root(), "another user": ordinary(t, alice)}
}

// Beats and STOPPING=1 of a process outside the tree keep no hung worker alive.
func TestBeatsFromOutsideTheTree(t *testing.T) {
	run, wait := together(t)
	defer wait()
	for name, u := range strangers(t) {
		run(name, func(t *testing.T) {
			p := runPatient(t, patience, "--mute", "--child")
			s := stranger(t, u, p.socket, `WATCHDOG=1\nEXTEND_TIMEOUT_USEC=1000000000\nSTOPPING=1\nWATCHDOG_USEC=0`)
			p.hang("gil")
			testkit.StillAlive(t, s.Ident)
			p.awaitTreeGone(124)
			wasHung(t, p.log, p.worker, 3)
			if found := named(p.log, "process.stopping"); len(found) != 0 {
				t.Errorf("expected no event of what a process outside the tree sent, but got %v", found)
			}
		})
	}
}

// Nor can they have a worker ended, or make it ready.
func TestTriggersFromOutsideTheTree(t *testing.T) {
	run, wait := together(t)
	defer wait()
	for name, u := range strangers(t) {
		run(name, func(t *testing.T) {
			p := runPatient(t, hasty, "--beats", "none", "--never-ready")
			s := stranger(t, u, p.socket, `READY=1\nWATCHDOG=trigger\nWATCHDOG_USEC=1000`)
			p.orderAndAwait("later " + longer) // and missed beats do not count, since it never was ready
			testkit.StillAlive(t, s.Ident)
			p.unharmed("process.ready", "heartbeat.received", "heartbeat.missed")
			p.orderAndAwait("send " + unjudged) // the worker's own message counts
			p.log.AwaitEvent("process.ready")
		})
	}
}

// READY=1 of a process outside the tree does not save a worker that is not ready in time.
func TestReadyFromOutsideTheTree(t *testing.T) {
	t.Parallel()
	inTime(t, 2*time.Second, func(limit time.Duration) bool {
		socket := "@leash-e2e-" + newRunID()
		p := alone(t, socket, "--beats", "none", "--never-ready", "--child")
		s := strangerTo(t, root(), socket, "READY=1") // before a watchdog listens
		g := guardPatient(t, p, append(patience, "--startup-timeout", limit.String())...)
		testkit.AwaitGone(t, p.tree()...)
		testkit.StillAlive(t, s.Ident)
		if status := g.Wait(); status != 0 {
			t.Errorf("status %d", status)
		}
		ended(t, g.Stderr, "startup_timeout")
		return strings.Contains(s.Stdout.All(), "SAID")
	})
}

// Beats from below count: of a grandchild, and of a daemon that left by a
// double fork (beside guard: with the labels of its worker). The worker itself
// says nothing more.
func TestBeatsFromBelowCount(t *testing.T) {
	run, wait := together(t)
	defer wait()
	for _, how := range []string{"grandchild", "daemon"} {
		run("run "+how, func(t *testing.T) {
			p := runPatient(t, calm, "--beats", "none", "--never-ready")
			p.orderAndAwait("below " + how)
			p.livesBy(p.log)
		})
		run("guard "+how, func(t *testing.T) {
			cmd := aloneCommand(t, "@leash-e2e-"+newRunID(), "--beats", "none", "--never-ready")
			cmd.Env = append(cmd.Env, "LEASH_RUN_ID=k3x9a2p", "LEASH_WORKER_ID="+newRunID())
			p := startPatient(t, cmd)
			p.orderAndAwait("below " + how)
			p.livesBy(guardPatient(t, p, calm...).Stderr)
		})
	}
}

// livesBy waits for a beat from below, and for a time that would be too long
// without; then the process that beats is killed, and that ends the worker.
func (p *patient) livesBy(log *testkit.Lines) {
	p.t.Helper()
	beater := identOf(p.t, p.Stdout, "BEATER")
	log.AwaitEvent("heartbeat.received")
	p.orderAndAwait("block 8.5") // more than a calm watchdog's patience
	testkit.StillAlive(p.t, p.worker, beater)
	if found := named(log, "heartbeat.timeout"); len(found) != 0 {
		p.t.Errorf("%v", found)
	}
	if err := beater.Signal(unix.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
	p.order("send " + hastens)
	testkit.AwaitGone(p.t, p.worker)
	log.AwaitEvent("heartbeat.timeout")
	log.AwaitEvent("process.cleanup_completed") // what is left is ended after the worker
}

// A sender that has ended and was reaped before the watchdog could read it still
// counts: the watchdog is stopped meanwhile.
func TestMessagesOfTheDeadCount(t *testing.T) {
	t.Parallel()
	p := runPatient(t, unhurried, "--beats", "none", "--never-ready")
	p.Signal(unix.SIGSTOP)
	awaitState(t, p.PID, "T")
	p.orderAndAwait("once-gone READY=1")
	p.orderAndAwait("once-gone WATCHDOG=1")
	p.Signal(unix.SIGCONT)
	p.log.AwaitEvent("process.ready")
	p.log.AwaitEvent("heartbeat.received")
	p.unharmed()
}

// A worker in sh with beats from commands that end at once. Without a cgroup of the
// worker's own (root alone can make one here) the parent of a command that has ended and
// was reaped is unknown: then the command has to wait.
func TestSystemdNotifyInALoop(t *testing.T) {
	run, wait := together(t)
	defer wait()
	testkit.Need(t, "systemd-notify")
	testkit.NeedRoot(t)
	bin := publicBinaries(t)
	for name, c := range map[string]struct {
		user user
		flag string
	}{"root": {user{state: stateDir(t)}, "--no-block"}, "ordinary user": {ordinary(t, alice), ""}} {
		run(name, func(t *testing.T) {
			cmd := c.user.as(exec.Command(filepath.Join(bin, "watchdog"), slices.Concat([]string{"run"}, calm, []string{"--", "sh", "-c",
				`systemd-notify --ready; n=0
				while [ $n -lt 15 ]; do systemd-notify ` + c.flag + ` WATCHDOG=1; sleep 0.1; n=$((n + 1)); done
				systemd-notify STATUS=over; echo STILL HERE
				systemd-notify ` + c.flag + " " + hastens + `; exec sleep 1000000`})...))
			cmd.Env = append(cmd.Env, "LEASH_LOG_LEVEL=debug")
			p := testkit.Start(t, cmd)
			p.Stderr.AwaitEvent("process.ready")
			p.Stdout.Await("STILL HERE")
			if status := p.Wait(); status != 124 { // now it sends none
				t.Errorf("status %d", status)
			}
			p.Stderr.AwaitEnd()
			if n := len(named(p.Stderr, "heartbeat.received")); n != 15 {
				t.Errorf("%d of 15 beats were heard", n)
			}
		})
	}
}

// badSockets are places where no socket can be. Each is said in one line, and
// what is there stays as it is.
func badSockets(t *testing.T) map[string]string {
	t.Helper()
	dir := socketDir(t)
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	write(t, file, "precious")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"no such directory":  filepath.Join(dir, "none", "notify"),
		"not to be written":  "/proc/leash-notify",
		"a file":             file,
		"a link to a file":   link,
		"a directory":        dir,
		"below a file":       filepath.Join(file, "notify"),
		"too long":           filepath.Join(dir, strings.Repeat("x", 108-len(dir)-1)),
		"too long, abstract": "@" + strings.Repeat("x", 108),
	}
}

func TestSocketThatCannotBe(t *testing.T) {
	t.Parallel()
	worker := sleeper(t)
	for what, path := range badSockets(t) {
		for mode, args := range map[string][]string{
			"guard": {"guard", "--worker-pid", pid(worker), "--heartbeat", "notify", "--notify-socket", path},
			"run":   {"run", "--heartbeat", "notify", "--notify-socket", path, "--", "echo", "started"},
		} {
			status, stdout, stderr := testkit.Run(t, watchdog(t, args...))
			if status != 125 || stdout != "" || strings.Contains(stderr, "\n") || !strings.HasPrefix(stderr, "watchdog: ") ||
				!strings.Contains(stderr, "--notify-socket") {
				t.Errorf("%s, %s: status %d, stdout %q, stderr %q", mode, what, status, stdout, stderr)
			}
		}
		if filepath.Base(path) == "file" || filepath.Base(path) == "link" {
			if text, err := os.ReadFile(path); string(text) != "precious" {
				t.Errorf("%s: %q, %v", what, text, err)
			}
		}
	}
	testkit.StillAlive(t, worker.Ident)
}

// The longest address that there is works.
func TestLongestSocket(t *testing.T) {
	t.Parallel()
	dir := socketDir(t)
	path := filepath.Join(dir, strings.Repeat("x", 107-len(dir)-1))
	p := runPatient(t, append(calm, "--notify-socket", path))
	if p.socket != path || len(path) != 107 {
		t.Errorf("the worker was given %q", p.socket)
	}
	p.log.AwaitEvent("process.ready")
}

// A socket that another process listens at is not taken from it, be it a path or a
// name.
func TestSocketInUse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(socketDir(t), "notify")
	for _, socket := range []string{path, "@leash-e2e-" + newRunID()} {
		first := runPatient(t, append(calm, "--notify-socket", socket))
		worker := sleeper(t)
		status, _, stderr := testkit.Run(t, watchdog(t, "guard", "--worker-pid", pid(worker), "--heartbeat", "notify", "--notify-socket", socket))
		if status != 125 || strings.Contains(stderr, "\n") || !strings.Contains(stderr, "--notify-socket") {
			t.Errorf("status %d, stderr %q", status, stderr)
		}
		testkit.StillAlive(t, worker.Ident)
		heard := len(named(first.log, "heartbeat.received"))
		for range heard + 3 { // beats go on
			first.log.AwaitEvent("heartbeat.received")
		}
		first.unharmed()
	}
}

// What a killed watchdog has left at the path is replaced, and the path is
// free again after a clean end.
func TestStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(socketDir(t), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal("there is nothing stale: ", err)
	}
	p := alone(t, path)
	g := guardPatient(t, p, calm...)
	g.Stderr.AwaitEvent("heartbeat.received")
	g.Kill()
	g.Wait()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal("a killed watchdog cleans nothing: ", err)
	}
	g = guardPatient(t, p, calm...)
	g.Stderr.AwaitEvent("heartbeat.received")
	p.Kill()
	if status := g.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is left behind")
	}
}

// Under run the worker is told where its watchdog listens and how often it is
// to beat, and nothing of it without heartbeats.
func TestVariablesOfTheWorker(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--heartbeat", "notify"}, "4000000"},
		{[]string{"--heartbeat", "notify", "--heartbeat-timeout", "3s"}, "3000000"},
		{[]string{"--heartbeat", "notify", "--max-missed", "1"}, "2000000"},
		{[]string{"--heartbeat", "off"}, "none"},
	} {
		line := append(append([]string{"run"}, c.flags...), "--", "sh", "-c",
			`echo "${WATCHDOG_USEC-none} ${WATCHDOG_PID-none} ${NOTIFY_SOCKET-none}"`)
		cmd := watchdog(t, line...)
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET=/run/manager", "WATCHDOG_USEC=77", "WATCHDOG_PID=1")
		_, stdout, stderr := testkit.Run(t, cmd)
		f := strings.Fields(stdout)
		if len(f) != 3 {
			t.Fatalf("%q: %q\n%s", c.flags, stdout, stderr)
		}
		if c.want == "none" {
			// Without heartbeats the watchdog stays out of it.
			if f[0] != "77" || f[1] != "1" || f[2] != "/run/manager" {
				t.Errorf("%q: %q", c.flags, f)
			}
			continue
		}
		if f[0] != c.want || f[1] != "none" || !strings.HasPrefix(f[2], "@leash-") {
			t.Errorf("%q: %q, want %s", c.flags, f, c.want)
		}
	}
}

// lastWords is a command as one would write it for a dump. It notes what it is
// told, whether the worker lives, and what it can read.
const lastWords = `#!/bin/sh
{
	echo "$LEASH_WORKER_PID/$LEASH_RUN_ID/$LEASH_WORKER_ID/$LEASH_REASON"
	test -e /proc/$LEASH_WORKER_PID/exe && echo alive
	echo "arguments: $*"
	echo "input: $(wc -c)"
} >>"$NOTES"
echo from the command
echo beside it >&2
`

// noting makes that command and the file of its notes.
func noting(t *testing.T) (command, notes string) {
	t.Helper()
	dir := t.TempDir()
	command, notes = filepath.Join(dir, "dump"), filepath.Join(dir, "notes")
	if err := os.WriteFile(command, []byte(lastWords), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(notes) })
	return command, notes
}

func readNotes(t *testing.T, file string) []string {
	t.Helper()
	text := readFile(t, file)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// The command runs once while the worker still lives, is told which process hangs, and
// what it prints goes to the watchdog's standard error.
func TestHangCommandGetsTheFacts(t *testing.T) {
	run, wait := together(t)
	defer wait()
	for _, c := range []struct{ more, arguments string }{{"", ""}, {" --pid", "--pid PID"}, {" dump -p", "dump -p PID"}} {
		run(c.arguments, func(t *testing.T) {
			command, notes := noting(t)
			cmd := beating(t, append(patience, "--run-id", "k3x9a2p", "--worker-id", "w 1", "--on-hang-command", command+c.more), "--mute", "--child")
			cmd.Env = append(cmd.Env, "NOTES="+notes)
			p := startPatient(t, cmd)
			p.hang("gil")
			p.awaitTreeGone(124)
			wasHung(t, p.log, p.worker, 3)
			id := itoa(p.worker.PID)
			want := []string{id + "/k3x9a2p/w 1/heartbeat_timeout", "alive",
				"arguments: " + strings.ReplaceAll(c.arguments, "PID", id), "input: 0"}
			if got := readNotes(t, notes); !slices.Equal(trimmed(got), trimmed(want)) {
				t.Errorf("notes %q, want %q", got, want)
			}
			for _, line := range []string{"from the command", "beside it"} {
				if !strings.Contains(p.Stderr.All(), line) || strings.Contains(p.Stdout.All(), line) {
					t.Errorf("%q is not on the watchdog's standard error", line)
				}
			}
		})
	}
}

func trimmed(lines []string) (all []string) {
	for _, l := range lines {
		all = append(all, strings.TrimSpace(l))
	}
	return all
}

// Beside guard too; and for a worker that is not ready in time the reason is
// another.
func TestHangCommandBesideGuardAndAtStart(t *testing.T) {
	run, wait := together(t)
	defer wait()
	run("guard", func(t *testing.T) {
		command, notes := noting(t)
		p := alone(t, "@leash-e2e-"+newRunID(), "--mute")
		g := guardPatient(t, p, append(patience, "--on-hang-command", "NOTES="+notes+" "+command)...)
		p.hang("gil")
		testkit.AwaitGone(t, p.worker)
		wasHung(t, g.Stderr, p.worker, 3)
		run := g.Stderr.Events()[0].Str("leash.run_id")
		if got := readNotes(t, notes); got[0] != itoa(p.worker.PID)+"/"+run+"//heartbeat_timeout" || got[1] != "alive" {
			t.Errorf("notes %q", got)
		}
	})
	run("start", func(t *testing.T) {
		command, notes := noting(t)
		cmd := slowShell(t, "--startup-timeout", "300ms", "--on-hang-command", command)
		cmd.Env = append(cmd.Env, "NOTES="+notes)
		p := unmet(t, cmd)
		p.awaitEnd(124)
		if got := readNotes(t, notes); !strings.HasSuffix(got[0], "/startup_timeout") || got[1] != "alive" {
			t.Errorf("notes %q", got)
		}
	})
}

// A command that never ends is ended with its whole group, and the worker
// after it. So is a worker that ignores its last signal.
func TestHangSignalAndCommandAreBounded(t *testing.T) {
	run, wait := together(t)
	defer wait()
	run("command", func(t *testing.T) {
		inTime(t, 300*time.Millisecond, func(limit time.Duration) bool {
			p := runPatient(t, append(patience, "--on-hang-timeout", limit.String(), "--on-hang-command", endless), "--mute", "--child")
			p.hang("gil")
			p.awaitTreeGone(124)
			wasHung(t, p.log, p.worker, 3)
			return ranAndEnded(t, p.Stderr)
		})
	})
	run("command beside guard", func(t *testing.T) { // where nothing else would end it
		inTime(t, 300*time.Millisecond, func(limit time.Duration) bool {
			p := alone(t, "@leash-e2e-"+newRunID(), "--mute")
			g := guardPatient(t, p, append(patience, "--on-hang-timeout", limit.String(), "--on-hang-command", endless)...)
			p.hang("gil")
			testkit.AwaitGone(t, p.worker)
			g.Wait()
			return ranAndEnded(t, g.Stderr)
		})
	})
	run("signal", func(t *testing.T) {
		p := runPatient(t, append(patience, "--on-hang-timeout", "300ms", "--on-hang-signal", "TERM"), "--mute", "--deaf")
		p.hang("gil")
		if s := p.log.AwaitEvent("signal.sent"); s.Str("target") != "process" || s.Str("signal") != "SIGTERM" {
			t.Errorf("the last words come first: %v", s)
		}
		if s := p.log.AwaitEvent("signal.sent"); s.Str("signal") != "SIGCONT" || s.Str("target") != "process" {
			t.Errorf("then it is continued: %v", s)
		}
		if err := p.worker.Signal(unix.SIGKILL); err != nil { // as the grace would end it later
			t.Fatal(err)
		}
		p.awaitTreeGone(124)
	})
	run("command that fails", func(t *testing.T) {
		p := runPatient(t, append(patience, "--on-hang-command", "/no/such/program --pid"), "--mute")
		p.hang("gil")
		p.awaitTreeGone(124)
		wasHung(t, p.log, p.worker, 3)
		if !strings.Contains(p.Stderr.All(), "/no/such/program") {
			t.Error("nothing says what is wrong")
		}
	})
}

// endless is a command with a child; both print their PID, and stay.
const endless = `sleep 1000000 & trap '' TERM; echo "below $!"; echo "command $$"; wait; wait`

// ranAndEnded tells whether that command got as far as to say it, and fails the
// test if anything of it is left.
func ranAndEnded(t *testing.T, said *testkit.Lines) bool {
	t.Helper()
	said.AwaitEnd()
	noneLeft(t, said, "below")
	noneLeft(t, said, "command")
	return len(told(said, "command")) > 0
}

// First the command, then the signal: a dump of a worker that has aborted
// would come too late.
func TestHangSignalAndCommand(t *testing.T) {
	t.Parallel()
	command, notes := noting(t)
	cmd := beating(t, append(patience, "--on-hang-signal", "ABRT", "--on-hang-command", command), "--mute", "--child")
	cmd.Env = append(cmd.Env, "NOTES="+notes)
	p := startPatient(t, cmd)
	p.hang("gil")
	p.awaitTreeGone(124)
	if got := readNotes(t, notes); len(got) != 4 || got[1] != "alive" {
		t.Errorf("notes %q", got)
	}
	stacks(t, p.Stderr, "hold_the_gil")
	text := p.Stderr.All()
	if strings.Index(text, "Fatal Python error") < strings.Index(text, "from the command") {
		t.Error("the signal came before the command")
	}
	if e := named(p.log, "process.terminated"); e[0].Str("signal") != "SIGABRT" {
		t.Errorf("%v", e)
	}
}

// The command of a hang is not waited for when the parent exits, TERM comes, or the worker
// ends by itself.
func TestHangCommandThatIsNotAwaited(t *testing.T) {
	run, wait := together(t)
	defer wait()
	for _, why := range []string{"parent died", "TERM", "worker ended"} {
		run(why, func(t *testing.T) {
			parent := sleeper(t)
			p := runPatient(t, append(patience, "--parent-pid", pid(parent), "--on-hang-timeout", "10m",
				"--on-hang-command", `echo "command $$"; exec sleep 1000000`), "--mute", "--child")
			p.hang("gil")
			command := identOf(t, p.Stderr, "command")
			testkit.StillAlive(t, p.worker)
			switch why {
			case "parent died":
				parent.Kill()
			case "TERM":
				p.Signal(unix.SIGTERM)
			default:
				if err := p.worker.Signal(unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			testkit.AwaitGone(t, append(p.tree(), command)...)
			p.Wait()
		})
	}
}

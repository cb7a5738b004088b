package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"leash/internal/testkit"
)

func TestWorkerHangs(t *testing.T) {
	v := runVoice(t, hasty)
	if !strings.HasPrefix(v.pipe, `\\.\pipe\leash-`+strconv.Itoa(v.PID)+"-") || v.env["NOTIFY_SOCKET"] != "" ||
		v.env["WATCHDOG_USEC"] != "200000" || v.env[heardBy] != strconv.Itoa(v.PID) {
		t.Error(v.env)
	}
	v.tell("child child") // with a child, and one below it
	ids := printed(t, v.Stdout, 2)
	v.sayLast("READY=1\nSTATUS=well")
	v.Stderr.AwaitEvent("process.ready")
	if e := v.Stderr.AwaitEvent("heartbeat.missed"); e.Int("missed") != 1 {
		t.Error(e)
	}
	v.endsHung("heartbeat_timeout")
	stoppedWith(t, v.Stderr, "heartbeat_timeout", hung)
	testkit.AwaitGone(t, ids...)
}

func TestTrigger(t *testing.T) {
	v := runVoice(t, "")
	v.say("no message")
	v.sayLast("WATCHDOG=trigger")
	v.endsHung("trigger")
}

// Whatever the worker has managed to do until then.
func TestStartupTimeout(t *testing.T) {
	w := testkit.Start(t, voiceCommand(t, "--startup-timeout 100ms"))
	if e := w.Stderr.AwaitEvent("heartbeat.timeout"); e.Str("reason") != "startup_timeout" {
		t.Error(e)
	}
	stoppedWith(t, w.Stderr, "startup_timeout", hung)
	if status := w.Wait(); status != hung {
		t.Errorf("status %d", status)
	}
	w.Stdout.AwaitEnd() // of the worker too: he had it
}

// What holds back judgement; with nothing of it the worker would hang.
func TestNotHung(t *testing.T) {
	for _, said := range []string{"STOPPING=1", "EXTEND_TIMEOUT_USEC=600000000", "WATCHDOG_USEC=0"} {
		t.Run(said, func(t *testing.T) {
			v := runVoice(t, hasty)
			v.say("READY=1\n" + said)
			v.livesOn()
		})
	}
	t.Run("nothing", func(t *testing.T) { runVoice(t, hasty).livesOn() })
}

// A child's beats are the worker's: from the first one on they are due, and the next
// one ends the silence.
func TestChildBeats(t *testing.T) {
	v := runVoice(t, "--log-level debug --heartbeat-interval 200ms --heartbeat-timeout 1h --max-missed 1000")
	v.childBeats()
	v.awaitMissed(2)
	v.childBeats()
	v.awaitMissed(1)
	v.tell("exit 7")
	if status := v.Wait(); status != 7 {
		t.Errorf("status %d", status)
	}
}

// childBeats has one more child send a single beat.
func (v *voiced) childBeats() {
	v.t.Helper()
	v.tell("child say WATCHDOG=1")
	printed(v.t, v.Stdout, 1)
	v.Stderr.AwaitEvent("heartbeat.received")
}

// awaitMissed waits until so many beats in a row are missed.
func (v *voiced) awaitMissed(want int) {
	v.t.Helper()
	for range 1000 {
		if v.Stderr.AwaitEvent("heartbeat.missed").Int("missed") == want {
			return
		}
	}
	v.t.Fatalf("never %d in a row", want)
}

// Nobody else speaks for a worker that hangs.
func TestStrangerBeats(t *testing.T) {
	v := runVoice(t, hasty)
	stranger := exec.Command(os.Args[0])
	stranger.Env = append(os.Environ(), roleVar+"=voice", pipeVar+"="+v.pipe)
	in, err := stranger.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := testkit.Start(t, stranger)
	fmt.Fprintln(in, "beat")
	fmt.Fprintln(in, "say STATUS=mine") // by now it beats
	s.Stdout.AwaitMatch(regexp.MustCompile("^(not )?said"))
	v.sayLast("READY=1")
	v.endsHung("heartbeat_timeout")
	testkit.StillAlive(t, s.Ident)
}

func TestGuardHears(t *testing.T) {
	pipe := fmt.Sprintf(`\\.\pipe\leash-test-%d-%s`, os.Getpid(), t.Name())
	worker := exec.Command(os.Args[0])
	worker.Env = append(os.Environ(), roleVar+"=voice", pipeVar+"="+pipe)
	in, err := worker.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := testkit.Start(t, worker)
	printed(t, p.Stdout, 1)
	fmt.Fprintln(in, "child child") // who is there before the watchdog
	ids := printed(t, p.Stdout, 2)
	w := testkit.Start(t, watchdogCommand(t, "", append([]string{"guard", "--worker-pid", strconv.Itoa(p.PID), "--heartbeat", "notify",
		"--notify-socket", pipe, "--grace", "100ms", "--log-level", "debug"}, strings.Fields(hasty)...)...))
	w.Stderr.AwaitEvent("watchdog.started")
	second := watchdogCommand(t, "", "guard", "--worker-pid", strconv.Itoa(p.PID), "--heartbeat", "notify", "--notify-socket", pipe)
	if status, _, stderr := testkit.Run(t, second); status != 125 ||
		!strings.HasPrefix(stderr, "watchdog: --notify-socket: "+pipe+": another process listens there already: ") || strings.Contains(stderr, "\n") {
		t.Errorf("a second one: status %d, %s", status, stderr)
	}
	fmt.Fprintln(in, "child say STATUS=from a child")
	ids = append(ids, printed(t, p.Stdout, 1)...)
	if e := w.Stderr.AwaitEvent("process.status"); e.Str("status") != "from a child" {
		t.Error(e)
	}
	fmt.Fprintln(in, "say READY=1")
	w.Stderr.AwaitEvent("process.ready")
	w.Stderr.AwaitEvent("heartbeat.timeout")
	if status := w.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	testkit.AwaitGone(t, append(ids, p.Ident)...)
}

// Each worker is heard for himself, and nothing of the one before is left.
func TestRestartAfterHang(t *testing.T) {
	v := runVoice(t, hasty+" --restart on-failure")
	v.flags = hasty
	first := v.worker
	v.tell("child")
	child := printed(t, v.Stdout, 1)
	v.sayLast("READY=1")
	v.Stderr.AwaitEvent("process.restarting")
	testkit.AwaitGone(t, append(child, first)...)
	pipe := v.pipe
	v.meet()
	if v.worker == first || v.pipe != pipe {
		t.Errorf("%v again, and the pipe %s", first, v.pipe)
	}
	v.sayLast("READY=1\nWATCHDOG_USEC=0") // silence counts no more
	for range 2 {
		v.Stderr.AwaitEvent("process.ready")
	}
	v.tell("child beat")
	ids := printed(t, v.Stdout, 1)
	v.livesOnAs(0)
	testkit.AwaitGone(t, ids...)
	stoppedWith(t, v.Stderr, "worker_exited", 0)
}

func TestRestarts(t *testing.T) {
	v := startVoice(t, watchdogCommand(t, "voice", "run", "--restart", "on-failure", "--max-restarts", "1", "--grace", "100ms", "--", os.Args[0]))
	v.tell("child")
	child := printed(t, v.Stdout, 1)
	v.tell("exit 3")
	v.Stderr.AwaitEvent("process.restarting")
	testkit.AwaitGone(t, child...)
	first := v.worker
	v.meet()
	if v.worker == first {
		t.Error("the same worker")
	}
	v.tell("exit 4")
	stoppedWith(t, v.Stderr, "worker_exited", v.Wait())
	if status := v.Wait(); status != 4 {
		t.Errorf("status %d", status)
	}
}

// A flood costs the watchdog nothing but patience, and garbage nothing.
func TestFloodAndGarbage(t *testing.T) {
	v := runVoice(t, "--heartbeat-timeout 30m --max-missed 1000")
	v.tell("child beat")
	printed(t, v.Stdout, 1)
	for i := range 200 {
		v.say(strings.Repeat("x", i*50) + "=\x00\xff")
	}
	v.sayLast("WATCHDOG=trigger")
	v.endsHung("trigger")
}

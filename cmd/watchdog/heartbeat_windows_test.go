package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"

	"leash/internal/testkit"
)

func TestWorkerHangs(t *testing.T) {
	v := runVoice(t, hasty)
	if !strings.HasPrefix(v.pipe, `\\.\pipe\leash-`+strconv.Itoa(v.PID)+"-") || v.env["NOTIFY_SOCKET"] != "" ||
		v.env["WATCHDOG_USEC"] != "200000" || v.env[notifyPIDVar] != strconv.Itoa(v.PID) {
		t.Error(v.env)
	}
	v.tell("child child") // with a child and a grandchild
	ids := awaitPIDs(t, v.Stdout, 2)
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

// The worker is ended whatever it has done until then.
func TestStartupTimeout(t *testing.T) {
	w := testkit.Start(t, voiceCommand(t, "--startup-timeout 100ms"))
	if e := w.Stderr.AwaitEvent("heartbeat.timeout"); e.Str("reason") != "startup_timeout" {
		t.Error(e)
	}
	stoppedWith(t, w.Stderr, "startup_timeout", hung)
	if status := w.Wait(); status != hung {
		t.Errorf("status %d", status)
	}
	w.Stdout.AwaitEnd() // the worker has it open too
}

// What stops the timeout; without it the worker would be hung.
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

// A child's beats count as the worker's: they are due after the first, and the next one ends
// the silence.
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
	awaitPIDs(v.t, v.Stdout, 1)
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

// Beats of a process outside the tree do not count for a hung worker.
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
	awaitPIDs(t, p.Stdout, 1)
	fmt.Fprintln(in, "child child") // it is there before the watchdog
	ids := awaitPIDs(t, p.Stdout, 2)
	w := testkit.Start(t, watchdogCommand(t, "", append([]string{"guard", "--worker-pid", strconv.Itoa(p.PID), "--heartbeat", "notify",
		"--notify-socket", pipe, "--grace", "100ms", "--log-level", "debug"}, strings.Fields(hasty)...)...))
	w.Stderr.AwaitEvent("watchdog.started")
	second := watchdogCommand(t, "", "guard", "--worker-pid", strconv.Itoa(p.PID), "--heartbeat", "notify", "--notify-socket", pipe)
	if status, _, stderr := testkit.Run(t, second); status != 125 ||
		!strings.HasPrefix(stderr, "watchdog: --notify-socket: "+pipe+": another process listens there already: ") || strings.Contains(stderr, "\n") {
		t.Errorf("a second one: status %d, %s", status, stderr)
	}
	fmt.Fprintln(in, "child say STATUS=from a child")
	ids = append(ids, awaitPIDs(t, p.Stdout, 1)...)
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

// The heartbeats of each worker count for it alone, and no process of the previous one is
// left.
func TestRestartAfterHang(t *testing.T) {
	v := runVoice(t, hasty+" --restart on-failure")
	v.flags = hasty
	first := v.worker
	v.tell("child")
	child := awaitPIDs(t, v.Stdout, 1)
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
	ids := awaitPIDs(t, v.Stdout, 1)
	v.livesOnAs(0)
	testkit.AwaitGone(t, ids...)
	stoppedWith(t, v.Stderr, "worker_exited", 0)
}

func TestRestarts(t *testing.T) {
	v := startVoice(t, watchdogCommand(t, "voice", "run", "--restart", "on-failure", "--max-restarts", "1", "--grace", "100ms", "--", os.Args[0]))
	v.tell("child")
	child := awaitPIDs(t, v.Stdout, 1)
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

// A flood only delays the timeout, and garbage has no effect.
func TestFloodAndGarbage(t *testing.T) {
	v := runVoice(t, "--heartbeat-timeout 30m --max-missed 1000")
	v.tell("child beat")
	awaitPIDs(t, v.Stdout, 1)
	for i := range 200 {
		v.say(strings.Repeat("x", i*50) + "=\x00\xff")
	}
	v.sayLast("WATCHDOG=trigger")
	v.endsHung("trigger")
}

// voice is a worker that performs the lines that it reads:
//
//	say TEXT     sends a message, and says "said"
//	beat         sends a beat from time to time, from now on
//	child LINE   starts a child that does so
//	exit STATUS
//	heed STATUS  exits so if a console event asks it to, and says "heeds"
func voice() {
	fmt.Println("pid", os.Getpid())
	if os.Getenv(childVar) == "" {
		for _, name := range told {
			fmt.Printf("%s=%s\n", name, os.Getenv(name))
		}
	}
	for in := bufio.NewReader(os.Stdin); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			stay()
		}
		obey(strings.TrimSpace(line))
	}
}

// told is what a worker prints of its environment; its children do not.
var told = []string{pipeVar, "NOTIFY_SOCKET", "WATCHDOG_USEC", notifyPIDVar}

const childVar = "LEASH_TEST_CHILD"

func obey(line string) {
	what, rest, _ := strings.Cut(line, " ")
	switch what {
	case "say":
		if text, err := strconv.Unquote(`"` + rest + `"`); err != nil {
			fmt.Println(err)
		} else if err := tell(os.Getenv(pipeVar), text); err != nil {
			fmt.Println("not said:", err)
		} else {
			fmt.Println("said")
		}
	case "beat":
		go func() {
			for {
				tell(os.Getenv(pipeVar), "WATCHDOG=1")
				windows.SleepEx(20, false) // the interval of the beats, not a wait for an event
			}
		}()
	case "child":
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), roleVar+"=voice", childVar+"=1")
		child.Stdout = os.Stdout
		in, err := child.StdinPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(99)
		}
		fmt.Fprintln(in, rest)
	case "exit":
		status, _ := strconv.Atoi(rest)
		os.Exit(status)
	case "heed":
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, os.Interrupt)
		go func() {
			<-asked
			obey("exit " + rest)
		}()
		fmt.Println("heeds")
	}
}

var waitNamedPipe = windows.NewLazySystemDLL("kernel32.dll").NewProc("WaitNamedPipeW")

// tell sends one message by a connection of its own.
func tell(pipe, text string) error {
	name, err := windows.UTF16PtrFromString(pipe)
	if err != nil {
		return err
	}
	for {
		h, err := windows.CreateFile(name, windows.GENERIC_WRITE, 0, nil, windows.OPEN_EXISTING, 0, 0)
		if err == windows.ERROR_PIPE_BUSY {
			waitNamedPipe.Call(uintptr(unsafe.Pointer(name)), uintptr(testkit.Patience.Milliseconds()))
			continue
		}
		if err != nil {
			return err
		}
		defer windows.CloseHandle(h)
		var n uint32
		return windows.WriteFile(h, []byte(text), &n, nil)
	}
}

// voiced is a watchdog with a voice as its worker.
type voiced struct {
	*testkit.Proc
	t      *testing.T
	in     io.Writer
	worker testkit.Ident
	pipe   string
	flags  string
	env    map[string]string
}

func runVoice(t *testing.T, flags string) *voiced {
	t.Helper()
	v := startVoice(t, voiceCommand(t, flags))
	v.flags = flags
	return v
}

func voiceCommand(t *testing.T, flags string) *exec.Cmd {
	t.Helper()
	args := append([]string{"run", "--heartbeat", "notify", "--grace", "100ms"}, strings.Fields(flags)...)
	return watchdogCommand(t, "voice", append(args, "--", os.Args[0])...)
}

func startVoice(t *testing.T, cmd *exec.Cmd) *voiced {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	v := &voiced{Proc: testkit.Start(t, cmd), t: t, in: in}
	v.meet()
	return v
}

// meet waits for the next worker.
func (v *voiced) meet() {
	v.t.Helper()
	v.worker = awaitPIDs(v.t, v.Stdout, 1)[0]
	v.env = make(map[string]string)
	for _, name := range told {
		v.env[name] = v.Stdout.Await(name + "=")
	}
	v.pipe = v.env[pipeVar]
}

func (v *voiced) tell(line string) { fmt.Fprintln(v.in, line) }

func (v *voiced) say(text string) {
	v.t.Helper()
	v.sayLast(text)
	v.Stdout.Await("said")
}

// sayLast does not wait for the answer: the worker may be ended because of the message before
// it can print one.
func (v *voiced) sayLast(text string) { v.tell("say " + strings.Trim(strconv.Quote(text), `"`)) }

// hasty is a watchdog that soon misses beats: once they count, the worker
// may be ended at any moment.
const hasty = "--heartbeat-interval 100ms --heartbeat-timeout 300ms"

// hangs runs a worker that hangs, and waits until its watchdog has ended it: all other
// watchdogs with the same flags have had as much time.
func hangs(t *testing.T, flags string) {
	t.Helper()
	v := runVoice(t, flags)
	v.sayLast("READY=1")
	if status := v.Wait(); status != hung {
		t.Errorf("the hung worker: status %d", status)
	}
}

const hung = 124

func (v *voiced) endsHung(reason string) {
	v.t.Helper()
	if e := v.Stderr.AwaitEvent("heartbeat.timeout"); e.Str("reason") != reason {
		v.t.Error(e)
	}
	if status := v.Wait(); status != hung {
		v.t.Errorf("status %d", status)
	}
	testkit.AwaitGone(v.t, v.worker)
}

// livesOn ends the worker after hung workers would have been noticed, and checks that it was
// not ended before.
func (v *voiced) livesOn() {
	v.t.Helper()
	v.livesOnAs(7)
}

// livesOnAs also gives the status with which it ends.
func (v *voiced) livesOnAs(last int) {
	v.t.Helper()
	before := len(v.Stderr.Events())
	hangs(v.t, v.flags)
	testkit.StillAlive(v.t, v.worker)
	for _, e := range v.Stderr.Events()[before:] {
		if e.Name() == "heartbeat.timeout" {
			v.t.Error(e)
		}
	}
	v.tell("exit " + strconv.Itoa(last))
	if status := v.Wait(); status != last {
		v.t.Errorf("status %d", status)
	}
}

// detached starts it without a console, so that the worker gets one of its own.
var detached = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"

	"leash/internal/testkit"
)

// voice is a worker that does what it reads, line by line:
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

// told is what a worker knows by its environment, and prints; its children do not.
var told = []string{pipeVar, "NOTIFY_SOCKET", "WATCHDOG_USEC", heardBy}

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
				windows.SleepEx(20, false) // what it does, not what it waits for
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

// voiced is a watchdog whose worker is a voice.
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
	v.worker = printed(v.t, v.Stdout, 1)[0]
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

// sayLast does not wait until it is said: for what is said the worker may be
// ended before he can tell.
func (v *voiced) sayLast(text string) { v.tell("say " + strings.Trim(strconv.Quote(text), `"`)) }

// hasty is a watchdog that soon takes silence for a hang: once he counts, the worker
// may be ended at any moment.
const hasty = "--heartbeat-interval 100ms --heartbeat-timeout 300ms"

// hangs has a worker hang from now on, and waits until that is known: so long
// has everybody else with the same flags had time too.
func hangs(t *testing.T, flags string) {
	t.Helper()
	v := runVoice(t, flags)
	v.sayLast("READY=1")
	if status := v.Wait(); status != hung {
		t.Errorf("the one who hangs: status %d", status)
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

// livesOn is told after others had the time to be found hung.
func (v *voiced) livesOn() {
	v.t.Helper()
	v.livesOnAs(7)
}

// livesOnAs also says with which status it ends at last.
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

// detached is without a console, so that the worker gets one of its own.
var detached = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}

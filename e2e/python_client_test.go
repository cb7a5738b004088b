//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/http"
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

// pythons lists the interpreters that the client is for: the system's and,
// if pyenv has more, those.
func pythons(t *testing.T) []string {
	t.Helper()
	found := []string{testkit.NeedPython(t)}
	home, _ := os.UserHomeDir()
	for _, minor := range []string{"8", "9", "10", "11", "12", "13"} {
		more, err := filepath.Glob(filepath.Join(home, ".pyenv/versions/3."+minor+".*/bin/python3"))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, more...)
	}
	return found
}

// The client's own tests, with each Python that is there.
func TestPythonClient(t *testing.T) {
	for _, python := range pythons(t) {
		t.Run(python, func(t *testing.T) {
			cmd := exec.Command(python, "-X", "dev", "-m", "unittest", "discover", "-v", "-s", "tests", "-t", "tests")
			cmd.Dir = filepath.Join(testkit.Root(t), "clients", "python")
			cmd.Env = clientEnv(t)
			p := testkit.Start(t, cmd)
			select { // these are many tests, with a patience of their own
			case <-p.Done():
			case <-time.After(5 * testkit.Patience):
			}
			status, out, text := p.Wait(), p.Stdout.AwaitEnd(), p.Stderr.AwaitEnd()
			if status != 0 || !strings.Contains(text, "\nOK") || !strings.Contains(text, "test_stuck_in_every_way") {
				t.Errorf("status %d\n%s\n%s", status, out, text)
			}
			t.Log(strings.ReplaceAll(out, "\n", "; "))
		})
	}
}

func clientEnv(t *testing.T) []string {
	t.Helper()
	path := filepath.Join(testkit.Root(t), "clients", "python")
	return append(os.Environ(), "PYTHONPATH="+path, "PYTHONDONTWRITEBYTECODE=1")
}

// snakepit starts a shell that starts the worker behind the command that is
// given, and waits until the worker answers.
func snakepit(t *testing.T, before []string, flags ...string) (parent *testkit.Proc, worker testkit.Ident, port int) {
	t.Helper()
	python := testkit.NeedPython(t, "grpc")
	args := append([]string{"-c", `"$@" & wait`, "parent"}, before...)
	args = append(append(args, python, peer(t, "snakepit_worker.py")), flags...)
	cmd := exec.Command("sh", args...)
	cmd.Env = clientEnv(t)
	parent = testkit.Start(t, cmd)
	s := &scene{t: t, parent: parent}
	worker = s.identify(parent.Stdout.Await("PID worker "))
	testkit.Adopt(t, worker)
	testkit.Adopt(t, testkit.Descendants(t, parent.PID)...)
	port = s.number(parent.Stdout.Await("GRPC_READY:"))
	if got, err := echo(port, "hello"); err != nil || got != "hello" {
		t.Fatalf("call gives %q, %v", got, err)
	}
	return parent, worker, port
}

// Without any watchdog the client alone ends the worker, drained.
func TestSnakepitWorkerEndsWithItsParent(t *testing.T) {
	parent, worker, port := snakepit(t, nil, "--run-id", newRunID(), "--grace", "60")
	parent.Kill()
	testkit.AwaitGone(t, worker)
	portIsFree(t, port)
	parent.Stdout.Await("DRAINED")
}

// The control: without the client's guard it stays.
func TestSnakepitWorkerWithoutGuardStays(t *testing.T) {
	parent, worker, port := snakepit(t, nil, "--no-guard")
	parent.Kill()
	parent.Wait()
	testkit.StillAlive(t, worker)
	if got, err := echo(port, "still here"); err != nil || got != "still here" {
		t.Errorf("call gives %q, %v", got, err)
	}
}

// Whoever is named by --parent-pid counts, and nobody else.
func TestSnakepitWorkerOfANamedParent(t *testing.T) {
	named := testkit.Start(t, exec.Command("sleep", "1000000"))
	parent, worker, port := snakepit(t, nil, "--parent-pid", itoa(named.PID), "--snakepit-run-id", newRunID())
	parent.Kill()
	parent.Wait()
	if got, err := echo(port, "still here"); err != nil || got != "still here" {
		t.Errorf("call gives %q, %v", got, err)
	}
	named.Kill()
	testkit.AwaitGone(t, worker)
	portIsFree(t, port)
}

// A deaf worker, its loop blocked: the client's grace ends it.
func TestSnakepitWorkerThatHangsAndIsDeaf(t *testing.T) {
	parent, worker, port := snakepit(t, nil, "--grace", "0.2", "--deaf")
	go func() { _ = hang(port) }() // ends with the worker
	parent.Stdout.Await("HANGING")
	parent.Kill()
	testkit.AwaitGone(t, worker)
	portIsFree(t, port)
}

// hang makes the call that never returns.
func hang(port int) error {
	req, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/leash.Peer/Hang", port),
		strings.NewReader("\x00\x00\x00\x00\x00"))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := client.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// The second line: under run the client watches the real parent, the one
// behind the watchdog, and ends its worker while the watchdog is stopped.
func TestSnakepitWorkerWhoseWatchdogIsStopped(t *testing.T) {
	parent, worker, port := snakepit(t, []string{testkit.Watchdog(t), "run", "--log-format", "json", "--"}, "--own-group")
	started := parent.Stderr.AwaitEvent("watchdog.started")
	if got := started.Int("process.pid"); got != worker.PID {
		t.Fatalf("the watchdog guards %d, not %v", got, worker)
	}
	all := testkit.Descendants(t, parent.PID)
	i := slices.IndexFunc(all, func(id testkit.Ident) bool { return id != worker })
	watchdog := all[i]
	if err := watchdog.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	parent.Kill()
	testkit.AwaitGone(t, worker)
	portIsFree(t, port)
	_ = watchdog.Signal(unix.SIGCONT) // unless the parent's death woke it: it may be gone
	testkit.AwaitGone(t, watchdog)
}

// What the worker says to a NOTIFY_SOCKET, as its watchdog would hear it.
func TestSnakepitWorkerBeatsFromItsLoop(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := socket.SetReadDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	parent, worker, port := snakepit(t, []string{"env", "NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=1500000"}) // a queue of 10 holds 5 s of it
	messages := make(chan string, 1000)
	go receive(socket, messages)
	beats, ready := 0, 0
	for beats < 3 || ready < 1 {
		switch message := <-messages; {
		case message == "":
			t.Fatalf("only %d beats and %d times ready", beats, ready)
		case message == "WATCHDOG=1":
			beats++
		case strings.HasPrefix(message, "READY=1\nSTATUS=serving on port "+itoa(port)):
			ready++
		default:
			t.Errorf("message %q", message)
		}
	}
	parent.Kill()
	testkit.AwaitGone(t, worker)
	for message := range messages {
		if message == "STOPPING=1" {
			return
		}
	}
	t.Error("it never said that it was stopping")
}

// receive hands on what comes until the socket is closed.
func receive(socket *net.UnixConn, messages chan<- string) {
	defer close(messages)
	buffer := make([]byte, 4096)
	for {
		n, err := socket.Read(buffer)
		if err != nil {
			return
		}
		messages <- string(buffer[:n])
	}
}

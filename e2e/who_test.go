//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// holders is what who prints with --json.
type holders struct {
	Holders []struct {
		PID     int
		UID     uint32
		User    string
		AgeMS   *int64 `json:"age_ms"`
		Argv    []string
		RunID   *string `json:"run_id"`
		State   *string
		Action  string
		Reason  string
		Targets []string
	}
	Unseen []struct{ Target string }
}

// serve starts a process that listens on a port of TCP and one of UDP, with these entries in
// its environment.
func (u user) serve(t *testing.T, entries ...string) (p *testkit.Proc, tcp, udp string) {
	t.Helper()
	const program = `import signal, socket
t = socket.create_server(("127.0.0.1", 0)); u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 0))
print("TCP", t.getsockname()[1], flush=True); print("UDP", u.getsockname()[1], flush=True); signal.pause()`
	cmd := u.as(exec.Command(testkit.NeedPython(t), "-c", program))
	cmd.Env = append(cmd.Env, entries...)
	p = testkit.Start(t, cmd)
	return p, p.Stdout.Await("TCP "), p.Stdout.Await("UDP ")
}

func (u user) who(t *testing.T, want int, args ...string) (h holders) {
	t.Helper()
	cmd := u.as(exec.Command(testkit.Reaper(t), append([]string{"who", "--json"}, args...)...))
	status, stdout, stderr := testkit.Run(t, cmd)
	if status != want || json.Unmarshal([]byte(stdout), &h) != nil {
		t.Errorf("who %q: status %d, want %d: %s %s", args, status, want, stdout, stderr)
	}
	return h
}

func (h holders) pids() (pids []int) {
	for _, one := range h.Holders {
		pids = append(pids, one.PID)
	}
	slices.Sort(pids)
	return pids
}

// Who holds a port, whose run it is, and what reap would do with it; --end ends only what reap
// would end.
func TestReaperWho(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		dead, living := newRunID(), newRunID()
		owner := sleeper(t)
		orphan, tcp, udp := root().serve(t, "LEASH_RUN_ID="+dead, "LEASH_RUN_OWNER="+deadOwner(t))
		member, tcp2, _ := root().serve(t, "LEASH_RUN_ID="+living, "LEASH_RUN_OWNER="+ownerOf(t, owner.Ident))
		stranger, tcp3, _ := root().serve(t)

		for _, target := range []string{":" + tcp, "tcp:" + tcp, "udp:" + udp, itoa(orphan.PID)} {
			h := root().who(t, 0, target)
			if len(h.Holders) != 1 {
				t.Fatalf("%s: %+v", target, h)
			}
			one := h.Holders[0]
			if one.PID != orphan.PID || one.Action != "would_terminate" || one.State == nil || *one.State != "dead" ||
				one.RunID == nil || *one.RunID != dead || one.User != "root" || one.AgeMS == nil || len(one.Argv) < 2 || one.Reason == "" {
				t.Errorf("%s: %+v", target, one)
			}
		}
		for port, want := range map[string]struct {
			pid          int
			state, words string
		}{tcp: {orphan.PID, "dead", "reaper who :" + tcp + " --end"}, tcp2: {member.PID, "alive", "reaper --run-id " + living},
			tcp3: {stranger.PID, "", "kill " + itoa(stranger.PID)}} {
			h := root().who(t, 0, ":"+port)
			if !slices.Equal(h.pids(), []int{want.pid}) || (want.state == "") != (h.Holders[0].State == nil) {
				t.Errorf("%s: %+v", port, h)
			}
			status, text, _ := testkit.Run(t, reaper(t, "who", ":"+port))
			if status != 0 || !strings.Contains(text, "to end it: "+want.words) || !strings.Contains(text, "is held by process "+itoa(want.pid)) {
				t.Errorf("%s: %d %s", port, status, text)
			}
		}
		root().who(t, 1, "udp:"+tcp)
		if h := root().who(t, 0, "udp:"+tcp, ":"+tcp3); !slices.Equal(h.pids(), []int{stranger.PID}) {
			t.Errorf("of two targets one is held: %+v", h)
		}

		h := root().who(t, 1, "--end", ":"+tcp, ":"+tcp2, ":"+tcp3)
		actions := map[int]string{}
		for _, one := range h.Holders {
			actions[one.PID] = one.Action
		}
		if actions[orphan.PID] != "terminated" || actions[member.PID] != "none" || actions[stranger.PID] != "none" {
			t.Errorf("%+v", h)
		}
		testkit.AwaitGone(t, orphan.Ident)
		testkit.StillAlive(t, member.Ident, stranger.Ident)
		root().who(t, 1, ":"+tcp)
		root().who(t, 0, "--end", ":"+tcp)
	})
}

// Only holders are ended, not the rest of their run; and each of them, also a child that has
// the port by inheritance.
func TestReaperWhoEndsHoldersOnly(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		run := []string{"LEASH_RUN_ID=" + newRunID(), "LEASH_RUN_OWNER=" + deadOwner(t)}
		holder, tcp, _ := root().serve(t, run...)
		other := root().labelled(t, run...)
		root().who(t, 0, "--end", ":"+tcp)
		testkit.AwaitGone(t, holder.Ident)
		testkit.StillAlive(t, other.Ident)
		file := filepath.Join(t.TempDir(), "a, file")
		cmd := root().as(exec.Command("sh", "-c", `trap "" TERM; exec 3>"$1"; echo ready; sleep 1000000 & wait`, "sh", file))
		cmd.Env = append(cmd.Env, run...)
		p := testkit.Start(t, cmd)
		p.Stdout.Await("ready")
		h := root().who(t, 0, "--end", file)
		if len(h.Holders) == 0 || h.Holders[0].Action != "killed" && h.Holders[0].Action != "terminated" {
			t.Errorf("%+v", h)
		}
		testkit.AwaitGone(t, p.Ident)
		testkit.StillAlive(t, other.Ident)
	})
}

// An ordinary user is told that there is a holder that it may not see.
func TestReaperWhoAsAUser(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		a := ordinary(t, alice)
		_, tcp, _ := root().serve(t)
		mine, own, _ := a.serve(t)
		h := a.who(t, 0, ":"+tcp)
		if len(h.Holders) != 0 || len(h.Unseen) != 1 {
			t.Errorf("%+v", h)
		}
		a.who(t, 1, "--end", ":"+tcp)
		if h := a.who(t, 0, ":"+own); !slices.Equal(h.pids(), []int{mine.PID}) || len(h.Unseen) > 0 {
			t.Errorf("%+v", h)
		}
		status, text, _ := testkit.Run(t, a.as(exec.Command(testkit.Reaper(t), "who", ":"+tcp)))
		if status != 0 || !strings.Contains(text, "as root it would see more") {
			t.Errorf("%d %s", status, text)
		}
	})
}

// A GPU is told by the device file that a process has open, here in a root of its own.
func TestReaperWhoHoldsAGPU(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		testkit.Need(t, "unshare")
		run := newRunID()
		const script = `mount -t tmpfs none /dev && : >/dev/nvidia7 && exec 3</dev/nvidia7 && echo ready && exec sleep 1000000`
		cmd := root().as(exec.Command("unshare", "--mount", "sh", "-c", script))
		cmd.Env = append(cmd.Env, "LEASH_RUN_ID="+run, "LEASH_RUN_OWNER="+deadOwner(t))
		p := testkit.Start(t, cmd)
		p.Stdout.Await("ready")
		if h := root().who(t, 0, "gpu:7"); !slices.Equal(h.pids(), []int{p.PID}) || h.Holders[0].Action != "would_terminate" {
			t.Errorf("%+v", h)
		}
		root().who(t, 1, "gpu:6")
		root().who(t, 1, "/dev/nvidia7") // it is not in our root
		status, text, _ := testkit.Run(t, reaper(t, "list"))
		if status != 0 || !strings.Contains(text, "nvidia7") {
			t.Errorf("%d %s", status, text)
		}
		status, text, _ = testkit.Run(t, reaper(t, "list", "--json"))
		if status != 0 || !strings.Contains(text, `"gpus":["/dev/nvidia7"]`) || !strings.Contains(text, `"ports":[]`) {
			t.Errorf("%d %s", status, text)
		}
		root().who(t, 0, "--end", "gpu:7")
		testkit.AwaitGone(t, p.Ident)
	})
}

// Wrong targets are told in one line.
func TestReaperWhoIsCalledWrongly(t *testing.T) {
	dir := stateDir(t)
	for target, says := range map[string]string{
		":0": "1 to 65535", ":70000": "1 to 65535", ":http": "number of a port", ":": "number of a port", "tcp:": "number of a port",
		"udp:-1": "1 to 65535", "gpu:x": "number of a GPU", "gpu:-1": "number of a GPU", "foo:1": `"foo:" is not known`, "": "empty",
		"0": "above 0", "010": "whole number", "99999999": "highest",
	} {
		badCall(t, reaper(t, "who", target), says)
		badCall(t, reaper(t, "who", ":1", target, "--end"), says)
	}
	badCall(t, reaper(t, "who"), "name what is held")
	for _, target := range []string{"/no/such/file", "./foo:1", "nothing", "/etc/passwd/x"} {
		status, stdout, stderr := testkit.Run(t, inDir(reaper(t, "who", target), dir))
		if status != 1 || stdout != "nobody holds "+target || stderr != "" {
			t.Errorf("%s: %d %q %q", target, status, stdout, stderr)
		}
	}
	p := testkit.Start(t, exec.Command("true"))
	p.Wait()
	if status, _, _ := testkit.Run(t, reaper(t, "who", itoa(p.PID))); status != 1 {
		t.Errorf("a PID that is gone: status %d", status)
	}
	if status, _, _ := testkit.Run(t, reaper(t, "who", itoa(os.Getpid()))); status != 0 {
		t.Errorf("this process: status %d", status)
	}
}

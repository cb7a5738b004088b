//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"leash/internal/testkit"
)

// unitsFor copies the systemd units to a folder, with the program that they
// start in the place of the installed one.
func unitsFor(t *testing.T, program string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"leash-reaper.service", "user/leash-reaper.service"} {
		text := bootFile(t, name)
		start := regexp.MustCompile(`(?m)^ExecStart=.*/reaper$`)
		if len(start.FindAllString(text, -1)) != 1 {
			t.Fatalf("%s does not start the reaper once:\n%s", name, text)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, start.ReplaceAllLiteralString(text, "ExecStart="+program), 0o644)
	}
	return dir
}

func bootFile(t *testing.T, name string) string {
	t.Helper()
	text := readFile(t, filepath.Join(testkit.Root(t), "boot", name))
	return string(text)
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// systemd understands every line of the units.
func TestUnitsVerify(t *testing.T) {
	testkit.Need(t, "systemd-analyze")
	dir := unitsFor(t, testkit.Reaper(t))
	for _, args := range [][]string{
		{"verify", filepath.Join(dir, "leash-reaper.service")},
		{"--user", "verify", filepath.Join(dir, "user", "leash-reaper.service")},
	} {
		status, stdout, stderr := testkit.Run(t, analyze(t, args...))
		if status != 0 || stdout+stderr != "" {
			t.Errorf("systemd-analyze %q: status %d\n%s%s", args, status, stdout, stderr)
		}
	}
	broken := filepath.Join(dir, "broken.service")
	writeFile(t, broken, "[Service]\nType=oneshot\nExecStart=/bin/true\nProtectProk=yes\n", 0o644)
	if _, stdout, stderr := testkit.Run(t, analyze(t, "verify", broken)); !strings.Contains(stdout+stderr, "ProtectProk") {
		t.Errorf("systemd-analyze does not notice a misspelled line: %s%s", stdout, stderr)
	}
}

func analyze(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.Command("systemd-analyze", args...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
	return cmd
}

// What is not shut off is what a reaper needs. 100 would be nothing shut off.
func TestUnitIsHardened(t *testing.T) {
	testkit.Need(t, "systemd-analyze")
	unit := filepath.Join(unitsFor(t, testkit.Reaper(t)), "leash-reaper.service")
	for threshold, want := range map[string]int{"22": 0, "10": 1} {
		status, stdout, _ := testkit.Run(t, analyze(t, "security", "--offline=true", "--threshold="+threshold, unit))
		if status != want {
			t.Errorf("threshold %s: status %d, want %d\n%s", threshold, status, want, stdout)
		}
	}
}

// bootScript becomes systemd as PID 1 of namespaces of its own, among four
// orphans: of root and of another user, each with labels, and known only by the
// record of a killed watchdog. $1 is a folder with the unit and for its output, $2
// the watchdog.
const bootScript = `set -eu
mount --make-rprivate /
mount --bind "$1" "$1"
mount --bind /tmp /tmp # systemd makes the private /dev of a unit there
mount -o remount,bind,ro /
mount -t proc proc /proc
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mount --make-rshared /
mkdir -p /run/systemd/system /run/user/65534/leash
chmod 700 /run/user/65534 /run/user/65534/leash
chown -R 65534:65534 /run/user/65534
cp "$1"/leash-reaper.service /run/systemd/system/
cp "$2" /run/watchdog
mkfifo -m 666 /run/said
exec 3<>/run/said

nobody() { exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
up='echo up >/run/said; exec sleep 1000000'
sleep 1000000 & parent=$!
label="LEASH_RUN_ID=bootrun LEASH_RUN_OWNER=$parent:1:$(cat /proc/sys/kernel/random/boot_id):$(readlink /proc/self/ns/pid | tr -dc 0-9)"
labelled() {
	"$@" env $label setsid sh -c "$up" &
	read -r line <&3
}
recorded() {
	run=$1 dir=$2
	shift 2
	"$@" env -i setsid sh -c "$up" & worker=$!
	read -r line <&3
	"$@" env -i XDG_RUNTIME_DIR=$dir /run/watchdog guard --worker-pid $worker --parent-pid $parent --run-id $run 2>/run/said &
	watchdogs="$watchdogs $!"
	until case $line in *watchdog.started*) ;; *) false ;; esac; do read -r line <&3; done
}
watchdogs=
labelled env
labelled nobody
recorded record0 '' env
recorded record1 /run/user/65534 nobody
ls /run/leash/*.worker /run/user/65534/leash/*.worker >/dev/null
kill -KILL $watchdogs $parent
wait $watchdogs $parent || :
exec 3<&-
exec env -i container=leash PATH="$PATH" "$3" --system --unit=leash-reaper.service --log-target=console --log-level=err --show-status=no
`

// atBoot makes a unit one that systemd needs nothing else for, and ends with.
const atBoot = `
[Unit]
DefaultDependencies=no
SuccessAction=exit-force
FailureAction=exit-force
[Service]
ExecStopPost=/bin/sh -c 'cat /run/leash/*.worker /run/user/65534/leash/*.worker 2>/dev/null || :'
`

// The unit as a real systemd runs it: with all that is shut off, the reaper ends
// what it has to, of every user, and removes the record. With one capability
// less it does not, so each is needed.
func TestUnitReapsAtBoot(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.Need(t, "/lib/systemd/systemd", "unshare", "setpriv", "mount")
	for _, c := range []struct {
		name, without string
		ended         int
	}{
		{"as it is", "", 4},
		{"without CAP_KILL", "CAP_KILL ", 2},
		{"without CAP_SYS_PTRACE", "CAP_SYS_PTRACE ", 2},
		{"without CAP_DAC_OVERRIDE", " CAP_DAC_OVERRIDE", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			report, records, events := bootWith(t, c.without)
			if got := report.Terminated + report.Killed; got != c.ended {
				t.Errorf("%d processes ended, want %d: %+v", got, c.ended, report)
			}
			// Warnings are of records that could not be read or removed. Without
			// PTRACE none is needed: no environment of others is seen at all.
			clean := records == "" && !strings.Contains(events, "reaper.warning") && report.Survived == 0
			if clean != (c.without == "") && !strings.Contains(c.without, "PTRACE") {
				t.Errorf("%d survived, the records are %q, and the reaper says:\n%s", report.Survived, records, events)
			}
		})
	}
}

type bootReport struct{ Terminated, Killed, Survived, Skipped int }

// bootWith runs the unit, less a piece of its text, and returns what the reaper
// reports, the records that are left (as far as such a unit may see them) and
// the reaper's events.
func bootWith(t *testing.T, without string) (report bootReport, records, events string) {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "report")
	text := readFile(t, filepath.Join(unitsFor(t, testkit.Reaper(t)+" --json"), "leash-reaper.service"))
	if !strings.Contains(string(text), without) {
		t.Fatalf("the unit has no %q", without)
	}
	unit := strings.Replace(string(text), without, "", 1) + atBoot + "StandardOutput=append:" + out + "\nStandardError=append:" + out + ".events\n"
	writeFile(t, filepath.Join(dir, "leash-reaper.service"), unit, 0o644)

	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--net", "--cgroup",
		"sh", "-c", bootScript, "sh", dir, testkit.Watchdog(t), "/lib/systemd/systemd")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, UseCgroupFD: true, CgroupFD: newCgroup(t)}
	if status, stdout, stderr := testkit.Run(t, cmd); status != 0 && status != 1 {
		t.Fatalf("status %d\n%s%s", status, stdout, stderr)
	}
	said := readFile(t, out+".events")
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := json.NewDecoder(f)
	if err := in.Decode(&report); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(io.MultiReader(in.Buffered(), f))
	if err != nil {
		t.Fatal(err)
	}
	return report, strings.TrimSpace(string(rest)), string(said)
}

// newCgroup makes a cgroup below our own, for a systemd that makes more below
// it, and opens it.
func newCgroup(t *testing.T) (fd int) {
	t.Helper()
	mounts := readFile(t, "/proc/self/mounts")
	m := regexp.MustCompile(`(?m)^\S+ (\S+) cgroup2 `).FindStringSubmatch(string(mounts))
	own := readFile(t, "/proc/self/cgroup")
	path := regexp.MustCompile(`(?m)^0::(.*)$`).FindStringSubmatch(string(own))
	if m == nil || path == nil {
		testkit.Skip(t, "this test needs cgroups v2")
	}
	dir, err := os.MkdirTemp(filepath.Join(m[1], path[1]), "leash-boot-")
	if err != nil {
		testkit.Skip(t, "this test needs to make a cgroup: "+err.Error())
	}
	t.Cleanup(func() {
		var dirs []string
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		slices.Reverse(dirs)
		for _, d := range dirs {
			if err := os.Remove(d); err != nil {
				t.Error(err)
			}
		}
	})
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

// Files that nothing on this system runs are at least well-formed.
func TestConfigurationIsWellFormed(t *testing.T) {
	python := testkit.NeedPython(t, "yaml") // package python3-yaml
	for name, parse := range map[string]string{
		"boot/leash.reaper.plist":  "import plistlib; plistlib.load(f)",
		"boot/leash-reaper.xml":    "import xml.etree.ElementTree; xml.etree.ElementTree.parse(f)",
		".github/workflows/ci.yml": "import yaml; yaml.safe_load(f)",
	} {
		code := "import sys; f = open(sys.argv[1], 'rb'); " + parse
		status, stdout, stderr := testkit.Run(t, exec.Command(python, "-c", code, filepath.Join(testkit.Root(t), name)))
		if status != 0 {
			t.Errorf("expected %s to be well-formed, but Python says:\n%s%s", name, stdout, stderr)
		}
	}
}

// snakepitNode is a node that opens a port to each worker and calls the script
// beside it in one of three ways: elixir FILE SCRIPT WATCHDOG PYTHON WORKER
// RUN_ID SPEC... as the scene starts it. The mode says how.
const snakepitNode = `
[script, _watchdog, python, server, run_id | specs] = System.argv()
IO.puts("PARENT #{System.pid()}")

os_pid = fn port ->
  {:os_pid, pid} = Port.info(port, :os_pid)
  Integer.to_string(pid)
end

ports =
  for spec <- specs do
    [mode, id | flags] = String.split(spec, ",")
    args = [server, "--port", "0", "--run-id", run_id | flags]
    port = Port.open({:spawn_executable, python}, [:binary, :exit_status, line: 4096, args: args])
    args = [System.pid(), os_pid.(port), id]

    case mode do
      "script" -> Port.open({:spawn_executable, script}, [:binary, :exit_status, args: args])
      "sh" -> Port.open({:spawn_executable, "/bin/sh"}, [:binary, :exit_status, args: [script | args]])
      # This comes back when the watchdog ends.
      "cmd" -> spawn(fn -> System.cmd(script, args) end) && nil
    end
    |> case do
      nil -> %{port => id}
      watchdog ->
        IO.puts("#{id} PID watchdog #{os_pid.(watchdog)}")
        %{port => id, watchdog => id <> " WATCHDOG"}
    end
  end
  |> Enum.reduce(%{}, &Map.merge/2)

loop = fn loop ->
  receive do
    {port, {:data, {_, line}}} -> IO.puts("#{ports[port]} #{line}")
    {port, {:exit_status, status}} -> IO.puts("#{ports[port]} EXIT #{status}")
  end

  loop.(loop)
end

loop.(loop)
`

// node is that node, with the script to call.
func node(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	testkit.Need(t, "elixir", "erl")
	file := filepath.Join(t.TempDir(), "snakepit.exs")
	writeFile(t, file, snakepitNode, 0o644)
	return exec.Command("elixir", file, script)
}

// script is watchdog.sh as a project would have it: a link in a folder of its
// own, to a copy in another folder that has a bin with the program beside it.
func script(t *testing.T) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "with a space")
	copyScript(t, filepath.Join(tree, "scripts"))
	link(t, testkit.Watchdog(t), filepath.Join(tree, "bin", "watchdog"))
	own := filepath.Join(tree, "priv", "scripts", "watchdog.sh")
	link(t, "../../scripts/watchdog.sh", own)
	return own
}

// copyScript puts watchdog.sh into a folder.
func copyScript(t *testing.T, dir string) string {
	t.Helper()
	text := readFile(t, filepath.Join(testkit.Root(t), "scripts", "watchdog.sh"))
	return writeProgram(t, filepath.Join(dir, "watchdog.sh"), string(text))
}

func writeProgram(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, text, 0o755)
	return path
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

// The node is killed; nothing of its workers is left.
func TestScriptBesideABEAM(t *testing.T) {
	t.Setenv("WATCHDOG_GRACE_PERIOD", "2.5")
	t.Setenv("WATCHDOG_CHECK_INTERVAL", "0.5")
	children := []string{"--child", "subprocess", "--child", "multiprocessing"}
	s := start(t, node(t, script(t)), []spec{
		{mode: "script", id: "w00", flags: children},
		{mode: "sh", id: "w01", flags: append(children, "--deaf")},
	})
	at := s.kill()
	s.awaitNothing()
	s.checkDeaths(at)
	// The grace is the variable's: the scene sets LEASH_GRACE to one second.
	for _, ev := range named(s.parent.Stderr, "process.cleanup_completed") {
		if ms := ev.Int("cleanup_duration_ms"); ev.Str("leash.worker_id") == "w01" && ms < 2500 {
			t.Errorf("expected the worker that ignores TERM to be killed after 2.5 s or more, but it took %d ms", ms)
		}
	}
}

// System.cmd waits for the end of the watchdog, in a process of its own here.
func TestScriptBySystemCmd(t *testing.T) {
	p := testkit.Start(t, nodeAlone(t, script(t), testkit.Watchdog(t), "cmd"))
	worker := identOf(t, p.Stdout, "w00 PID worker")
	child := identOf(t, p.Stdout, "w00 PID subprocess")
	p.Stderr.AwaitEvent("watchdog.started")
	testkit.StillAlive(t, worker, child)
	beam := identOf(t, p.Stdout, "PARENT")
	if err := beam.Signal(9); err != nil {
		t.Fatal(err)
	}
	testkit.AwaitGone(t, worker, child)
}

// nodeAlone is a node with one worker, outside of any scene.
func nodeAlone(t *testing.T, script, watchdog, mode string) *exec.Cmd {
	t.Helper()
	cmd := node(t, script)
	cmd.Args = append(cmd.Args, watchdog, testkit.NeedPython(t, "grpc"), peer(t, "grpc_worker.py"),
		newRunID(), mode+",w00,--child,subprocess")
	cmd.Env = append(os.Environ(), "LEASH_LOG_FORMAT=json", "LEASH_STATE_DIR="+stateDir(t), "HOME="+t.TempDir(),
		"PATH="+pathWithout(t), "ERL_CRASH_DUMP_SECONDS=0")
	return cmd
}

// pathWithout is the PATH less the folders that have a watchdog.
func pathWithout(t *testing.T) string {
	var dirs []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if found, _ := filepath.Glob(filepath.Join(dir, "watchdog*")); len(found) == 0 {
			dirs = append(dirs, dir)
		}
	}
	return strings.Join(dirs, ":")
}

// Without a program the node is told, and nothing happens to the worker.
func TestScriptWithoutProgram(t *testing.T) {
	alone := copyScript(t, filepath.Join(t.TempDir(), "alone"))
	p := testkit.Start(t, nodeAlone(t, alone, "no-watchdog", "script"))
	worker := identOf(t, p.Stdout, "w00 PID worker")
	child := identOf(t, p.Stdout, "w00 PID subprocess")
	var port int
	if _, err := fmt.Sscan(p.Stdout.Await("w00 GRPC_READY:"), &port); err != nil {
		t.Fatal(err)
	}
	if got := p.Stdout.Await("w00 WATCHDOG EXIT "); got != "125" {
		t.Errorf("status %s, want 125", got)
	}
	if got := p.Stderr.Await("watchdog.sh: "); !strings.Contains(got, "the worker is not guarded") {
		t.Errorf("it says %q", got)
	}
	if got, err := echo(port, "well"); err != nil || got != "well" {
		t.Errorf("the worker answers %q, %v", got, err)
	}
	testkit.StillAlive(t, worker, child)
}

// stub stands for the program: it prints its name and what it was given.
const stub = "#!/bin/sh\n" + `case ${1-} in --help) echo "Usage: guard --worker-pid"; exit ;; esac
printf '%s|' "pid=$$" "${0##*/tree/}" "$@"
exit 7
`

// shells are those that a script for sh has to do with.
func shells(t *testing.T) map[string][]string {
	testkit.Need(t, "dash", "bash", "busybox")
	return map[string][]string{"dash": {"dash"}, "bash": {"bash", "--posix"}, "busybox": {"busybox", "sh"}, "itself": nil}
}

// calling runs a script in a shell, with a PATH in which there is no watchdog
// but what is named.
func calling(t *testing.T, shell []string, script string, path string, args []string, env ...string) *exec.Cmd {
	line := slices.Concat(shell, []string{script}, args)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append([]string{"PATH=" + path + pathWithout(t), "HOME=" + t.TempDir()}, env...)
	return cmd
}

// The script becomes the program, with these arguments.
func TestScriptArguments(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "tree")
	own := copyScript(t, filepath.Join(tree, "a b"))
	writeProgram(t, filepath.Join(tree, "a b", "watchdog"), stub)
	for _, c := range []struct {
		args, env []string
		want      string
	}{
		{[]string{"12", "34"}, nil, "guard|--parent-pid=12|--worker-pid=34|"},
		{[]string{"12", "34", "w 1 *"}, nil, "guard|--parent-pid=12|--worker-pid=34|--worker-id=w 1 *|"},
		{[]string{"12", "34", ""}, []string{"WATCHDOG_GRACE_PERIOD="}, "guard|--parent-pid=12|--worker-pid=34|"},
		{[]string{"12", "34", "--x"}, []string{"WATCHDOG_GRACE_PERIOD=5", "WATCHDOG_CHECK_INTERVAL=.25"},
			"guard|--parent-pid=12|--worker-pid=34|--worker-id=--x|--grace=5s|--poll-interval=.25s|"},
	} {
		for name, shell := range shells(t) {
			p := testkit.Start(t, calling(t, shell, own, "", c.args, c.env...))
			status, said := p.Wait(), p.Stdout.AwaitEnd()
			if want := fmt.Sprintf("pid=%d|a b/watchdog|", p.PID) + c.want; status != 7 || said != want || p.Stderr.AwaitEnd() != "" {
				t.Errorf("%s: %q %q: status %d\n%q, want\n%q", name, c.args, c.env, status, said, want)
			}
		}
	}
}

// A wrong call: one line, which names what is wrong, 125, and nothing is run.
func TestScriptBadCalls(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "tree")
	own := copyScript(t, tree)
	writeProgram(t, filepath.Join(tree, "watchdog"), stub)
	for _, c := range []struct{ args, env, says string }{
		{"", "", "usage:"}, {"12", "", "usage:"}, {"1 2 3 4", "", "usage:"},
		{"x 34", "", "BEAM_PID"}, {"0 34", "", "BEAM_PID"}, {"-1 34", "", "BEAM_PID"}, {"0x12 34", "", "BEAM_PID"},
		{"12 --help", "", "PYTHON_PID"}, {"12 3.4", "", "PYTHON_PID"}, {"12 034", "", "PYTHON_PID"},
		{"12 34", "WATCHDOG_GRACE_PERIOD=soon", "WATCHDOG_GRACE_PERIOD"},
		{"12 34", "WATCHDOG_GRACE_PERIOD=-1", "WATCHDOG_GRACE_PERIOD"},
		{"12 34", "WATCHDOG_GRACE_PERIOD=.", "WATCHDOG_GRACE_PERIOD"},
		{"12 34", "WATCHDOG_CHECK_INTERVAL=1.2.3", "WATCHDOG_CHECK_INTERVAL"},
		{"12 34", "WATCHDOG_CHECK_INTERVAL=1s", "WATCHDOG_CHECK_INTERVAL"},
	} {
		for name, shell := range shells(t) {
			status, stdout, stderr := testkit.Run(t, calling(t, shell, own, "", strings.Fields(c.args), c.env))
			if status != 125 || stdout != "" || strings.Contains(stderr, "\n") || !strings.HasPrefix(stderr, "watchdog.sh: ") ||
				!strings.Contains(stderr, c.says) {
				t.Errorf("%s: %q %s: status %d, %q, %q; want 125 and %q", name, c.args, c.env, status, stdout, stderr, c.says)
			}
		}
	}
}

// Where the script searches for the program, and in which order.
func TestScriptFindsTheProgram(t *testing.T) {
	testkit.Need(t, "uname")
	arch := map[string]string{"x86_64": "amd64", "aarch64": "arm64"}
	_, machine, _ := testkit.Run(t, exec.Command("uname", "-m"))
	named := "watchdog-linux-" + arch[machine]
	// Each is there beside those after it, and wins.
	places := []string{
		"scripts/" + named, "scripts/watchdog", "bin/" + named, "bin/watchdog", "bin/cross/" + named,
		"libexec/bin/watchdog", "path/" + named, "path/watchdog", "home/.local/bin/watchdog",
	}
	for name, shell := range shells(t) {
		tree := filepath.Join(t.TempDir(), "tree")
		copyScript(t, filepath.Join(tree, "scripts"))
		link(t, "../scripts/watchdog.sh", filepath.Join(tree, "links", "second"))
		link(t, filepath.Join(tree, "links", "second"), filepath.Join(tree, "elsewhere", "first"))
		for _, place := range places {
			writeProgram(t, filepath.Join(tree, place), stub)
		}
		// Not ours, and before ours in PATH only where that one is gone.
		foreign := writeProgram(t, filepath.Join(tree, "foreign", "watchdog"), "#!/bin/sh\necho 'Usage: keeps the hardware awake'\n")
		for _, want := range append(places, "") {
			cmd := calling(t, shell, filepath.Join(tree, "elsewhere", "first"), filepath.Join(tree, "path")+":", []string{"12", "34"},
				"HOME="+filepath.Join(tree, "home"))
			status, stdout, stderr := testkit.Run(t, cmd)
			got := regexp.MustCompile(`^pid=\d+\|([^|]*)\|`).FindStringSubmatch(stdout)
			switch {
			case want == "" && (status != 125 || !strings.Contains(stderr, named)):
				t.Errorf("%s: nothing there: status %d, %q", name, status, stderr)
			case want != "" && (got == nil || filepath.Clean(got[1]) != want):
				t.Errorf("%s: %q was started, want %s\n%s", name, stdout, want, stderr)
			}
			if want == "path/watchdog" {
				os.Rename(foreign, filepath.Join(tree, want))
			} else if want != "" {
				os.Remove(filepath.Join(tree, want))
			}
		}
	}
}

func TestInstall(t *testing.T) {
	tree := t.TempDir()
	for _, name := range []string{"install.sh", "watchdog.sh"} {
		text := readFile(t, filepath.Join(testkit.Root(t), "scripts", name))
		writeProgram(t, filepath.Join(tree, "scripts", name), string(text))
	}
	installer := filepath.Join(tree, "scripts", "install.sh")
	for name, shell := range shells(t) {
		t.Run(name, func(t *testing.T) {
			home := filepath.Join(t.TempDir(), "my home")
			bin := filepath.Join(home, ".local", "bin")
			run := func(want int, args ...string) string {
				t.Helper()
				status, stdout, stderr := testkit.Run(t, calling(t, shell, installer, bin+":", args, "HOME="+home))
				if status != want {
					t.Fatalf("install.sh %q: status %d, want %d\n%s\n%s", args, status, want, stdout, stderr)
				}
				return stdout + stderr
			}
			from := filepath.Dir(testkit.Watchdog(t))
			testkit.Reaper(t)
			if got := run(1); !strings.Contains(got, "make") {
				t.Errorf("nothing built: %q", got)
			}
			if got := run(0, "--from", from); strings.Count(got, "installed  "+bin) != 3 || !strings.Contains(got, "is in PATH") {
				t.Errorf("first: %q", got)
			}
			if got := run(0, "--from="+from); strings.Count(got, "unchanged") != 3 {
				t.Errorf("again: %q", got)
			}
			for _, file := range []string{"watchdog", "reaper", "watchdog.sh"} {
				status, _, stderr := testkit.Run(t, exec.Command(filepath.Join(bin, file), "--help"))
				info, err := os.Stat(filepath.Join(bin, file))
				if err != nil || info.Mode() != 0o755 || status != 0 {
					t.Errorf("%s: %v %v, status %d, %q", file, info.Mode(), err, status, stderr)
				}
			}
			foreign := filepath.Join(home, "foreign")
			other := writeProgram(t, filepath.Join(foreign, "bin", "reaper"), "#!/bin/sh\necho the grim one\n")
			if got := run(1, "--from", from, "--prefix", foreign); !strings.Contains(got, "another program") {
				t.Errorf("over another's: %q", got)
			}
			if left, _ := filepath.Glob(filepath.Join(foreign, "bin", "*")); len(left) != 1 {
				t.Errorf("half an installation: %q", left)
			}
			run(0, "--prefix", foreign, "--uninstall")
			if _, err := os.Stat(other); err != nil {
				t.Error(err)
			}
			if got := run(0, "--uninstall"); strings.Count(got, "removed") != 3 {
				t.Errorf("uninstall: %q", got)
			}
			if left, _ := filepath.Glob(filepath.Join(bin, "*")); len(left) != 0 {
				t.Errorf("left: %q", left)
			}
			run(0, "--uninstall")
			run(2, "--prefix")
			run(2, "--bogus")
		})
	}
}

// What SHA256SUMS does not agree with is not installed.
func TestInstallChecksSums(t *testing.T) {
	testkit.Need(t, "sha256sum")
	from, prefix := t.TempDir(), t.TempDir()
	for _, program := range []string{testkit.Watchdog(t), testkit.Reaper(t)} {
		link(t, program, filepath.Join(from, filepath.Base(program)))
	}
	sums := exec.Command("sha256sum", "watchdog", "reaper")
	sums.Dir = from
	_, text, _ := testkit.Run(t, sums)
	install := func() (int, string) {
		cmd := exec.Command(filepath.Join(testkit.Root(t), "scripts", "install.sh"), "--from", from, "--prefix", prefix)
		status, stdout, stderr := testkit.Run(t, cmd)
		return status, stdout + stderr
	}
	writeFile(t, filepath.Join(from, "SHA256SUMS"), strings.Replace(text, "  reaper", "0  reaper", 1), 0o644)
	if status, said := install(); status != 1 || !strings.Contains(said, "SHA256SUMS") {
		t.Errorf("wrong sum: status %d, %q", status, said)
	}
	if left, _ := filepath.Glob(filepath.Join(prefix, "bin", "*")); len(left) != 0 {
		t.Errorf("installed: %q", left)
	}
	writeFile(t, filepath.Join(from, "SHA256SUMS"), text, 0o644)
	if status, said := install(); status != 0 {
		t.Errorf("right sums: status %d, %q", status, said)
	}
}

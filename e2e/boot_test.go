//go:build linux

package e2e

import (
	"encoding/json"
	"encoding/xml"
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
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), "boot", name))
	if err != nil {
		t.Fatal(err)
	}
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
ExecStopPost=/bin/sh -c 'cat /run/leash/* /run/user/65534/leash/* 2>/dev/null || :'
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
			// PTRACE none is needed: nobody's environment is seen at all.
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
	text, err := os.ReadFile(filepath.Join(unitsFor(t, testkit.Reaper(t)+" --json"), "leash-reaper.service"))
	if err != nil {
		t.Fatal(err)
	}
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
	said, err := os.ReadFile(out + ".events")
	if err != nil {
		t.Fatal(err)
	}
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
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^\S+ (\S+) cgroup2 `).FindStringSubmatch(string(mounts))
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
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

// Python knows property lists; its XML alone would be right with a key too many.
func TestPropertyListForLaunchd(t *testing.T) {
	python := testkit.NeedPython(t)
	cmd := exec.Command(python, "-c", "import json, plistlib, sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))")
	cmd.Stdin = strings.NewReader(bootFile(t, "leash.reaper.plist"))
	status, stdout, stderr := testkit.Run(t, cmd)
	var list map[string]any
	if status != 0 || json.Unmarshal([]byte(stdout), &list) != nil {
		t.Fatalf("status %d\n%s%s", status, stdout, stderr)
	}
	program, _ := list["ProgramArguments"].([]any)
	if list["Label"] != "leash.reaper" || list["RunAtLoad"] != true || list["KeepAlive"] != false ||
		len(program) != 1 || program[0] != "/usr/local/bin/reaper" {
		t.Errorf("%v", list)
	}
}

// What schtasks reads of the task. Unmarshal wants the namespace too.
type task struct {
	XMLName    xml.Name                `xml:"http://schemas.microsoft.com/windows/2004/02/mit/task Task"`
	Version    string                  `xml:"version,attr"`
	Logon      *struct{ Enabled bool } `xml:"Triggers>LogonTrigger"`
	Principals []struct {
		ID                string `xml:"id,attr"`
		GroupId, RunLevel string
	} `xml:"Principals>Principal"`
	Settings struct {
		Enabled                                     bool
		MultipleInstancesPolicy, ExecutionTimeLimit string
	}
	Actions struct {
		Context string `xml:"Context,attr"`
		Exec    []struct{ Command, Arguments string }
	}
}

func TestTaskForWindows(t *testing.T) {
	text := bootFile(t, "leash-reaper.xml")
	var x task
	if err := xml.Unmarshal([]byte(text), &x); err != nil {
		t.Fatal(err)
	}
	if x.Version != "1.2" || x.Logon == nil || !x.Logon.Enabled || !x.Settings.Enabled ||
		x.Settings.MultipleInstancesPolicy != "IgnoreNew" || x.Settings.ExecutionTimeLimit != "PT2M" {
		t.Errorf("%+v", x)
	}
	if len(x.Principals) != 1 || x.Principals[0].ID != x.Actions.Context ||
		x.Principals[0].RunLevel != "LeastPrivilege" || x.Principals[0].GroupId != "S-1-5-32-545" {
		t.Errorf("who runs it: %+v; the action is %q's", x.Principals, x.Actions.Context)
	}
	if len(x.Actions.Exec) != 1 || x.Actions.Exec[0].Command != `%LOCALAPPDATA%\Programs\leash\bin\reaper.exe` {
		t.Errorf("what runs: %+v", x.Actions.Exec)
	}
	// The order of the schema, and no encoding that schtasks would have undone.
	order := regexp.MustCompile(`(?m)^  <([A-Z]\w+)`).FindAllStringSubmatch(text[strings.Index(text, "-->"):], -1)
	var names []string
	for _, m := range order {
		names = append(names, m[1])
	}
	if want := []string{"RegistrationInfo", "Triggers", "Principals", "Settings", "Actions"}; !slices.Equal(names, want) {
		t.Errorf("elements %q, want %q", names, want)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r > 126 }); i >= 0 || !strings.HasPrefix(text, `<?xml version="1.0"?>`) {
		t.Errorf("not plain ASCII without an encoding")
	}
}

//go:build linux

package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"leash/internal/testkit"
)

// page is what metrics prints.
type page string

// metrics calls metrics, and lets promtool check what it prints.
func metrics(t *testing.T) page {
	t.Helper()
	status, stdout, stderr := testkit.Run(t, reaper(t, "metrics"))
	if status != 0 || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	testkit.Need(t, "promtool")
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader(stdout + "\n")
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v: %s", err, out)
	}
	return page(stdout)
}

// value is that of a series, -1 if it is absent.
func (p page) value(series string) float64 {
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(string(p))
	if m == nil {
		return -1
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return -2
	}
	return f
}

// awaitValue calls metrics until a series has a value.
func awaitValue(t *testing.T, series string, want float64) page {
	t.Helper()
	for end := time.Now().Add(testkit.Patience); ; {
		p := metrics(t)
		if p.value(series) == want {
			return p
		}
		if time.Now().After(end) {
			t.Fatalf("%s is %v, want %v in\n%s", series, p.value(series), want, p)
		}
	}
}

func TestMetrics(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := metrics(t)
		for _, state := range []string{"dead", "alive", "unclaimed"} {
			if got := p.value(`leash_processes{state="` + state + `"}`); got != 0 {
				t.Errorf("%s: %v", state, got)
			}
		}
		if p.value("leash_reap_last_timestamp_seconds") != -1 {
			t.Error("there was no reap yet")
		}
		orphan := root().labelled(t, "LEASH_RUN_ID="+newRunID(), "LEASH_RUN_OWNER="+deadOwner(t))
		p = metrics(t)
		if p.value(`leash_runs{state="dead"}`) != 1 || p.value(`leash_processes{state="dead"}`) != 1 || p.value(`leash_memory_bytes{state="dead"}`) < 1000 {
			t.Errorf("\n%s", p)
		}
		reap(t, "--dry-run")
		if metrics(t).value("leash_reap_last_timestamp_seconds") != -1 {
			t.Error("a dry run counts as a reap")
		}
		began := time.Now().Add(-time.Second)
		reap(t).expectEnded(t, orphan.Ident)
		p = metrics(t)
		if p.value(`leash_reap_last_processes{action="terminated"}`) != 1 || p.value(`leash_reap_last_processes{action="survived"}`) != 0 ||
			p.value("leash_reap_last_timestamp_seconds") < float64(began.Unix()) || p.value(`leash_processes{state="dead"}`) != 0 {
			t.Errorf("\n%s", p)
		}
	})
}

// What watchdogs count is in their records while their worker lives, and in the sums for ever.
func TestMetricsOfWatchdogs(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		py := testkit.NeedPython(t)
		file := filepath.Join(t.TempDir(), "lives")
		// The first life fails, the second hangs after a beat, the third lives on and beats once.
		const program = `import os, signal, socket, sys
with open(sys.argv[1], "a+") as f: f.write("x"); f.seek(0); life = len(f.read())
if life == 1: sys.exit(3)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect("\0" + os.environ["NOTIFY_SOCKET"][1:])
s.send(b"READY=1\nWATCHDOG=1")
if life == 2: s.send(b"WATCHDOG=trigger")
print("LIFE", life, flush=True)
signal.pause()`
		run := newRunID()
		cmd := root().as(exec.Command(testkit.Watchdog(t), "run", "--run-id", run, "--worker-id", "w 1", "--grace", "1s", "--restart", "always",
			"--heartbeat", "notify", "--heartbeat-interval", "1h", "--heartbeat-timeout", "2h", "--", py, "-c", program, file))
		dog := testkit.Start(t, cmd)
		for dog.Stdout.Await("LIFE ") != "3" {
		}
		labels := `{run_id="` + run + `",worker_id="w 1"}`
		p := awaitValue(t, "leash_worker_restarts_total"+labels, 2)
		if p.value("leash_worker_hangs_total"+labels) != 1 || p.value("leash_restarts_total") != 2 || p.value("leash_hangs_total") != 1 ||
			p.value("leash_worker_last_beat_age_seconds"+labels) < 0 || p.value("leash_worker_last_beat_age_seconds"+labels) > 600 || p.value("leash_workers") != 1 {
			t.Errorf("\n%s", p)
		}
		dog.Signal(15)
		dog.Wait()
		p = metrics(t)
		if p.value("leash_restarts_total") != 2 || p.value("leash_hangs_total") != 1 || p.value("leash_workers") != 0 || strings.Contains(string(p), "w 1") {
			t.Errorf("after the end:\n%s", p)
		}

		// A watchdog that is killed with its sentinel leaves its record, and its counts stay.
		pool := startPool(t, "guard")
		pool.parent.Kill()
		testkit.AwaitGone(t, pool.members()...)
		testkit.AwaitGone(t, pool.watchdogs...)
		if got := metrics(t).value("leash_parent_deaths_total"); got != 1 {
			t.Errorf("parent deaths: %v", got)
		}
		reap(t)
		if p := metrics(t); p.value("leash_parent_deaths_total") != 1 || p.value("leash_restarts_total") != 2 {
			t.Errorf("after a reap:\n%s", p)
		}
	})
}

// The file is replaced in one step, and nothing else is ever replaced or left.
func TestMetricsOutput(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "leash.prom")
		status, stdout, stderr := testkit.Run(t, reaper(t, "metrics", "--output", file))
		info, err := os.Stat(file)
		if status != 0 || stdout+stderr != "" || err != nil || info.Mode() != 0o644 {
			t.Fatalf("status %d %q %q, %v %v", status, stdout, stderr, info, err)
		}
		old, err := os.Open(file) // a scrape while the file is replaced
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		if status, _, _ := testkit.Run(t, reaper(t, "metrics", "--output", file)); status != 0 {
			t.Error(status)
		}
		if b, err := io.ReadAll(old); err != nil || !strings.HasSuffix(string(b), "\n") || !strings.Contains(string(b), "leash_scanned_processes") {
			t.Errorf("%v %s", err, b)
		}
		os.Symlink(file, filepath.Join(dir, "link"))
		os.Mkdir(filepath.Join(dir, "folder"), 0o700)
		for path, says := range map[string]string{
			filepath.Join(dir, "missing", "x.prom"): "no such file", filepath.Join(dir, "folder"): "no regular file",
			filepath.Join(dir, "link"): "symbolic link", "/dev/null": "no regular file", "/proc/1/x.prom": "/proc/1/x.prom", dir + "/": "no regular file",
		} {
			badCall(t, reaper(t, "metrics", "--output", path), says)
		}
		badCall(t, reaper(t, "metrics", "--output", ""), "--output")
		badCall(t, reaper(t, "metrics", "x"), "unexpected argument")
		if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
			t.Errorf("/dev/null: %v %v", info, err)
		}
		full := filepath.Join(dir, "full")
		os.Mkdir(full, 0o700)
		script := fmt.Sprintf(`mount -t tmpfs -o size=4k none %s && head -c 4096 /dev/zero >%s/x; "$0" metrics --output %s/a.prom; echo $?; ls -A %s`, full, full, full, full)
		cmd := root().as(exec.Command("unshare", "--mount", "sh", "-c", script, testkit.Reaper(t)))
		if _, stdout, stderr := testkit.Run(t, cmd); stdout != "125\nx" || !strings.Contains(stderr, "no space") {
			t.Errorf("a full folder: %q %q", stdout, stderr)
		}
		a := ordinary(t, alice)
		own := filepath.Join(publicDir(t), "a.prom")
		status, _, stderr = testkit.Run(t, a.as(exec.Command(testkit.Reaper(t), "metrics", "--output", own)))
		if status != 125 || !strings.Contains(stderr, "permission denied") {
			t.Errorf("another user's folder: %d %q", status, stderr)
		}
		entries, _ := os.ReadDir(dir)
		if len(entries) != 4 {
			t.Errorf("%v are left", entries)
		}
	})
}

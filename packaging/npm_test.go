//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// nodes are the versions of Node that are here: with process.execve and without it.
func nodes(t *testing.T) map[string]string {
	t.Helper()
	testkit.Need(t, "node", "npm")
	found := map[string]string{}
	cache, _ := os.UserCacheDir()
	if dir := os.Getenv("LEASH_NODE_DIR"); dir != "" {
		cache = filepath.Dir(dir)
	}
	system, _ := exec.LookPath("node")
	newer, _ := filepath.Glob(filepath.Join(cache, "leash-node/node_modules/node-linux-*/bin/node"))
	for _, node := range append(newer, system) {
		out := must(t, node, "-p", `process.version + " " + (typeof process.execve)`)
		version, execve, _ := strings.Cut(strings.TrimSpace(out), " ")
		if kind := "child"; execve == "function" {
			found["replaced"] = node
		} else {
			found[kind] = node
		}
		t.Logf("node %s: %s", version, execve)
	}
	return found
}

// nodeProject has both packages installed, from files and without a network.
func nodeProject(t *testing.T) string {
	t.Helper()
	testkit.Need(t, "npm")
	main := packageOf(t, tag, "leash-watchdog-leash-*.tgz")
	programs := packageOf(t, tag, "leash-watchdog-linux-"+nodeArch[runtime.GOARCH]+"-*.tgz")
	dir := filepath.Join(scratch(t), "node-project")
	build(t, dir, func() error {
		write(t, filepath.Join(dir, "package.json"), `{"private": true, "name": "user", "version": "1.0.0"}`, 0o644)
		mustIn(t, dir, append(os.Environ(), "npm_config_cache="+filepath.Join(dir, "cache"), "HOME="+dir), "npm", "install", "--offline", "--no-audit", "--no-fund",
			"--loglevel=error", main, programs)
		return nil
	})
	return dir
}

func TestNpmInstall(t *testing.T) {
	dir := nodeProject(t)
	for _, program := range programs {
		for _, name := range names(program) {
			if out := must(t, filepath.Join(dir, "node_modules/.bin", name), "--version"); !strings.HasPrefix(out, program+" "+tag+" ") {
				t.Errorf("%s: %s", name, out)
			}
		}
	}
	main := filepath.Join(dir, "node_modules", scope, "leash")
	if text := read(t, filepath.Join(main, "package.json")); strings.Contains(text, "scripts") || strings.Contains(text, `"dependencies"`) {
		t.Errorf("scripts or dependencies:\n%s", text)
	}
	// Without the package for the system there is one line, and nothing is started.
	broken := filepath.Join(t.TempDir(), "leash")
	must(t, "cp", "-r", main, broken)
	status, _, stderr := testkit.Run(t, exec.Command("node", filepath.Join(broken, "bin/watchdog.mjs"), "run", "--", "true"))
	if status != 125 || strings.Contains(strings.TrimSpace(stderr), "\n") || !strings.Contains(stderr, scope+"/linux-") {
		t.Errorf("status %d: %s", status, stderr)
	}
}

// launched is a caller whose launcher runs a worker, by the shim of npm or through npx.
func launched(t *testing.T, node, dir, how string) (caller *testkit.Proc, worker testkit.Ident) {
	t.Helper()
	start := `node_modules/.bin/leash-watchdog`
	if how == "npx" {
		start = "npx --offline --no-install leash-watchdog"
	}
	cmd := exec.Command("sh", "-c", start+` run --grace 100ms -- sh -c 'echo up $$; exec sleep 1000000'; echo ended $?`)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(node)+":"+os.Getenv("PATH"), "HOME="+dir, "npm_config_cache="+filepath.Join(dir, "cache"),
		"npm_config_update_notifier=false")
	caller = testkit.Start(t, cmd)
	return caller, testkit.Identify(t, number(t, strings.TrimPrefix(caller.Stdout.Await("up "), "up ")))
}

// Whichever of the caller and the launcher is killed, the worker ends, with a Node that
// becomes the program and with one that waits for it, and through npx.
func TestNpmDeaths(t *testing.T) {
	dir := nodeProject(t)
	for kind, node := range nodes(t) {
		for _, how := range []string{"shim", "npx"} {
			t.Run(kind+"/"+how+"/caller", func(t *testing.T) {
				caller, worker := launched(t, node, dir, how)
				between := 0
				for _, p := range testkit.Descendants(t, caller.PID) {
					if exe, _ := os.Readlink(procFile(p, "exe")); filepath.Base(exe) == "node" {
						between++
					}
				}
				if want := map[string]int{"replaced": 0, "child": 1}[kind] + map[string]int{"shim": 0, "npx": 1}[how]; between != want {
					t.Errorf("%d processes of Node are between the caller and the watchdog, want %d", between, want)
				}
				if err := caller.Ident.Kill(); err != nil {
					t.Fatal(err)
				}
				testkit.AwaitGone(t, worker)
			})
			t.Run(kind+"/"+how+"/launcher", func(t *testing.T) {
				caller, worker := launched(t, node, dir, how)
				var launcher testkit.Ident
				for _, p := range testkit.Descendants(t, caller.PID) {
					line, _ := os.ReadFile(procFile(p, "cmdline"))
					if strings.Contains(string(line), "bin/leash-watchdog") || launcher.PID == 0 && strings.HasPrefix(string(line), "watchdog\x00") {
						launcher = p
					}
				}
				if launcher.PID == 0 {
					t.Fatal("there is no launcher")
				}
				if err := launcher.Kill(); err != nil {
					t.Fatal(err)
				}
				testkit.AwaitGone(t, worker)
			})
		}
		t.Run(kind+"/status", func(t *testing.T) {
			cmd := exec.Command(node, filepath.Join(dir, "node_modules/.bin/watchdog"), "run", "--", "sh", "-c", "exit 7")
			if status, stdout, stderr := testkit.Run(t, cmd); status != 7 || stdout+stderr != "" {
				t.Errorf("status %d, want the worker's, 7\n%s%s", status, stdout, stderr)
			}
		})
		t.Run(kind+"/signal", func(t *testing.T) {
			cmd := exec.Command(node, filepath.Join(dir, "node_modules/.bin/watchdog"), "run", "--", "sh", "-c", "echo up; exec sleep 1000000")
			p := testkit.Start(t, cmd)
			p.Stdout.Await("up")
			p.Signal(15)
			if status := p.Wait(); status != 128+15 {
				t.Errorf("status %d, want 143", status)
			}
		})
		t.Run(kind+"/lifeline", func(t *testing.T) {
			cmd := exec.Command(node, filepath.Join(dir, "node_modules/.bin/watchdog"), "run", "--parent-fd", "3", "--", "sh", "-c", "echo up $$; exec sleep 1000000")
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd.ExtraFiles = []*os.File{r}
			p := testkit.Start(t, cmd)
			worker := testkit.Identify(t, number(t, strings.TrimPrefix(p.Stdout.Await("up "), "up ")))
			w.Close()
			testkit.AwaitGone(t, worker)
		})
	}
}

func procFile(p testkit.Ident, name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.PID), name)
}

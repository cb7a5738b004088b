//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// TestSystemWithoutHost runs both programs as a system gets them that has no host
// of its own: built for this one, with the files of package platform that such a
// system's build takes.
func TestSystemWithoutHost(t *testing.T) {
	dir := buildWithoutHost(t)
	bystander := sleeper(t)
	for _, c := range [][]string{
		{"watchdog", "run", "--", "true"},
		{"watchdog", "run", "--parent-pid", pid(bystander), "--heartbeat", "notify", "--", "true"},
		{"watchdog", "guard", "--worker-pid", pid(bystander), "--parent-pid", pid(bystander)},
		{"watchdog", "--worker-pid", pid(bystander)},
		{"reaper"},
		{"reaper", "reap", "--run-id", "k3x9a2p", "--json"},
		{"reaper", "list"},
		{"reaper", "list", "--json"},
		{"reaper", "explain", pid(bystander)},
		{"reaper", "id"},
	} {
		cmd := exec.Command(filepath.Join(dir, c[0]), c[1:]...)
		cmd.Env = append(os.Environ(), "LEASH_STATE_DIR="+stateDir(t))
		status, stdout, stderr := testkit.Run(t, cmd)
		if status != 125 || stdout != "" || strings.Contains(stderr, "\n") ||
			!strings.HasPrefix(stderr, c[0]+": ") || !strings.Contains(stderr, "is not supported") {
			t.Errorf("%q: status %d, %q, %q", c, status, stdout, stderr)
		}
	}
	for _, c := range [][]string{{"watchdog", "--help"}, {"reaper", "--help"}} {
		if status, stdout, _ := testkit.Run(t, exec.Command(filepath.Join(dir, c[0]), c[1])); status != 0 || !strings.Contains(stdout, "Usage") {
			t.Errorf("%q: status %d, %q", c, status, stdout)
		}
	}
	testkit.StillAlive(t, bystander.Ident)
}

// buildWithoutHost returns a folder with both programs.
func buildWithoutHost(t *testing.T) string {
	t.Helper()
	dir, root := t.TempDir(), testkit.Root(t)
	replace := make(map[string]string)
	for _, name := range goFiles(t, "linux") {
		replace[filepath.Join(root, "platform", name)] = "" // not there
	}
	for _, name := range goFiles(t, "freebsd") {
		path := filepath.Join(root, "platform", name)
		text := readFile(t, path)
		_, text, _ = bytes.Cut(append([]byte{'\n'}, text...), []byte("\npackage ")) // without what the build asks for
		other := filepath.Join(dir, name)
		if err := os.WriteFile(other, append([]byte("package "), text...), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[path] = other
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-buildvcs=false", "-overlay", overlay, "-o", dir+"/", "./cmd/...")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// goFiles are those of package platform that a system takes.
func goFiles(t *testing.T, system string) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-f", `{{join .GoFiles "\n"}}`, "./platform")
	cmd.Dir = testkit.Root(t)
	cmd.Env = append(os.Environ(), "GOOS="+system)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"leash/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	tag      = "v1.2.3"
	laterTag = "v1.2.4"
	commit   = "0123456789abcdef0123456789abcdef01234567"
)

var sources, _ = filepath.Abs("..")

// crossOf builds both programs of one version for this system. They stand in for those of
// the other systems too, which nothing here runs and make cross builds.
func crossOf(t *testing.T, tag string) string {
	t.Helper()
	dir := filepath.Join(scratch(t), "cross-"+tag)
	build(t, dir, func() error {
		for _, program := range programs {
			file := filepath.Join(dir, program+"-linux-"+runtime.GOARCH)
			cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", file,
				"-ldflags=-s -w -funcalign=16 -buildid= -X leash/internal/version.tag="+tag+" -X leash/internal/version.commit="+commit, "./cmd/"+program)
			cmd.Dir, cmd.Env = sources, append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			for _, s := range systems {
				other := filepath.Join(dir, program+"-"+s.os+"-"+s.arch+s.suffix())
				if other == file {
					continue
				}
				if err := os.Link(file, other); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return dir
}

// dist makes all packages of a version.
func dist(t *testing.T, tag string) string {
	t.Helper()
	from, dir := crossOf(t, tag), filepath.Join(scratch(t), "dist-"+tag)
	build(t, dir, func() error { return makeAll(sources, from, dir) })
	return dir
}

// unpacked is the archive for this system, as somebody without a package manager has it.
func unpacked(t *testing.T) string {
	t.Helper()
	file := packageOf(t, tag, "leash-*-linux-"+runtime.GOARCH+".tar.gz")
	dir := filepath.Join(scratch(t), "unpacked")
	build(t, dir, func() error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if out, err := exec.Command("tar", "-xzf", file, "-C", dir, "--strip-components=1").CombinedOutput(); err != nil {
			return fmt.Errorf("tar: %w\n%s", err, out)
		}
		return nil
	})
	return dir
}

// packageOf is the one file of a version that fits.
func packageOf(t *testing.T, tag, pattern string) string {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join(dist(t, tag), pattern))
	if len(found) != 1 {
		t.Fatalf("%s: %q, want one file", pattern, found)
	}
	return found[0]
}

var builds sync.Map // of what was made in this test run

func build(t *testing.T, what string, do func() error) {
	t.Helper()
	if _, err := os.Stat(what); err == nil {
		if _, ours := builds.Load(what); !ours {
			return // LEASH_TESTKIT_DIR names a folder of a run before
		}
	}
	once, _ := builds.LoadOrStore(what, sync.OnceValue(do))
	if err := once.(func() error)(); err != nil {
		t.Fatal(err)
	}
}

var (
	scratchOnce sync.Once
	scratchDir  string
)

// scratch is a folder for the whole run: what is made once serves several tests.
func scratch(t *testing.T) string {
	t.Helper()
	scratchOnce.Do(func() {
		os.Setenv("SOURCE_DATE_EPOCH", "1790000000")
		os.Unsetenv("LEASH_SIGNING_KEY")
		scratchDir = os.Getenv("LEASH_TESTKIT_DIR") // testkit.Main removes it
	})
	if scratchDir == "" {
		t.Fatal("this package needs testkit.Main in its TestMain")
	}
	return scratchDir
}

// must runs a command that has to succeed, and returns what it printed.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	return mustIn(t, "", nil, name, args...)
}

func mustIn(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if env != nil {
		cmd.Env = env
	}
	status, stdout, stderr := testkit.Run(t, cmd)
	if status != 0 {
		t.Fatalf("%q: status %d\n%s%s", cmd.Args, status, stdout, stderr)
	}
	return stdout
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// The same sources give the same bytes, whatever the folder, the time and the umask.
func TestSameBytes(t *testing.T) {
	once, from := dist(t, tag), filepath.Join(t.TempDir(), "cross")
	must(t, "cp", "-r", crossOf(t, tag), from)
	again := filepath.Join(t.TempDir(), "another place")
	if err := makeAll(sources, from, again); err != nil {
		t.Fatal(err)
	}
	if a, b := read(t, filepath.Join(once, "SHA256SUMS")), read(t, filepath.Join(again, "SHA256SUMS")); a != b {
		t.Errorf("the sums differ:\n%s\n%s", a, b)
	}
	must(t, "sh", "-c", `cd "$1" && sha256sum --quiet --check SHA256SUMS`, "sh", once)
}

func TestFolderIsReplaced(t *testing.T) {
	dir := t.TempDir()
	old, others := filepath.Join(dir, "leash_0.9.0_amd64.deb"), filepath.Join(dir, "notes.txt")
	write(t, old, "", 0o644)
	write(t, others, "", 0o644)
	p := packaging{made: map[string][]byte{"leash.rb": []byte("x")}}
	if err := p.write(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("a package of another version is still there")
	}
	read(t, others)
}

// What is wrong is told in one line, before anything is written.
func TestBadCalls(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	write(t, text, "no key", 0o600)
	rsa := filepath.Join(t.TempDir(), "rsa")
	must(t, "openssl", "genpkey", "-algorithm", "RSA", "-out", rsa)
	for _, c := range []struct{ name, variable, value, from, want string }{
		{"no programs", "", "", t.TempDir(), "build it first with make cross"},
		{"no time", "SOURCE_DATE_EPOCH", "yesterday", "", "SOURCE_DATE_EPOCH"},
		{"a negative time", "SOURCE_DATE_EPOCH", "-1", "", "SOURCE_DATE_EPOCH"},
		{"no key file", "LEASH_SIGNING_KEY", "/nowhere/key", "", "LEASH_SIGNING_KEY"},
		{"no key", "LEASH_SIGNING_KEY", text, "", "openssl genpkey"},
		{"another kind of key", "LEASH_SIGNING_KEY", rsa, "", "Ed25519"},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, to := c.from, filepath.Join(t.TempDir(), "dist")
			if from == "" {
				from = crossOf(t, tag)
			}
			if c.variable != "" {
				t.Setenv(c.variable, c.value)
			}
			err := makeAll(sources, from, to)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one line with %q", err, c.want)
			}
			if _, err := os.Stat(to); err == nil {
				t.Error("a folder was made")
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	dir := t.TempDir()
	must(t, "cp", "-r", crossOf(t, tag)+"/.", dir)
	file := filepath.Join(dir, "watchdog-darwin-arm64")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	write(t, file, string(bytes.Repeat([]byte("x"), 5<<20+1)), 0o755)
	if _, err := prepare(sources, dir); err == nil || !strings.Contains(err.Error(), "5242880") {
		t.Errorf("%v, want that the program is too large", err)
	}
}

// A signature is there with a key only, and openssl accepts it.
func TestSignature(t *testing.T) {
	key, public := filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "pub")
	must(t, "openssl", "genpkey", "-algorithm", "ed25519", "-out", key)
	must(t, "openssl", "pkey", "-in", key, "-pubout", "-out", public)
	secret, err := signingKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := packaging{made: map[string][]byte{"leash.rb": []byte("x")}}
	p.sums(nil)
	if p.made["SHA256SUMS.sig"] != nil {
		t.Error("there is a signature without a key")
	}
	delete(p.made, "SHA256SUMS")
	p.sums(secret)
	dir := t.TempDir()
	if err := p.write(dir); err != nil {
		t.Fatal(err)
	}
	verify := func() error {
		return exec.Command("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin",
			"-in", filepath.Join(dir, "SHA256SUMS"), "-sigfile", filepath.Join(dir, "SHA256SUMS.sig")).Run()
	}
	if err := verify(); err != nil {
		t.Errorf("openssl: %v", err)
	}
	write(t, filepath.Join(dir, "SHA256SUMS"), "something else\n", 0o644)
	if verify() == nil {
		t.Error("openssl accepts other sums")
	}
}

func TestEpoch(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "")
	archive := t.TempDir()
	write(t, filepath.Join(archive, ".commit"), commit+" HEAD -> main, tag: v1.2.3\n1790000001\n", 0o644)
	for dir, want := range map[string]int64{archive: 1790000001, t.TempDir(): 0} {
		if got, err := epoch(dir); err != nil || got != time.Unix(want, 0).UTC() {
			t.Errorf("%v, %v, want %d", got, err, want)
		}
	}
	if testing.Short() {
		return
	}
	if got, err := epoch(sources); err != nil || got.Year() < 2026 {
		t.Errorf("of this repository: %v, %v", got, err)
	}
}

//go:build linux

package main

import (
	"bufio"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed testdata
var sources embed.FS

// unpack puts a file of testdata where it can be used.
func (b *bench) unpack(name string) (string, error) {
	text, err := sources.ReadFile("testdata/" + name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.dir, name)
	return path, os.WriteFile(path, text, 0o600)
}

// compileC gives the program that a C file of testdata makes: linked
// statically where that is possible, since thousands of it are started.
func (b *bench) compileC(name string) (string, error) {
	source, err := b.unpack(name + ".c")
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.dir, name)
	text, err := b.output(exec.Command("cc", "-O2", "-static", "-o", path, source))
	if err != nil {
		text, err = b.output(exec.Command("cc", "-O2", "-o", path, source))
	}
	if err != nil {
		return "", fmt.Errorf("compile %s.c: %w\n%s", name, err, text)
	}
	return path, nil
}

// memberEnv is an environment of the usual size: 30 entries and 1.5 kB, and
// what is added.
func memberEnv(extra ...string) []string {
	var env []string
	for i := range 30 {
		env = append(env, fmt.Sprintf("APPLICATION_SETTING_%02d=/srv/application/%02d/lib/bin", i, i))
	}
	return append(env, extra...)
}

// field is a lot of processes that sleep and have nothing to do with any run.
type field struct {
	leader   *exec.Cmd
	lifeline io.Closer
}

// sow starts a field, and returns when each process has become what it is to be.
func (b *bench) sow(crowd string, count int) (*field, error) {
	cmd := exec.Command(crowd, "stay", strconv.Itoa(count))
	cmd.Env = memberEnv()
	var complaint strings.Builder
	cmd.Stderr = &complaint
	lifeline, err1 := cmd.StdinPipe()
	output, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if err := begin(cmd); err != nil {
		return nil, err
	}
	f := &field{leader: cmd, lifeline: lifeline}
	if _, err := bufio.NewReader(output).ReadString('\n'); err != nil {
		err = errors.Join(fmt.Errorf("%d processes did not come up: %w", count, err), f.close())
		return nil, fmt.Errorf("%w\n%s", err, complaint.String())
	}
	return f, nil
}

// close ends the field, and returns when no process of it is left.
func (f *field) close() error {
	if f == nil {
		return nil
	}
	f.lifeline.Close()
	return f.leader.Wait()
}

// processes says how many there are on this machine now.
func processes() int {
	names, _ := filepath.Glob("/proc/[1-9]*")
	return len(names)
}

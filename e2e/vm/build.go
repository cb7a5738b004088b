package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"leash/e2e/vm/plan"
)

// packages are those with tests that depend on the kernel, and the users they run as.
var packages = []struct {
	name  string
	users []plan.User
}{
	{"platform/linux", []plan.User{plan.Root, plan.Plain}},
	{"platform/posix", []plan.User{plan.Root, plan.Plain}},
	{"internal/ledger", []plan.User{plan.Root, plan.Plain}},
	{"cmd/watchdog", []plan.User{plan.Root}},
	{"cmd/reaper", []plan.User{plan.Root, plan.Plain}},
	{"e2e/scenes", plan.Users},
}

// applets are what busybox is in the virtual machine.
var applets = []string{"cat", "cut", "echo", "false", "grep", "id", "kill", "ls", "mkdir", "ps", "readlink",
	"rm", "sed", "seq", "sort", "tail", "test", "timeout", "touch", "tr", "true", "wc"}

// programs come from this machine, with their libraries: busybox's shell does not
// execute what it is itself, some tests tell by its file what a process is, and one
// compares us with env.
var programs = []string{"dash", "env", "sleep", "setsid", "unshare", "python3"}

// cgroups says whether a watchdog can make one.
var cgroups = map[plan.User]string{plan.Root: "yes", plan.Delegated: "yes", plan.Plain: "no"}

// build makes the first file system: programs, tests, plan.
func (v *vm) build(work, busybox, initrd string) error {
	a, err := newArchive(initrd)
	if err != nil {
		return err
	}
	if err := addPrograms(a, busybox); err != nil {
		return err
	}
	a.put("/etc/passwd", 0o644, fmt.Appendf(nil, "root:x:0:0::/:/bin/sh\nuser:x:%d:%[1]d::/home/user:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", plan.UID))
	a.put("/etc/group", 0o644, fmt.Appendf(nil, "root:x:0:\nuser:x:%d:\nnogroup:x:65534:\n", plan.UID))
	a.copy("/src/go.mod", filepath.Join(v.root, "go.mod"))
	if err := v.goRun("build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", work+"/", "./cmd/watchdog", "./cmd/reaper", "./e2e/vm/init"); err != nil {
		return err
	}
	a.copy("/init", filepath.Join(work, "init"))
	bin := os.Getenv("LEASH_BIN_DIR") // as in package testkit: programs to test instead of new ones
	if bin == "" {
		bin = work
	}
	a.copy("/leash/watchdog", filepath.Join(bin, "watchdog"))
	a.copy("/leash/reaper", filepath.Join(bin, "reaper"))
	a.copy("/src/docs/configuration.md", filepath.Join(v.root, "docs/configuration.md")) // compared with the grammar
	v.tests = make(map[string][]string)
	byPackage := make(map[string]plan.Job)
	for _, p := range packages {
		if v.pkg != "" && v.pkg != p.name {
			continue
		}
		program := strings.ReplaceAll(p.name, "/", "-") + ".test"
		file := filepath.Join(work, program)
		if err := v.goRun("test", "-c", "-buildvcs=false", "-ldflags=-s -w", "-o", file, "./"+p.name); err != nil {
			return err
		}
		a.copy("/leash/"+program, file)
		dir := path.Join("/src", p.name)
		a.tree(path.Join(dir, "testdata"), filepath.Join(v.root, p.name, "testdata"))
		a.dir(dir)
		match := v.run
		if match == "" {
			match = "^(Test|Fuzz|Example)"
		}
		if v.tests[p.name], err = list(file, match); err != nil {
			return err
		}
		byPackage[p.name] = plan.Job{Package: p.name, Program: "/leash/" + program, Dir: dir,
			Args: []string{"-test.v", "-test.short", "-test.timeout=20m", "-test.run=" + match},
			Env:  []string{"LEASH_BIN_DIR=/leash", "LEASH_TEST_ALONE=1"}}
	}
	for _, u := range plan.Users {
		for _, p := range packages {
			if j, ok := byPackage[p.name]; ok && slices.Contains(p.users, u) && (v.user == "" || v.user == u) {
				j.User = u
				j.Env = append(slices.Clip(j.Env), "LEASH_SCENES_CGROUP="+cgroups[u])
				v.jobs = append(v.jobs, j)
			}
		}
	}
	if len(v.jobs) == 0 {
		return fmt.Errorf("there is nothing to run as %q in %q", v.user, v.pkg)
	}
	text, err := json.Marshal(plan.Plan{Jobs: v.jobs})
	if err != nil {
		return err
	}
	a.put(plan.File, 0o644, text)
	return a.close()
}

// goRun calls go for the virtual machine: any processor will do, no library.
func (v *vm) goRun(args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = v.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// list asks a test program for its tests.
func list(program, match string) ([]string, error) {
	cmd := exec.Command(program, "-test.list", match)
	cmd.Dir = filepath.Dir(program)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s -test.list: %w", program, err)
	}
	return strings.Fields(string(out)), nil
}

// addPrograms adds what the tests call.
func addPrograms(a *archive, busybox string) error {
	a.link("/usr/bin", "../bin")
	a.copy("/bin/busybox", busybox)
	for _, name := range applets {
		a.link("/bin/"+name, "busybox")
	}
	for _, name := range programs {
		file, err := exec.LookPath("/usr/bin/" + name)
		if err != nil {
			return err
		}
		a.copy("/bin/"+name, file)
		if err := addLibraries(a, file); err != nil {
			return err
		}
	}
	a.link("/bin/sh", "dash")
	out, err := exec.Command("/usr/bin/python3", "-c", "import sysconfig, _ctypes; print(sysconfig.get_path('stdlib')); print(_ctypes.__file__)").Output()
	if err != nil {
		return fmt.Errorf("python3: %w", err)
	}
	lib, ctypes, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	a.tree(lib, lib, "config-*", "lib-dynload", "test", "tests", "lib2to3", "distutils", "pydoc_data", "idlelib", "ensurepip",
		"xml", "email", "asyncio", "unittest", "dist-packages")
	a.copy(ctypes, ctypes)
	return addLibraries(a, ctypes)
}

// addLibraries adds those that ldd names, each where it is.
func addLibraries(a *archive, file string) error {
	out, err := exec.Command("ldd", file).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", file, err)
	}
	for field := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(field, "/") && !strings.HasSuffix(field, ":") {
			a.copy(field, field)
		}
	}
	return nil
}

// Vm runs tests on Debian's kernels 6.1 and 6.12, in a virtual machine that qemu
// emulates: see docs/vm-tests.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"leash/e2e/vm/kernel"
	"leash/e2e/vm/plan"
)

// bound is how long one kernel may take: far more than it needs, unless the machine
// is very busy.
const bound = 20 * time.Minute

func main() {
	kernels := flag.String("kernels", "6.1 6.12", "which ones, separated by blanks")
	run := flag.String("run", "", "only tests that match this `expression`, whatever the list of skips says")
	only := flag.String("user", "", "only as this user: root, delegated or plain")
	pkg := flag.String("package", "", "only this package, as platform/linux")
	verbose := flag.Bool("v", false, "show each test")
	flag.Parse()
	if why := lacking(); why != "" {
		fmt.Fprintln(os.Stderr, "SKIPPED: tests on other kernels:", why)
		if os.Getenv("LEASH_TEST_NO_SKIP") == "1" {
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	v := vm{ctx: ctx, run: *run, user: plan.User(*only), pkg: *pkg, verbose: *verbose}
	if err := v.all(*kernels); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

// lacking says what this needs and is not there. "" is good.
func lacking() string {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "they need Debian on amd64"
	}
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "they need Debian: there is no " + tool
		}
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		return "as root: apt-get install qemu-system-x86"
	}
	return ""
}

type vm struct {
	ctx      context.Context
	run, pkg string
	user     plan.User
	verbose  bool

	root  string // of the module
	jobs  []plan.Job
	tests map[string][]string // by package
	skips skips
	print sync.Mutex
}

func (v *vm) all(wanted string) error {
	begin := time.Now()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("go list -m: %w", err)
	}
	v.root = string(out[:len(out)-1])
	list, err := os.ReadFile(filepath.Join(v.root, "e2e/vm/skips.txt"))
	if err != nil {
		return err
	}
	if v.skips, err = parseSkips(string(list)); err != nil {
		return err
	}
	kernels, busybox, err := kernel.Fetch(v.root, wanted)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "leash-vm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	initrd := filepath.Join(work, "initrd")
	if err := v.build(work, busybox, initrd); err != nil {
		return err
	}
	fmt.Printf("all is built, %.0f s\n", time.Since(begin).Seconds())
	errs := make([]error, len(kernels))
	var wait sync.WaitGroup
	for i, k := range kernels {
		wait.Go(func() { errs[i] = v.boot(k, initrd, filepath.Join(work, filepath.Base(k)+".console")) })
	}
	wait.Wait()
	fmt.Printf("kernels: %d, %.0f s\n", len(kernels), time.Since(begin).Seconds())
	return errors.Join(errs...)
}

//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"leash/e2e/vm/kernel"
	"leash/internal/testkit"
)

// debianRoot is a small Debian of its own, with Debian's watchdog and systemd in it. What
// was fetched once is kept in leash-debian in the cache folder of the user.
func debianRoot(t *testing.T) string {
	t.Helper()
	testkit.NeedRoot(t)
	testkit.Need(t, "unshare", "chroot", "mount")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(cache, "leash-debian", "bookworm-1.tar")
	if _, err := os.Stat(file); err != nil {
		testkit.Need(t, "mmdebstrap")
		must(t, "mkdir", "-p", filepath.Dir(file))
		// Renamed, so that what is there is whole.
		fresh := filepath.Join(filepath.Dir(file), fmt.Sprintf("new-%d.tar", os.Getpid()))
		defer os.Remove(fresh)
		must(t, "../scripts/retry.sh", "mmdebstrap", "--variant=essential", "--include=watchdog,systemd",
			"--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/doc/*", "bookworm", fresh)
		if err := os.Rename(fresh, file); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(t.TempDir(), "root")
	must(t, "mkdir", root)
	must(t, "tar", "-xf", file, "-C", root, "--exclude=./dev/*", "--numeric-owner")
	must(t, "sh", "-c", `mkdir -p "$1/dev" && : >"$1/dev/null"`, "sh", root)
	return root
}

// in is a command in the root, which sees this machine's processes.
func in(root string, args ...string) *exec.Cmd {
	const enter = `mount --make-rprivate / && mount -t proc proc "$1/proc" && mount --bind /dev/null "$1/dev/null" && exec chroot "$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", enter, "sh", root}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"}
	return cmd
}

func mustInRoot(t *testing.T, root string, args ...string) string {
	t.Helper()
	status, stdout, stderr := testkit.Run(t, in(root, args...))
	if status != 0 {
		t.Fatalf("%q: status %d\n%s%s", args, status, stdout, stderr)
	}
	return stdout
}

// filesOf lists everything in a root but what package managers remember for themselves and
// what a systemd writes that was started there.
func filesOf(t *testing.T, root string) (list []string) {
	t.Helper()
	own := regexp.MustCompile(`^(var/lib/dpkg/(status|lock|triggers|info|alternatives$)|var/lib/dpkg$|var/lib/rpm|var/log|var/cache|var/lib/systemd/|var/tmp/|tmp/|usr/share/licenses$|proc|dev|root|run$|[a-z0-9.]+\.(deb|rpm)$)`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path) // it is below
		if own.MatchString(rel) {
			if d.IsDir() && strings.HasPrefix(rel, "proc") {
				return fs.SkipDir
			}
			return nil
		}
		line := rel
		if to, err := os.Readlink(path); err == nil {
			line += " -> " + to
		}
		list = append(list, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func sameFiles(t *testing.T, before, after []string) {
	t.Helper()
	for _, f := range after {
		if !slices.Contains(before, f) {
			t.Errorf("left: %s", f)
		}
	}
	for _, f := range before {
		if !slices.Contains(after, f) {
			t.Errorf("lost: %s", f)
		}
	}
}

// Installed beside Debian's watchdog, upgraded under a running watchdog, enabled and booted,
// removed and purged without a trace; then the same files come from an rpm.
func TestInstalled(t *testing.T) {
	root := debianRoot(t)
	deb, later := packageOf(t, tag, "*_"+runtime.GOARCH+".deb"), laterDeb(t)
	must(t, "cp", deb, filepath.Join(root, "one.deb"))
	must(t, "cp", later, filepath.Join(root, "two.deb"))
	before := filesOf(t, root)

	mustInRoot(t, root, "dpkg", "-i", "/one.deb")
	installed(t, root, tag)
	if out := mustInRoot(t, root, "dpkg", "--verify", "leash", "watchdog"); strings.Contains(out, "usr/sbin") || strings.Contains(out, "usr/bin") {
		t.Errorf("dpkg --verify: %s", out)
	}
	if out := mustInRoot(t, root, "dpkg", "-S", "/usr/sbin/watchdog"); !strings.HasPrefix(out, "watchdog:") {
		t.Errorf("/usr/sbin/watchdog is of %s", out)
	}
	if _, out, _ := testkit.Run(t, in(root, "systemctl", "is-enabled", "leash-reaper.service")); strings.TrimSpace(out) != "disabled" {
		t.Errorf("after installation the unit is %s", out)
	}

	// A watchdog that runs does not notice that its file is another now.
	parent := testkit.Start(t, in(root, "sh", "-c", "leash-watchdog run -- sh -c 'echo up $$; exec sleep 1000000' & wait"))
	worker := testkit.Identify(t, number(t, strings.TrimPrefix(parent.Stdout.Await("up "), "up ")))
	mustInRoot(t, root, "dpkg", "-i", "/two.deb")
	installed(t, root, laterTag)
	if !worker.Alive() {
		t.Error("the upgrade ended a worker")
	}
	parent.Kill()
	testkit.AwaitGone(t, worker)

	mustInRoot(t, root, "systemctl", "enable", "leash-reaper.service")
	boot(t, root)

	mustInRoot(t, root, "dpkg", "--remove", "leash")
	mustInRoot(t, root, "dpkg", "--purge", "leash")
	sameFiles(t, before, filesOf(t, root))

	// A foreign watchdog in /usr/bin is left alone, and the long name works.
	foreign := filepath.Join(root, "usr/bin/watchdog")
	write(t, foreign, "#!/bin/sh\necho foreign\n", 0o755)
	mustInRoot(t, root, "dpkg", "-i", "/two.deb")
	if out := mustInRoot(t, root, "/usr/bin/watchdog"); strings.TrimSpace(out) != "foreign" {
		t.Errorf("the other program says %q", out)
	}
	mustInRoot(t, root, "leash-watchdog", "run", "--", "true")
	mustInRoot(t, root, "dpkg", "--purge", "leash")
	read(t, foreign)
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	sameFiles(t, before, filesOf(t, root))
	if t.Failed() {
		return
	}

	testkit.Need(t, "rpm")
	rpm := func(args ...string) string {
		t.Helper()
		return must(t, "rpm", append([]string{"--root", root, "--dbpath", "/var/lib/rpm"}, args...)...)
	}
	rpm("--initdb")
	rpm("--install", "--nodeps", packageOf(t, tag, "*."+map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]+".rpm"))
	installed(t, root, tag)
	if out := rpm("--verify", "--nodeps", "leash"); out != "" {
		t.Errorf("rpm --verify: %s", out)
	}
	rpm("--erase", "leash")
	sameFiles(t, before, filesOf(t, root))
}

// laterDeb is the package of the next version.
func laterDeb(t *testing.T) string {
	t.Helper()
	from, file := crossOf(t, laterTag), filepath.Join(scratch(t), "later.deb")
	build(t, file, func() error {
		p, err := prepare(sources, from)
		if err != nil {
			return err
		}
		defer os.RemoveAll(p.tmp)
		data, err := p.linuxPackage(formats(p.version)[0], runtime.GOARCH)
		if err != nil {
			return err
		}
		return os.WriteFile(file, data, 0o644)
	})
	return file
}

// installed checks that all four names are there, of one version, with pages and units.
func installed(t *testing.T, root, tag string) {
	t.Helper()
	for _, program := range programs {
		for _, name := range names(program) {
			if out := mustInRoot(t, root, "/usr/bin/"+name, "--version"); !strings.HasPrefix(out, program+" "+tag+" (commit "+commit) {
				t.Errorf("%s --version: %s", name, out)
			}
		}
	}
	for _, file := range []string{
		"usr/share/man/man1/watchdog.1.gz", "usr/share/man/man1/leash-reaper.1.gz", "usr/share/man/man7/leash.7.gz",
		"usr/lib/systemd/system/leash-reaper.service", "usr/lib/systemd/user/leash-reaper.service",
		"usr/lib/systemd/system/leash-metrics.timer",
		"usr/share/bash-completion/completions/watchdog", "usr/share/fish/vendor_completions.d/leash-reaper.fish",
	} {
		if _, err := os.Stat(filepath.Join(root, file)); err != nil {
			t.Error(err)
		}
	}
	for name, start := range map[string]string{
		"system/leash-reaper.service":  "leash-reaper",
		"user/leash-reaper.service":    "leash-reaper",
		"system/leash-metrics.service": "leash-reaper metrics --output /var/lib/prometheus/node-exporter/leash.prom",
	} {
		if unit := read(t, filepath.Join(root, "usr/lib/systemd", name)); !strings.Contains(unit, "\nExecStart=/usr/bin/"+start+"\n") {
			t.Errorf("%s does not start %s:\n%s", name, start, unit)
		}
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// orphanUnit stands for a run of the boot before, and a bystander: both live when the reaper
// starts.
const orphanUnit = `[Unit]
Before=leash-reaper.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'owner=4711:1:00000000-0000-4000-8000-000000000000:$(readlink /proc/self/ns/pid | tr -dc 0-9); env -i LEASH_RUN_ID=lastrun LEASH_RUN_OWNER=$$owner setsid sleep 1000001 & env -i setsid sleep 1000002 & :'
[Install]
WantedBy=multi-user.target
`

// probeUnit says through the second serial port what lives when the boot is over, and ends it.
const probeUnit = `[Unit]
After=leash-reaper.service orphan.service
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'systemctl show -P Result -P ActiveEnterTimestampMonotonic -P ExecMainStatus leash-reaper.service; leash-watchdog doctor; journalctl --no-pager --unit=leash-reaper.service; cat /proc/[0-9]*/cmdline | tr "\\0" " "'
StandardOutput=file:/dev/ttyS1
[Install]
WantedBy=multi-user.target
`

// boot starts the root with its own systemd on Debian's kernel, in a virtual machine: the unit
// that is enabled there ends the orphan and nothing else.
func boot(t *testing.T, root string) {
	t.Helper()
	testkit.Need(t, "qemu-system-x86_64", "cpio", "apt-get", "dpkg")
	kernels, _, err := kernel.Fetch(sources, "6.12")
	if err != nil {
		t.Fatal(err)
	}
	units := filepath.Join(root, "etc/systemd/system")
	write(t, filepath.Join(units, "orphan.service"), orphanUnit, 0o644)
	write(t, filepath.Join(units, "probe.service"), probeUnit, 0o644)
	write(t, filepath.Join(root, "init"), "#!/bin/sh\nexec /lib/systemd/systemd --unit=multi-user.target\n", 0o755)
	off := []string{"getty.target", "systemd-logind.service", "systemd-networkd.service", "watchdog.service", "wd_keepalive.service",
		"systemd-timesyncd.service", "e2scrub_reap.service", "fstrim.timer", "apt-daily.timer", "apt-daily-upgrade.timer"}
	mustInRoot(t, root, append([]string{"systemctl", "mask"}, off...)...)
	mustInRoot(t, root, "systemctl", "enable", "probe.service", "orphan.service")

	// The root is the first file system of the machine, which needs no disk then.
	dir := t.TempDir()
	must(t, "sh", "-c", `cd "$1" && find . -xdev ! -name '*.deb' | cpio --quiet -o -H newc >"$2/initrd"`, "sh", root, dir)
	qemu := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1024",
		"-display", "none", "-monitor", "none", "-nodefaults", "-no-user-config", "-no-reboot",
		"-serial", "file:"+filepath.Join(dir, "console"), "-serial", "file:"+filepath.Join(dir, "probe"),
		"-kernel", kernels[0], "-initrd", filepath.Join(dir, "initrd"), "-append", "console=ttyS0 quiet panic=-1 mitigations=off")
	status, stdout, stderr := testkit.Run(t, qemu)
	said := read(t, filepath.Join(dir, "probe"))
	if status != 0 || !strings.HasPrefix(said, "success") || strings.Contains(said, "sleep 1000001") || !strings.Contains(said, "sleep 1000002") {
		t.Errorf("qemu: status %d\n%s%s\nthe unit, then the processes after the boot:\n%s\nconsole:\n%s", status, stdout, stderr, said, read(t, filepath.Join(dir, "console")))
	}

	mustInRoot(t, root, append([]string{"systemctl", "unmask"}, off...)...)
	mustInRoot(t, root, "systemctl", "disable", "probe.service", "orphan.service")
	must(t, "rm", filepath.Join(units, "probe.service"), filepath.Join(units, "orphan.service"), filepath.Join(root, "init"))
}

// An apk is listed, for there is no apk here to install it.
func TestApk(t *testing.T) {
	file := packageOf(t, tag, "*.x86_64.apk")
	list := must(t, "tar", "--warning=no-unknown-keyword", "-tzf", file)
	for _, want := range []string{".PKGINFO", ".post-install", ".pre-deinstall", "usr/bin/leash-watchdog", "usr/bin/leash-reaper", "usr/share/man/man1/watchdog.1.gz"} {
		if !slices.Contains(strings.Fields(list), want) {
			t.Errorf("there is no %s in\n%s", want, list)
		}
	}
	info := must(t, "tar", "--warning=no-unknown-keyword", "-xzOf", file, ".PKGINFO")
	for _, want := range []string{"pkgname = leash\n", "pkgver = 1.2.3-r0\n", "arch = x86_64\n"} {
		if !strings.Contains(info, want) {
			t.Errorf("there is no %q in\n%s", want, info)
		}
	}
	// Without alternatives the scripts take short names that are free, and no others.
	bin := filepath.Join(t.TempDir(), "bin")
	script := strings.ReplaceAll(must(t, "tar", "--warning=no-unknown-keyword", "-xzOf", file, ".post-install"), "/usr/bin", bin)
	remove := strings.ReplaceAll(must(t, "tar", "--warning=no-unknown-keyword", "-xzOf", file, ".pre-deinstall"), "/usr/bin", bin)
	write(t, filepath.Join(bin, "reaper"), "foreign", 0o755)
	run := func(text string) {
		t.Helper()
		mustIn(t, "", []string{"PATH=" + toolbox(t, "ln", "readlink", "rm")}, "/bin/sh", "-c", text, "sh", "1.2.3-r0")
	}
	run(script)
	if to, err := os.Readlink(filepath.Join(bin, "watchdog")); to != "leash-watchdog" {
		t.Errorf("watchdog leads to %q, %v", to, err)
	}
	run(remove)
	if _, err := os.Lstat(filepath.Join(bin, "watchdog")); err == nil || read(t, filepath.Join(bin, "reaper")) != "foreign" {
		t.Error("after the removal watchdog is still there, or the foreign reaper is not")
	}
}

// toolbox is a PATH with a few programs only.
func toolbox(t *testing.T, tools ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, tool := range tools {
		path, err := exec.LookPath(tool)
		if err == nil {
			err = os.Symlink(path, filepath.Join(dir, tool))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The image is a root with two programs, which work without anything else.
func TestImage(t *testing.T) {
	testkit.Need(t, "bwrap")
	dir := t.TempDir()
	must(t, "tar", "-xf", packageOf(t, tag, "*-image.tar"), "-C", dir)
	blob := func(d descriptor, into any) string {
		file := filepath.Join(dir, "blobs", strings.ReplaceAll(d.Digest, ":", "/"))
		sum := strings.Fields(must(t, "sha256sum", file))[0]
		if text := read(t, file); "sha256:"+sum != d.Digest || len(text) != d.Size {
			t.Errorf("%s is not what it is called", d.Digest)
		} else if into != nil {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				t.Fatal(err)
			}
		}
		return file
	}
	var top, index struct{ Manifests []descriptor }
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "index.json"))), &top); err != nil || len(top.Manifests) != 1 {
		t.Fatalf("%v: %+v", err, top)
	}
	blob(top.Manifests[0], &index)
	if len(index.Manifests) != 2 {
		t.Fatalf("%d images, want 2", len(index.Manifests))
	}
	for _, m := range index.Manifests {
		var manifest struct {
			Config descriptor
			Layers []descriptor
		}
		blob(m, &manifest)
		var config struct {
			Architecture string
			Config       struct{ Entrypoint []string }
		}
		blob(manifest.Config, &config)
		if config.Architecture != m.Platform["architecture"] || !slices.Equal(config.Config.Entrypoint, []string{"/usr/bin/watchdog"}) {
			t.Errorf("%+v of %+v", config, m)
		}
		layer := blob(manifest.Layers[0], nil)
		if config.Architecture != runtime.GOARCH {
			continue
		}
		root := t.TempDir()
		must(t, "tar", "-xzf", layer, "-C", root)
		for _, name := range []string{"watchdog", "leash-watchdog", "reaper", "leash-reaper"} {
			out := must(t, "bwrap", "--ro-bind", root, "/", "--unshare-pid", "/usr/bin/"+name, "--version")
			if !strings.Contains(out, " "+tag+" ") {
				t.Errorf("%s: %s", name, out)
			}
		}
		// A worker from the same image, under its entry point.
		out := must(t, "bwrap", "--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--unshare-pid", "/usr/bin/watchdog", "run", "--", "/usr/bin/reaper", "id")
		if len(strings.TrimSpace(out)) != 7 {
			t.Errorf("reaper id under watchdog run: %q", out)
		}
	}
}

// Wheels are installed by every pip that is here, without a network.
func TestWheels(t *testing.T) {
	wheel := packageOf(t, tag, "*manylinux*"+map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]+"*.whl")
	pythons, _ := filepath.Glob("/usr/bin/python3")
	more, _ := filepath.Glob(filepath.Join(os.Getenv("HOME"), ".pyenv/versions/3.*/bin/python3"))
	tried := 0
	for _, python := range append(pythons, more...) {
		version, err := exec.Command(python, "-c", "import sys, pip; print(*sys.version_info[:2])").Output()
		var major, minor int
		if fmt.Sscan(string(version), &major, &minor); err != nil || minor < 8 {
			continue
		}
		tried++
		target := t.TempDir()
		mustIn(t, "", append(os.Environ(), "PIP_DISABLE_PIP_VERSION_CHECK=1", "HOME="+t.TempDir()), python, "-m", "pip", "install", "--quiet",
			"--no-index", "--no-cache-dir", "--target", target, wheel)
		for _, program := range programs {
			for _, name := range names(program) {
				if out := must(t, filepath.Join(target, "bin", name), "--version"); !strings.HasPrefix(out, program+" "+tag+" ") {
					t.Errorf("%s: %s: %s", python, name, out)
				}
			}
		}
		out := mustIn(t, "", append(os.Environ(), "PYTHONPATH="+target), python, "-c", "import leash; print(leash.__version__, hasattr(leash, 'guard'))")
		if strings.TrimSpace(out) != tag[1:]+" True" {
			t.Errorf("%s: the module says %s", python, out)
		}
	}
	if tried == 0 {
		testkit.Skip(t, "this test needs a Python of 3.8 or later with pip")
	}
	t.Logf("%d interpreters", tried)
}

// Package kernel fetches Debian's kernels for virtual machines.
package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// patterns name Debian's packages of a kernel for virtual machines.
var patterns = map[string]string{
	"6.1":  `^linux-image-6\.1\.[-+.0-9a-z]*-cloud-amd64$`,
	"6.12": `^linux-image-6\.12\.[-+.0-9a-z]*-cloud-amd64$`,
}

// Fetch returns the files of the wanted kernels and of a busybox that needs no
// library. Packages come from apt, which checks their signatures; what was fetched
// once is kept. Where nothing can be fetched, the newest of what was kept serves. root is the
// folder of the module.
func Fetch(root, wanted string) (kernels []string, busybox string, err error) {
	cache := os.Getenv("LEASH_VM_DIR")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, "", fmt.Errorf("no folder for kernels (LEASH_VM_DIR names one): %w", err)
		}
		cache = filepath.Join(dir, "leash-vm")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, "", err
	}
	s := store{root: root, cache: cache}
	busybox, err = s.have("^busybox-static$", "bin/busybox", "usr/bin/busybox")
	if err != nil {
		return nil, "", err
	}
	for _, name := range strings.Fields(wanted) {
		pattern, ok := patterns[name]
		if !ok {
			return nil, "", fmt.Errorf("-kernels %s: 6.1 and 6.12 are known", name)
		}
		k, err := s.have(pattern, "boot/vmlinuz-*")
		if err != nil {
			return nil, "", err
		}
		kernels = append(kernels, k)
	}
	return kernels, busybox, nil
}

type store struct {
	root, cache string
	updated     bool
}

// have returns one file of the newest package with a name that matches.
func (s *store) have(pattern string, files ...string) (string, error) {
	file, err := s.fetch(pattern, files)
	if err != nil && s.update() == nil { // the lists of packages may be old
		file, err = s.fetch(pattern, files)
	}
	if err == nil {
		return file, nil
	}
	kept, _ := os.ReadDir(s.cache)
	re := regexp.MustCompile(pattern)
	var old []string
	for _, e := range kept {
		if name, _, _ := strings.Cut(e.Name(), "_"); re.MatchString(name) {
			old = append(old, filepath.Join(s.cache, e.Name(), "file"))
		}
	}
	if len(old) == 0 {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "%v: %s from before is used\n", err, filepath.Dir(newest(old)))
	return newest(old), nil
}

func (s *store) fetch(pattern string, files []string) (string, error) {
	out, err := exec.Command("apt-cache", "search", "--names-only", pattern).Output()
	if err != nil {
		return "", fmt.Errorf("apt-cache search: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		// The lists also name packages that cannot be downloaded any more.
		if v := candidate(name); v != "" {
			names = append(names, name+"_"+v)
		}
	}
	if len(names) == 0 {
		return "", fmt.Errorf("apt has no package like %s", pattern)
	}
	full := newest(names)
	dir := filepath.Join(s.cache, full)
	file := filepath.Join(dir, "file")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	// In a folder of its own, and renamed: two may do this at once.
	tmp, err := os.MkdirTemp(s.cache, "new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	name, _, _ := strings.Cut(full, "_")
	fmt.Println("fetching", full)
	cmd := exec.Command(filepath.Join(s.root, "scripts/retry.sh"), "apt-get", "-qq", "-o", "APT::Sandbox::User=", "download", name)
	cmd.Dir, cmd.Stderr = tmp, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("apt-get download %s: %w", name, err)
	}
	debs, _ := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if len(debs) != 1 {
		return "", fmt.Errorf("apt-get download %s: %d packages", name, len(debs))
	}
	if out, err := exec.Command("dpkg", "-x", debs[0], filepath.Join(tmp, "x")).CombinedOutput(); err != nil {
		return "", fmt.Errorf("dpkg -x %s: %w: %s", debs[0], err, out)
	}
	var found []string
	for _, f := range files {
		more, _ := filepath.Glob(filepath.Join(tmp, "x", f))
		found = append(found, more...)
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%s: want one of %s, found %q", full, files, found)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return file, os.Rename(found[0], file)
}

// update has apt read its lists anew, once, where that is allowed.
func (s *store) update() error {
	if s.updated || os.Geteuid() != 0 {
		return errors.New("the lists of packages stay as they are")
	}
	s.updated = true
	cmd := exec.Command(filepath.Join(s.root, "scripts/retry.sh"), "apt-get", "-qq", "update")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// candidate is the version that apt would install, "" if there is none.
func candidate(name string) string {
	out, _ := exec.Command("apt-cache", "policy", name).Output()
	for line := range strings.Lines(string(out)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "Candidate: "); ok && v != "(none)" {
			return v
		}
	}
	return ""
}

// newest is the one with the highest numbers in its name.
func newest(names []string) string {
	cmd := exec.Command("sort", "-V")
	cmd.Stdin = strings.NewReader(strings.Join(names, "\n") + "\n")
	out, err := cmd.Output()
	if err != nil {
		return names[len(names)-1]
	}
	sorted := strings.Fields(string(out))
	return sorted[len(sorted)-1]
}

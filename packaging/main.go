// Packaging makes the packages of a release from the programs that make cross built: for
// apt, dnf, apk, brew, scoop, npm, pip, nix and containers. The same sources give the same
// bytes. It is a module of its own, so that nothing of it reaches the programs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	programs = []string{"watchdog", "reaper"}
	systems  = []system{
		{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}, {"windows", "arm64"},
	}
	// mostBytes is how large a program may be.
	mostBytes = map[string]int{"watchdog": 5 << 20, "reaper": 6 << 20}
)

type system struct{ os, arch string }

func (s system) suffix() string {
	if s.os == "windows" {
		return ".exe"
	}
	return ""
}

func main() {
	root := flag.String("root", "..", "folder of the sources")
	from := flag.String("from", "", "folder of the programs that make cross built; default: bin/cross of the sources")
	to := flag.String("to", "", "folder for the packages; default: dist of the sources")
	flag.Parse()
	if err := makeAll(*root, *from, *to); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

// packaging is what all packages are made of.
type packaging struct {
	root, tmp string
	version   version
	mtime     time.Time
	built     map[string][]byte // programs, by name in bin/cross
	docs      map[string][]byte // man pages and completions that were made, by path
	sources   map[string][]byte // files of the sources, by path
	notices   []byte            // licenses of modules that are linked
	modules   []module
	making    sync.Mutex
	made      map[string][]byte // what goes to dist/, by name
}

func (p *packaging) put(name string, data []byte) {
	p.making.Lock()
	defer p.making.Unlock()
	p.made[name] = data
}

func makeAll(root, from, to string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	if from == "" {
		from = filepath.Join(root, "bin", "cross")
	}
	if to == "" {
		to = filepath.Join(root, "dist")
	}
	key, err := signingKey(os.Getenv("LEASH_SIGNING_KEY"))
	if err != nil {
		return err
	}
	p, err := prepare(root, from)
	if err != nil {
		return err
	}
	defer os.RemoveAll(p.tmp)
	// Compression takes the time, and there is more than one processor.
	var running sync.WaitGroup
	all := []func() error{p.linux, p.archives, p.npm, p.wheels, p.image, p.sbom}
	errs := make([]error, len(all))
	for i, step := range all {
		running.Go(func() { errs[i] = step() })
	}
	running.Wait()
	for _, step := range []func() error{p.formula, p.manifest, p.flake} { // they name the archives' sums
		errs = append(errs, step())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	p.sums(key)
	return p.write(to)
}

func prepare(root, from string) (*packaging, error) {
	p := &packaging{root: root, built: map[string][]byte{}, docs: map[string][]byte{}, sources: map[string][]byte{}, made: map[string][]byte{}}
	for _, s := range systems {
		for _, program := range programs {
			name := program + "-" + s.os + "-" + s.arch + s.suffix()
			data, err := os.ReadFile(filepath.Join(from, name))
			if errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("there is no %s: build it first with make cross", filepath.Join(from, name))
			}
			if err != nil {
				return nil, err
			}
			if len(data) > mostBytes[program] {
				return nil, fmt.Errorf("%s has %d bytes, more than %d", name, len(data), mostBytes[program])
			}
			p.built[name] = data
		}
	}
	var err error
	if p.version, err = versionOf(filepath.Join(from, "watchdog-"+runtime.GOOS+"-"+runtime.GOARCH)); err != nil {
		return nil, err
	}
	if p.mtime, err = epoch(root); err != nil {
		return nil, err
	}
	if err := p.readSources(); err != nil {
		return nil, err
	}
	if p.tmp, err = os.MkdirTemp("", "leash-packaging-"); err != nil {
		return nil, err
	}
	if err := p.document(); err != nil {
		return nil, err
	}
	return p, p.readModules()
}

// epoch is the time of everything in the packages: SOURCE_DATE_EPOCH, else that of the
// commit, as the repository or an archive of it tells.
func epoch(root string) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		git := exec.Command("git", "-c", "safe.directory=*", "log", "-1", "--format=%ct")
		git.Dir = root
		if _, err := os.Stat(filepath.Join(root, ".git")); err == nil {
			out, _ := git.Output() // without a commit there is no time
			text = strings.TrimSpace(string(out))
		} else if lines, err := os.ReadFile(filepath.Join(root, ".commit")); err == nil {
			for line := range strings.Lines(string(lines)) {
				if n := strings.TrimSpace(line); n != "" && strings.Trim(n, "0123456789") == "" {
					text = n
				}
			}
		}
		if text == "" {
			text = "0"
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %q is no number of seconds since 1970", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// readSources reads what is packaged as it is.
func (p *packaging) readSources() error {
	for _, name := range []string{"README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "boot", "examples", "packaging/scripts", "packaging/npm", "clients/python"} {
		err := filepath.WalkDir(filepath.Join(p.root, name), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				if d != nil && (d.Name() == "__pycache__" || d.Name() == "tests") {
					return fs.SkipDir
				}
				return err
			}
			rel, _ := filepath.Rel(p.root, file) // file is below
			p.sources[filepath.ToSlash(rel)], err = os.ReadFile(file)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// document makes man pages and completions of what the programs themselves know.
func (p *packaging) document() error {
	var grammars []*command
	for _, program := range programs {
		c, err := readGrammar(p.root, p.tmp, program)
		if err != nil {
			return err
		}
		page, err := manPage(c, p.version, p.mtime)
		if err != nil {
			return err
		}
		p.docs["man/"+program+".1"] = []byte(page)
		p.docs["completions/bash/"+program] = []byte(bashCompletion(c))
		for _, name := range names(program) {
			p.docs["completions/fish/"+name+".fish"] = []byte(fishCompletion(c, name))
		}
		grammars = append(grammars, c)
	}
	page, err := conceptPage(p.version, p.mtime)
	if err != nil {
		return err
	}
	p.docs["man/leash.7"] = []byte(page)
	p.docs["completions/zsh/_leash"] = []byte(zshCompletion(grammars))
	return nil
}

func (p *packaging) program(name, os, arch string) []byte {
	return p.built[name+"-"+os+"-"+arch+system{os, arch}.suffix()]
}

func (p *packaging) linux() error {
	for _, f := range formats(p.version) {
		for _, arch := range []string{"amd64", "arm64"} {
			data, err := p.linuxPackage(f, arch)
			if err != nil {
				return fmt.Errorf("%s for %s: %w", f.name, arch, err)
			}
			p.put(f.file(arch), data)
		}
	}
	return nil
}

// write replaces what is in the folder. Files that a person put there are named, not removed.
func (p *packaging) write(to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	list, err := os.ReadDir(to)
	if err != nil {
		return err
	}
	for _, e := range list {
		switch {
		case p.made[e.Name()] != nil:
		case strings.Contains(strings.ToLower(e.Name()), "leash") || strings.HasPrefix(e.Name(), "SHA256SUMS") || e.Name() == "flake.nix":
			if err := os.RemoveAll(filepath.Join(to, e.Name())); err != nil { // of another version
				return err
			}
		default:
			fmt.Fprintf(os.Stderr, "packaging: %s is not ours and stays\n", filepath.Join(to, e.Name()))
		}
	}
	for _, name := range sorted(p.made) {
		if err := os.WriteFile(filepath.Join(to, name), p.made[name], 0o644); err != nil {
			return err
		}
		fmt.Printf("%9d  %s\n", len(p.made[name]), name)
	}
	fmt.Printf("%s: %d files of version %s\n", to, len(p.made), p.version.said)
	return nil
}

func sorted[V any](m map[string]V) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

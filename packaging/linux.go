package main

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/apk"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

const (
	home       = "https://github.com/leash-watchdog/leash"
	maintainer = "Leash maintainers <leash@users.noreply.github.com>"
	summary    = "Worker processes that never outlive their parent"
	license    = "Apache-2.0"
)

const description = summary + `
watchdog ends a worker, with everything that it started, when the worker's
parent ends. reaper ends what is left of dead runs, after a crash that took the
watchdogs too, and nothing else. Both are single static programs.`

// format is what differs between the packages of Linux.
type format struct {
	name     string
	packager nfpm.Packager
	zsh      string // folder of zsh's completions
	fish     string // folder of fish's completions
	version  string
	file     func(arch string) string
}

func formats(v version) []format {
	const zsh = "/usr/share/zsh/site-functions/"
	const fish = "/usr/share/fish/vendor_completions.d/"
	other := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}
	return []format{
		{"deb", deb.Default, "/usr/share/zsh/vendor-completions/", fish, v.deb,
			func(arch string) string { return fmt.Sprintf("leash_%s_%s.deb", v.deb, arch) }},
		{"rpm", rpm.DefaultRPM, zsh, fish, v.deb,
			func(arch string) string { return fmt.Sprintf("leash-%s-1.%s.rpm", v.deb, other[arch]) }},
		{"apk", apk.Default, zsh, fish, v.apk,
			func(arch string) string { return fmt.Sprintf("leash-%s-r0.%s.apk", v.apk, other[arch]) }},
	}
}

// linuxPackage is the deb, rpm or apk for one processor. What nfpm reads must be files, so
// it is laid out in tmp first.
func (p *packaging) linuxPackage(f format, arch string) ([]byte, error) {
	l := layout{dir: filepath.Join(p.tmp, f.name+"-"+arch), mtime: p.mtime}
	for _, program := range programs {
		l.add("/usr/bin/leash-"+program, 0o755, p.program(program, "linux", arch))
		l.add("/usr/share/man/man1/"+program+".1.gz", 0o644, gzipped(p.docs["man/"+program+".1"]))
		l.link("/usr/share/man/man1/leash-"+program+".1.gz", program+".1.gz")
		l.add("/usr/share/bash-completion/completions/leash-"+program, 0o644, p.docs["completions/bash/"+program])
		l.link("/usr/share/bash-completion/completions/"+program, "leash-"+program)
		for _, name := range names(program) {
			l.add(f.fish+name+".fish", 0o644, p.docs["completions/fish/"+name+".fish"])
		}
	}
	l.add("/usr/share/man/man7/leash.7.gz", 0o644, gzipped(p.docs["man/leash.7"]))
	l.add(f.zsh+"_leash", 0o644, p.docs["completions/zsh/_leash"])
	for _, name := range []string{"system/leash-reaper.service", "user/leash-reaper.service", "system/leash-metrics.service", "system/leash-metrics.timer"} {
		l.add("/usr/lib/systemd/"+name, 0o644, installedUnit(p.sources["boot/"+strings.TrimPrefix(name, "system/")]))
	}
	for _, name := range sorted(p.sources) {
		if strings.HasPrefix(name, "examples/") {
			l.add("/usr/share/doc/leash/"+name, 0o644, p.sources[name])
		}
	}
	l.add("/usr/share/doc/leash/README.md", 0o644, p.sources["README.md"])
	l.add("/usr/share/doc/leash/SECURITY.md", 0o644, p.sources["SECURITY.md"])
	l.add("/usr/share/doc/leash/CHANGELOG.md", 0o644, p.sources["CHANGELOG.md"])
	if f.name == "deb" {
		l.add("/usr/share/doc/leash/copyright", 0o644, copyright(p.notices))
		l.add("/usr/share/doc/leash/changelog.gz", 0o644, gzipped(p.debianChangelog()))
		l.add("/usr/share/lintian/overrides/leash", 0o644, []byte(overrides))
	} else {
		// A folder that no package owns would stay.
		folders := []string{"/usr/share/doc/leash", "/usr/share/licenses/leash", "/usr/share/fish", f.fish, f.zsh}
		for _, name := range sorted(p.sources) {
			if dir := "/usr/share/doc/leash/" + path.Dir(name); strings.HasPrefix(name, "examples/") && !slices.Contains(folders, dir) {
				folders = append(folders, dir)
			}
		}
		for _, name := range folders {
			l.folder(strings.TrimSuffix(name, "/"))
		}
		l.add("/usr/share/licenses/leash/LICENSE", 0o644, p.sources["LICENSE"])
		l.add("/usr/share/licenses/leash/THIRD-PARTY", 0o644, p.notices)
	}
	info := &nfpm.Info{
		Name: "leash", Arch: arch, Platform: "linux", Version: f.version, VersionSchema: "none", Release: "1",
		Section: "admin", Priority: "optional", Maintainer: maintainer, Homepage: home, License: license,
		Description: description, MTime: p.mtime, DisableGlobbing: true,
		Overridables: nfpm.Overridables{
			Scripts: nfpm.Scripts{
				PostInstall: l.script("postinst", p), PreRemove: l.script("prerm", p), PostRemove: l.script("postrm", p),
			},
			RPM: nfpm.RPM{BuildHost: "localhost", Summary: summary, Group: "System Environment/Base"},
		},
	}
	switch f.name {
	case "deb":
		info.Release = "" // the package is made where the sources are
		info.Deb.Compression = "xz"
	case "apk":
		info.Release = "0"
	}
	if l.err != nil {
		return nil, l.err
	}
	info.Contents = l.contents
	if err := nfpm.PrepareForPackager(info, f.name); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := f.packager.Package(nfpm.WithDefaults(info), &b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// overrides tell lintian what is meant. Debhelper's wrappers of systemctl need Perl, which the
// package does without.
const overrides = `leash: statically-linked-binary [usr/bin/leash-*]
leash: maintainer-script-calls-systemctl [*]
`

// debianChangelog has what Debian's tools read, and names the changelog for people.
func (p *packaging) debianChangelog() []byte {
	return fmt.Appendf(nil, "leash (%s) unstable; urgency=medium\n\n  * What has changed is in /usr/share/doc/leash/CHANGELOG.md.\n\n -- %s  %s\n",
		p.version.deb, maintainer, p.mtime.Format(time.RFC1123Z))
}

// layout collects the files of a package in a folder.
type layout struct {
	dir      string
	mtime    time.Time
	contents files.Contents
	err      error
}

func (l *layout) add(to string, mode os.FileMode, data []byte) {
	from := l.file(to, mode, data)
	l.contents = append(l.contents, &files.Content{Source: from, Destination: to, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: l.mtime}})
}

func (l *layout) file(name string, mode os.FileMode, data []byte) string {
	file := filepath.Join(l.dir, filepath.FromSlash(name))
	if data == nil && l.err == nil {
		l.err = fmt.Errorf("nothing was made for %s", name)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil && l.err == nil {
		l.err = err
	}
	if err := os.WriteFile(file, data, mode); err != nil && l.err == nil {
		l.err = err
	}
	if err := os.Chtimes(file, l.mtime, l.mtime); err != nil && l.err == nil { // an apk has the time of its scripts
		l.err = err
	}
	return file
}

func (l *layout) folder(name string) {
	l.contents = append(l.contents, &files.Content{Destination: name, Type: files.TypeDir, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: 0o755, MTime: l.mtime}})
}

func (l *layout) link(name, to string) {
	l.contents = append(l.contents, &files.Content{Source: to, Destination: name, Type: files.TypeSymlink, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", MTime: l.mtime}})
}

func (l *layout) script(name string, p *packaging) string {
	return l.file(path.Join("/scripts", name), 0o755, p.sources["packaging/scripts/"+name])
}

// installedUnit is a unit as a package has it: its program in /usr/bin, and nothing about
// copying.
func installedUnit(text []byte) []byte {
	var b strings.Builder
	comment := false
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "#") && b.Len() == 0:
			comment = true // of the file as a whole
			continue
		case comment && strings.TrimSpace(line) == "":
			comment = false
			continue
		case strings.HasPrefix(line, "ExecStart="):
			_, arguments, ok := strings.Cut(line, " ")
			line = "ExecStart=/usr/bin/leash-reaper\n"
			if ok {
				line = "ExecStart=/usr/bin/leash-reaper " + arguments
			}
		case strings.HasPrefix(line, "[Service]"):
			b.WriteString("Documentation=man:reaper(1) man:leash(7)\n\n")
		}
		b.WriteString(line)
	}
	return []byte(strings.Replace(b.String(), "\n\nDocumentation=", "\nDocumentation=", 1))
}

// copyright is in the form of Debian's packages.
func copyright(notices []byte) []byte {
	var comment strings.Builder
	for line := range strings.Lines(string(notices)) {
		if line = strings.TrimRight(line, " \t\r\n"); line == "" {
			line = "."
		}
		comment.WriteString(" " + line + "\n")
	}
	return []byte(`Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: leash
Source: ` + home + `

Files: *
Copyright: the Leash authors
License: Apache-2.0
 On Debian systems the full text of the Apache License, Version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
Comment:
 The programs contain what follows, under its own licenses.
 .
` + comment.String())
}

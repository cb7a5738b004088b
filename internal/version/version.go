// Package version says which build of Leash this is.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Set by the linker (make; go build -ldflags "-X leash/internal/version.commit=…").
// A build without them has what Go stamps into it, if anything (go help buildvcs).
var (
	tag    string // vX.Y.Z at the commit, empty if there is none
	commit string // with +dirty behind it if files were changed since
)

// Line is what --version prints: the program, its version, and in parentheses
// commit, Go version, system/processor.
func Line(program string) string {
	b := build{tag: tag, commit: commit}
	if commit == "" {
		if info, ok := debug.ReadBuildInfo(); ok {
			b = stamped(info)
		}
	}
	return fmt.Sprintf("%s %s (commit %s, %s, %s/%s)", program, b.version(), cmp.Or(b.commit, unknown),
		runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

const unknown = "unknown"

type build struct{ tag, commit string }

const short = 12 // characters of a commit that Go's own versions have too

// version is the tag at the commit, or a word that says that there is none and sorts
// before any release.
func (b build) version() string {
	if release(b.tag) {
		return b.tag
	}
	c := cmp.Or(b.commit, unknown)
	if len(c) > short {
		c = c[:short]
	}
	return "0.0.0~devel+" + c
}

// stamped is what Go has put into the program.
func stamped(info *debug.BuildInfo) build {
	b := build{tag: info.Main.Version} // a changed checkout ends in +dirty, and so is no release
	changed := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.commit = s.Value
		case "vcs.modified":
			changed = s.Value == "true"
		}
	}
	if b.commit != "" && changed {
		b.tag, b.commit = "", b.commit+"+dirty"
	}
	return b
}

// release reports whether this is a tag of a release: vX.Y.Z, perhaps with a
// pre-release behind it (semver.org). Go makes up versions for commits without
// one, which end in 14 digits of a time and 12 of the commit (go.dev/ref/mod).
func release(tag string) bool {
	numbers, ok := strings.CutPrefix(tag, "v")
	numbers, pre, _ := strings.Cut(numbers, "-")
	parts := strings.Split(numbers, ".")
	for _, n := range parts {
		ok = ok && digits(n)
	}
	if !ok || len(parts) != 3 || strings.Trim(pre, "-."+alphanumeric) != "" {
		return false
	}
	time, commit, _ := strings.Cut(pre[strings.LastIndexByte(pre, '.')+1:], "-")
	return len(time) != 14 || !digits(time) || len(commit) != short
}

const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// Version is the version alone.
func Version() string {
	b := build{tag: tag, commit: commit}
	if commit == "" {
		if info, ok := debug.ReadBuildInfo(); ok {
			b = stamped(info)
		}
	}
	return b.version()
}

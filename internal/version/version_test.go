package version

import (
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
)

const full = "d74fb65c0ffee0123456789abcdef0123456789a"

func TestVersion(t *testing.T) {
	for _, c := range []struct {
		build
		want string
	}{
		{build{"v1.2.3", full}, "v1.2.3"},
		{build{"v0.10.0-rc.1", full}, "v0.10.0-rc.1"},
		{build{"", full}, "0.0.0~devel+d74fb65c0ffe"},
		{build{"", full + "+dirty"}, "0.0.0~devel+d74fb65c0ffe"},
		{build{"", "abc"}, "0.0.0~devel+abc"},
		{build{"", ""}, "0.0.0~devel+unknown"},
		{build{"(devel)", ""}, "0.0.0~devel+unknown"},
		{build{"v1.2.3+dirty", full}, "0.0.0~devel+d74fb65c0ffe"},
		{build{"v1.2", full}, "0.0.0~devel+d74fb65c0ffe"},
		{build{"v1.2.3\n", full}, "0.0.0~devel+d74fb65c0ffe"},
		{build{"v0.0.0-20261130153358-d74fb65c0ffe", full}, "0.0.0~devel+d74fb65c0ffe"},
		{build{"v1.2.4-0.20261130153358-d74fb65c0ffe", full}, "0.0.0~devel+d74fb65c0ffe"},
	} {
		if got := c.version(); got != c.want {
			t.Errorf("%+v: %s, want %s", c.build, got, c.want)
		}
	}
}

func TestStamped(t *testing.T) {
	info := func(version, revision, modified string) *debug.BuildInfo {
		i := &debug.BuildInfo{Main: debug.Module{Version: version}}
		if revision != "" {
			i.Settings = []debug.BuildSetting{{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: modified}}
		}
		return i
	}
	for _, c := range []struct {
		info *debug.BuildInfo
		want build
	}{
		{info("v1.2.3", full, "false"), build{"v1.2.3", full}},
		{info("v1.2.3+dirty", full, "true"), build{"", full + "+dirty"}},
		{info("v1.2.3", full, "true"), build{"", full + "+dirty"}},
		{info("(devel)", "", ""), build{"(devel)", ""}},
	} {
		if got := stamped(c.info); got != c.want {
			t.Errorf("%+v: %+v, want %+v", c.info, got, c.want)
		}
	}
}

// The linker's word goes before Go's own.
func TestLine(t *testing.T) {
	defer func(t, c string) { tag, commit = t, c }(tag, commit)
	for _, c := range []struct{ tag, commit, want string }{
		{"v2.0.1", full, `^watchdog v2\.0\.1 \(commit ` + full + `, go\S+, \w+/\w+\)$`},
		{"", full, `^watchdog 0\.0\.0~devel\+d74fb65c0ffe \(commit ` + full + `, go\S+, \w+/\w+\)$`},
		{"", "", `^watchdog 0\.0\.0~devel\+\w+ \(commit \S+, go\S+, \w+/\w+\)$`},
	} {
		tag, commit = c.tag, c.commit
		if got := Line("watchdog"); !regexp.MustCompile(c.want).MatchString(got) || strings.Contains(got, "\n") {
			t.Errorf("%q, want %s", got, c.want)
		}
	}
}

package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// version is what both programs print, in the spelling of each format. A program's own is
// either vX.Y.Z, perhaps with a pre-release, or 0.0.0~devel+COMMIT.
type version struct {
	said string // as --version says it
	plain,
	deb, // also of rpm and archives (deb-version(7))
	apk, npm, python string
}

var (
	tagged = regexp.MustCompile(`^v(\d+\.\d+\.\d+)(?:-([0-9A-Za-z.-]+))?$`)
	devel  = regexp.MustCompile(`^0\.0\.0~devel\+([0-9A-Za-z]+)$`)
	phase  = regexp.MustCompile(`^(alpha|beta|rc)\.?(\d+)$`)
)

func parseVersion(said string) (version, error) {
	v := version{said: said, plain: strings.TrimPrefix(said, "v")}
	if m := devel.FindStringSubmatch(said); m != nil {
		v.deb = said
		v.apk = "0.0.0_alpha0" // apk knows numbers only behind a suffix
		v.npm = "0.0.0-devel.g" + m[1]
		v.python = "0.0.0.dev0+" + strings.ToLower(m[1]) // PEP 440
		return v, nil
	}
	m := tagged.FindStringSubmatch(said)
	if m == nil {
		return v, fmt.Errorf("%q is no version: vX.Y.Z, or 0.0.0~devel+COMMIT", said)
	}
	v.deb, v.apk, v.npm, v.python = m[1], m[1], v.plain, m[1]
	if m[2] == "" {
		return v, nil
	}
	p := phase.FindStringSubmatch(m[2])
	if p == nil {
		return v, fmt.Errorf("%s: a pre-release is alpha.N, beta.N or rc.N, for other words have no place in every format", said)
	}
	v.deb = m[1] + "~" + p[1] + p[2]
	v.apk = m[1] + "_" + p[1] + p[2]
	v.python = m[1] + map[string]string{"alpha": "a", "beta": "b", "rc": "rc"}[p[1]] + p[2]
	return v, nil
}

// versionOf asks a program that was built here.
func versionOf(program string) (version, error) {
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return version{}, fmt.Errorf("%s --version: %w", program, err)
	}
	words := strings.Fields(string(out))
	if len(words) < 2 {
		return version{}, fmt.Errorf("%s --version says %q", program, out)
	}
	return parseVersion(words[1])
}

package main

import "testing"

func TestParseVersion(t *testing.T) {
	for _, c := range []struct{ said, plain, deb, apk, npm, python string }{
		{"v1.2.3", "1.2.3", "1.2.3", "1.2.3", "1.2.3", "1.2.3"},
		{"v0.10.0-rc.1", "0.10.0-rc.1", "0.10.0~rc1", "0.10.0_rc1", "0.10.0-rc.1", "0.10.0rc1"},
		{"v2.0.0-beta.12", "2.0.0-beta.12", "2.0.0~beta12", "2.0.0_beta12", "2.0.0-beta.12", "2.0.0b12"},
		{"0.0.0~devel+012345abcdef", "0.0.0~devel+012345abcdef", "0.0.0~devel+012345abcdef", "0.0.0_alpha0", "0.0.0-devel.g012345abcdef", "0.0.0.dev0+012345abcdef"},
		{"0.0.0~devel+unknown", "0.0.0~devel+unknown", "0.0.0~devel+unknown", "0.0.0_alpha0", "0.0.0-devel.gunknown", "0.0.0.dev0+unknown"},
	} {
		v, err := parseVersion(c.said)
		if want := (version{c.said, c.plain, c.deb, c.apk, c.npm, c.python}); err != nil || v != want {
			t.Errorf("%s: %+v, %v, want %+v", c.said, v, err, want)
		}
	}
	for _, bad := range []string{"", "1.2.3", "v1.2", "v1.2.3-final", "v1.2.3+dirty", "v1.2.3-rc.1 ", "0.0.0~devel+", "0.0.0~devel+a/b"} {
		if v, err := parseVersion(bad); err == nil {
			t.Errorf("%q is a version: %+v", bad, v)
		}
	}
}

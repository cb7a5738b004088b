//go:build linux

package main

import (
	"encoding/json"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"leash/internal/testkit"
)

// What names an archive by its sum names the one that was made, and all say one version.
func TestAgree(t *testing.T) {
	dir := dist(t, tag)
	sums := map[string]string{}
	for line := range strings.Lines(read(t, filepath.Join(dir, "SHA256SUMS"))) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sums[sum] = name
		if !strings.Contains(name, tag[1:]) && !strings.Contains("flake.nix leash.rb leash.scoop.json", name) {
			t.Errorf("%s is not of version %s", name, tag)
		}
	}
	hash := regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	for name, want := range map[string]int{"leash.rb": 4, "leash.scoop.json": 2, "flake.nix": 4} {
		text := read(t, filepath.Join(dir, name))
		found := hash.FindAllString(text, -1)
		if len(found) != want || !strings.Contains(text, `"`+tag[1:]+`"`) {
			t.Errorf("%s: %d sums, want %d, of version %s", name, len(found), want, tag)
		}
		for _, sum := range found {
			if !strings.Contains(text, "/"+tag+"/"+sums[sum]) || sums[sum] == "" {
				t.Errorf("%s names %s, which is %q", name, sum, sums[sum])
			}
		}
	}
	var sbom struct {
		Packages []struct{ Name, VersionInfo, LicenseDeclared string }
		Files    []struct{ FileName string }
	}
	if err := json.Unmarshal([]byte(read(t, packageOf(t, tag, "*.spdx.json"))), &sbom); err != nil {
		t.Fatal(err)
	}
	if len(sbom.Files) != len(systems)*len(programs) || sbom.Packages[0].VersionInfo != tag[1:] {
		t.Errorf("the SBOM has %d files, and begins with %+v", len(sbom.Files), sbom.Packages[0])
	}
	linked := must(t, "go", "version", "-m", filepath.Join(crossOf(t, tag), "watchdog-linux-amd64"))
	for _, m := range sbom.Packages[2:] {
		if m.LicenseDeclared == "NOASSERTION" {
			t.Errorf("no license is known of %s", m.Name)
		}
		if strings.Contains(linked, m.Name) && !strings.Contains(linked, m.VersionInfo) {
			t.Errorf("%s is not of version %s", m.Name, m.VersionInfo)
		}
	}
}

// Lintian has nothing to say about the package.
func TestLintian(t *testing.T) {
	testkit.Need(t, "lintian")
	status, stdout, _ := testkit.Run(t, exec.Command("lintian", "--profile", "debian", "--fail-on", "warning", packageOf(t, tag, "*_amd64.deb")))
	if status != 0 {
		t.Errorf("status %d\n%s", status, stdout)
	}
}

var recipe = regexp.MustCompile("(?s)<!-- file (\\S+) -->\n```\\w+\n(.*?)```")

// recipes are the files that docs/install.md shows.
func recipes(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, m := range recipe.FindAllStringSubmatch(read(t, "../docs/install.md"), -1) {
		found[m[1]] = m[2]
	}
	return found
}

// Every file in docs/install.md is one that its reader accepts, and calls flags that exist.
func TestRecipes(t *testing.T) {
	testkit.Need(t, "systemd-analyze")
	all := recipes(t)
	if len(all) != 6 {
		t.Fatalf("%d files, want 6", len(all))
	}
	bin := filepath.Join(unpacked(t), "bin")
	for name, text := range all {
		file := filepath.Join(t.TempDir(), name)
		write(t, file, text, 0o644)
		switch filepath.Ext(name) {
		case ".yaml", ".yml":
			checkYAML(t, name, []byte(text))
		case ".json":
			var v any
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case ".service":
			// The program is not installed here, and systemd looks for it.
			text = strings.NewReplacer("/usr/bin/leash-watchdog", filepath.Join(bin, "leash-watchdog"), "leash-reaper.service", "basic.target").Replace(text)
			write(t, file, text, 0o644)
			must(t, "env", "XDG_RUNTIME_DIR="+t.TempDir(), "systemd-analyze", "verify", file)
		}
	}
	// The entry point of the image, and the flags of the others.
	if !strings.Contains(all["Dockerfile"], `ENTRYPOINT ["watchdog", "run", "--"]`) {
		t.Errorf("another entry point:\n%s", all["Dockerfile"])
	}
	must(t, filepath.Join(bin, "watchdog"), "run", "--grace", "20s", "--", "true")
}

// checkYAML holds a manifest against the types of the Kubernetes API: no field that they do not
// have, and what refers to another part of the file finds it.
func checkYAML(t *testing.T, name string, text []byte) {
	t.Helper()
	var kind struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(text, &kind); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	var pod corev1.PodSpec
	switch kind.APIVersion + " " + kind.Kind {
	case "batch/v1 Job":
		var job batchv1.Job
		if err := yaml.UnmarshalStrict(text, &job); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		pod = job.Spec.Template.Spec
		for _, rule := range job.Spec.PodFailurePolicy.Rules {
			known := []batchv1.PodFailurePolicyAction{batchv1.PodFailurePolicyActionIgnore, batchv1.PodFailurePolicyActionFailJob}
			named := func(c corev1.Container) bool { return c.Name == *rule.OnExitCodes.ContainerName }
			if !slices.Contains(known, rule.Action) || !slices.ContainsFunc(pod.Containers, named) {
				t.Errorf("%s: the rule %+v", name, rule)
			}
		}
	case "apps/v1 DaemonSet":
		var set appsv1.DaemonSet
		if err := yaml.UnmarshalStrict(text, &set); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		pod = set.Spec.Template.Spec
		if !maps.Equal(set.Spec.Selector.MatchLabels, set.Spec.Template.Labels) {
			t.Errorf("%s: the selector does not match the template", name)
		}
	default:
		var workflow struct{ Jobs map[string]any }
		if err := yaml.Unmarshal(text, &workflow); err != nil || kind.Kind != "" || len(workflow.Jobs) == 0 {
			t.Errorf("%s: %q %q, %v", name, kind.APIVersion, kind.Kind, err)
		}
		return
	}
	for _, c := range pod.Containers {
		for _, m := range c.VolumeMounts {
			if !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
				t.Errorf("%s: there is no volume %s", name, m.Name)
			}
		}
	}
}

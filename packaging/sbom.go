package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const dir = fs.ModeDir

// module is one that a program contains, as the program itself says (debug/buildinfo).
type module struct {
	path, version, sum string
	license            string // SPDX
	in                 map[string]bool
}

// readModules asks each program what was linked, and collects the licenses.
func (p *packaging) readModules() error {
	found := map[string]*module{}
	goVersion := ""
	for _, name := range sorted(p.built) {
		info, err := buildinfo.Read(bytes.NewReader(p.built[name]))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		goVersion = info.GoVersion
		for _, d := range info.Deps {
			m := found[d.Path]
			if m == nil {
				m = &module{path: d.Path, version: d.Version, sum: d.Sum, in: map[string]bool{}}
				found[d.Path] = m
			}
			m.in[name] = true
		}
	}
	std := &module{path: "std", version: strings.TrimPrefix(goVersion, "go"), license: "BSD-3-Clause", in: map[string]bool{}}
	for name := range p.built {
		std.in[name] = true
	}
	goroot, err := p.goCommand("env", "GOROOT")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(goroot, "LICENSE"))
	if err != nil {
		return err
	}
	var notices strings.Builder
	fmt.Fprintf(&notices, "Go's standard library, %s\n\n%s\n", goVersion, text)
	p.modules = append(p.modules, *std)
	for _, path := range sorted(found) {
		m := found[path]
		folder, err := p.goCommand("list", "-m", "-f", "{{.Dir}}", path)
		if err != nil {
			return err
		}
		files, _ := filepath.Glob(filepath.Join(folder, "LICEN[CS]E*"))
		more, _ := filepath.Glob(filepath.Join(folder, "COPYING*"))
		files = append(files, more...)
		if len(files) == 0 {
			return fmt.Errorf("%s %s: there is no license in %s: go mod download", path, m.version, folder)
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		m.license = spdx(string(text))
		p.modules = append(p.modules, *m)
		fmt.Fprintf(&notices, "%s\n%s %s\n\n%s\n", strings.Repeat("-", 78), path, m.version, text)
	}
	p.notices = []byte(notices.String())
	return nil
}

func (p *packaging) goCommand(args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = p.root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// spdx names a license by words that only it has.
func spdx(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	switch {
	case strings.Contains(text, "Apache License"):
		return "Apache-2.0"
	case strings.Contains(text, "Mozilla Public License"):
		return "MPL-2.0"
	case strings.Contains(text, "Permission is hereby granted, free of charge"):
		return "MIT"
	case strings.Contains(text, "Neither the name"):
		return "BSD-3-Clause"
	case strings.Contains(text, "Redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	}
	return "NOASSERTION"
}

// sbom lists in SPDX 2.3 what the packages contain.
func (p *packaging) sbom() error {
	id := func(name string) string {
		return "SPDXRef-" + strings.Map(func(r rune) rune {
			if r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
				return r
			}
			return '-'
		}, name)
	}
	purl := func(kind, name, version string) []any {
		return []any{map[string]string{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "pkg:" + kind + "/" + name + "@" + version}}
	}
	packages := []any{map[string]any{
		"SPDXID": id("leash"), "name": "leash", "versionInfo": p.version.plain, "downloadLocation": home,
		"licenseConcluded": license, "licenseDeclared": license, "copyrightText": "NOASSERTION", "filesAnalyzed": false,
		"externalRefs": purl("generic", "leash", strings.ReplaceAll(p.version.plain, "+", "%2B")),
	}}
	relations := []any{map[string]string{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": id("leash")}}
	var files []any
	for _, name := range sorted(p.built) {
		files = append(files, map[string]any{
			"SPDXID": id("file-" + name), "fileName": "./" + name, "fileTypes": []string{"BINARY"},
			"licenseConcluded": license, "copyrightText": "NOASSERTION",
			"checksums": []any{
				map[string]string{"algorithm": "SHA1", "checksumValue": fmt.Sprintf("%x", sha1.Sum(p.built[name]))},
				map[string]string{"algorithm": "SHA256", "checksumValue": fmt.Sprintf("%x", sha256.Sum256(p.built[name]))},
			},
		})
		relations = append(relations, map[string]string{"spdxElementId": id("leash"), "relationshipType": "CONTAINS", "relatedSpdxElement": id("file-" + name)})
	}
	for _, m := range p.modules {
		ref := id("module-" + m.path)
		pack := map[string]any{
			"SPDXID": ref, "name": m.path, "versionInfo": m.version, "downloadLocation": "NOASSERTION",
			"licenseConcluded": m.license, "licenseDeclared": m.license, "copyrightText": "NOASSERTION", "filesAnalyzed": false,
			"externalRefs": purl("golang", m.path, m.version),
		}
		// Go's sum is of a list of the module's files, not of one file.
		if raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.sum, "h1:")); err == nil && len(raw) > 0 {
			pack["comment"] = "go.sum " + m.sum
		}
		packages = append(packages, pack)
		for _, name := range sorted(m.in) {
			relations = append(relations, map[string]string{"spdxElementId": id("file-" + name), "relationshipType": "STATIC_LINK", "relatedSpdxElement": ref})
		}
	}
	text, err := json.MarshalIndent(map[string]any{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "leash-" + p.version.plain,
		"documentNamespace": home + "/sbom/" + p.version.plain,
		"creationInfo":      map[string]any{"created": p.mtime.Format(time.RFC3339), "creators": []string{"Tool: leash-packaging"}},
		"packages":          packages, "files": files, "relationships": relations,
	}, "", " ")
	p.put("leash-"+p.version.plain+".spdx.json", append(text, '\n'))
	return err
}

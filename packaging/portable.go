package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// archives are for systems without a package manager, and for Homebrew and Scoop.
func (p *packaging) archives() error {
	for _, s := range systems {
		top := fmt.Sprintf("leash-%s-%s-%s", p.version.plain, s.os, s.arch)
		var list []entry
		add := func(path string, mode os.FileMode, data []byte) {
			list = append(list, entry{path: top + "/" + path, mode: mode, data: data})
		}
		for _, program := range programs {
			add("bin/"+program+s.suffix(), 0o755, p.program(program, s.os, s.arch))
			if s.os == "windows" { // a zip has no links that Windows makes
				add("bin/leash-"+program+s.suffix(), 0o755, p.program(program, s.os, s.arch))
			} else {
				list = append(list, entry{path: top + "/bin/leash-" + program, link: program})
			}
		}
		for _, name := range sorted(p.docs) {
			path := name
			if section, ok := strings.CutPrefix(name, "man/"); ok {
				path = "share/man/man" + section[len(section)-1:] + "/" + section
			}
			add(path, 0o644, p.docs[name])
		}
		for _, name := range sorted(p.sources) {
			if !strings.HasPrefix(name, "packaging/") && !strings.HasPrefix(name, "clients/") {
				add(name, 0o644, p.sources[name])
			}
		}
		add("THIRD-PARTY", 0o644, p.notices)
		data, suffix, err := []byte(nil), ".zip", error(nil)
		if s.os == "windows" {
			data, err = zipped(list, p.mtime)
		} else {
			data, err = tarball(list, p.mtime)
			data, suffix = gzipped(data), ".tar.gz"
		}
		if err != nil {
			return err
		}
		p.put(top+suffix, data)
	}
	return nil
}

// scope is that of the packages for npm, where leash is taken.
const scope = "@leash-watchdog"

var (
	nodeOS   = map[string]string{"linux": "linux", "darwin": "darwin", "windows": "win32"}
	nodeArch = map[string]string{"amd64": "x64", "arm64": "arm64"}
)

// npm makes one package with the launcher, and one with the programs for each system, of
// which npm installs the one that fits.
func (p *packaging) npm() error {
	optional := map[string]string{}
	for _, s := range systems {
		name := nodeOS[s.os] + "-" + nodeArch[s.arch]
		optional[scope+"/"+name] = p.version.npm
		list := []entry{}
		for _, program := range programs {
			list = append(list, entry{path: "package/bin/" + program + s.suffix(), mode: 0o755, data: p.program(program, s.os, s.arch)})
		}
		err := p.nodePackage(name, list, map[string]any{
			"description": summary + ": the programs for " + s.os + ", " + s.arch,
			"os":          []string{nodeOS[s.os]}, "cpu": []string{nodeArch[s.arch]}, "preferUnplugged": true,
		})
		if err != nil {
			return err
		}
	}
	bin := map[string]string{}
	for _, program := range programs {
		for _, name := range names(program) {
			bin[name] = "bin/" + program + ".mjs"
		}
	}
	var list []entry
	for _, name := range sorted(p.sources) {
		if file, ok := strings.CutPrefix(name, "packaging/npm/"); ok && !strings.HasSuffix(file, ".md") {
			mode := os.FileMode(0o644)
			if strings.HasPrefix(file, "bin/") {
				mode = 0o755
			}
			list = append(list, entry{path: "package/" + file, mode: mode, data: p.sources[name]})
		}
	}
	return p.nodePackage("leash", list, map[string]any{
		"description": summary, "bin": bin, "optionalDependencies": optional, "type": "module",
		"engines":  map[string]string{"node": ">=18"},
		"keywords": []string{"process", "worker", "watchdog", "orphan", "supervisor"},
	})
}

func (p *packaging) nodePackage(name string, list []entry, more map[string]any) error {
	more["name"], more["version"], more["license"], more["homepage"] = scope+"/"+name, p.version.npm, license, home
	more["repository"] = map[string]string{"type": "git", "url": "git+" + home + ".git"}
	text, err := json.MarshalIndent(more, "", "  ")
	if err != nil {
		return err
	}
	list = append([]entry{{path: "package/package.json", mode: 0o644, data: append(text, '\n')}}, list...)
	list = append(list,
		entry{path: "package/LICENSE", mode: 0o644, data: p.sources["LICENSE"]},
		entry{path: "package/THIRD-PARTY", mode: 0o644, data: p.notices},
		entry{path: "package/README.md", mode: 0o644, data: p.sources["packaging/npm/README.md"]})
	data, err := tarball(list, p.mtime)
	// As npm pack calls it.
	p.put(fmt.Sprintf("%s-%s-%s.tgz", scope[1:], name, p.version.npm), gzipped(data))
	return err
}

// wheelTags are the platforms of the wheels. The programs for Linux need no C library, so
// one wheel is for those with glibc and with musl.
var wheelTags = map[system][]string{
	{"linux", "amd64"}:   {"manylinux_2_17_x86_64", "manylinux2014_x86_64", "musllinux_1_1_x86_64"},
	{"linux", "arm64"}:   {"manylinux_2_17_aarch64", "manylinux2014_aarch64", "musllinux_1_1_aarch64"},
	{"darwin", "amd64"}:  {"macosx_12_0_x86_64"},
	{"darwin", "arm64"}:  {"macosx_12_0_arm64"},
	{"windows", "amd64"}: {"win_amd64"},
	{"windows", "arm64"}: {"win_arm64"},
}

var pythonVersion = regexp.MustCompile(`(?m)^__version__ = ".*"$`)

// wheels bring the programs under all names, and the module for a worker beside them.
func (p *packaging) wheels() error {
	const clients = "clients/python/"
	module := map[string][]byte{"leash/py.typed": {}}
	for name, text := range p.sources {
		file, ok := strings.CutPrefix(name, clients)
		switch {
		case !ok:
			continue
		case file == "leash.py":
			file = "leash/__init__.py"
		case !strings.HasPrefix(file, "leash/"):
			continue
		}
		module[file] = pythonVersion.ReplaceAll(text, []byte(`__version__ = "`+p.version.python+`"`))
	}
	if module["leash/__init__.py"] == nil {
		return errors.New("clients/python has no leash.py")
	}
	for _, s := range systems {
		base := "leash_watchdog-" + p.version.python
		var list []entry
		for _, file := range sorted(module) {
			list = append(list, entry{path: file, mode: 0o644, data: module[file]})
		}
		for _, program := range programs {
			for _, name := range names(program) {
				list = append(list, entry{path: base + ".data/scripts/" + name + s.suffix(), mode: 0o755, data: p.program(program, s.os, s.arch)})
			}
		}
		info := base + ".dist-info/"
		wheel := "Wheel-Version: 1.0\nGenerator: leash\nRoot-Is-Purelib: false\n"
		for _, tag := range wheelTags[s] {
			wheel += "Tag: py3-none-" + tag + "\n"
		}
		list = append(list,
			entry{path: info + "METADATA", mode: 0o644, data: []byte("Metadata-Version: 2.1\nName: leash-watchdog\nVersion: " + p.version.python +
				"\nSummary: " + summary + "\nHome-page: " + home + "\nLicense: " + license + "\nRequires-Python: >=3.8\n" +
				"Description-Content-Type: text/markdown\n\n" + string(p.sources["README.md"]))},
			entry{path: info + "WHEEL", mode: 0o644, data: []byte(wheel)},
			entry{path: info + "licenses/LICENSE", mode: 0o644, data: p.sources["LICENSE"]},
			entry{path: info + "licenses/THIRD-PARTY", mode: 0o644, data: p.notices})
		var record strings.Builder
		for _, e := range list {
			sum := sha256.Sum256(e.data)
			fmt.Fprintf(&record, "%s,sha256=%s,%d\n", e.path, base64.RawURLEncoding.EncodeToString(sum[:]), len(e.data))
		}
		fmt.Fprintf(&record, "%sRECORD,,\n", info)
		list = append(list, entry{path: info + "RECORD", mode: 0o644, data: []byte(record.String())})
		data, err := zipped(list, p.mtime)
		if err != nil {
			return err
		}
		p.put(base+"-py3-none-"+strings.Join(wheelTags[s], ".")+".whl", data)
	}
	return nil
}

func (p *packaging) archive(s system) (url, sum string) {
	name := fmt.Sprintf("leash-%s-%s-%s", p.version.plain, s.os, s.arch)
	if s.os == "windows" {
		name += ".zip"
	} else {
		name += ".tar.gz"
	}
	return home + "/releases/download/" + p.version.said + "/" + name, fmt.Sprintf("%x", sha256.Sum256(p.made[name]))
}

// formula is for Homebrew.
func (p *packaging) formula() error {
	var b strings.Builder
	fmt.Fprintf(&b, "class Leash < Formula\n  desc %q\n  homepage %q\n  version %q\n  license %q\n\n", summary, home, p.version.plain, license)
	for _, o := range []struct{ brew, os string }{{"macos", "darwin"}, {"linux", "linux"}} {
		fmt.Fprintf(&b, "  on_%s do\n", o.brew)
		for _, a := range []struct{ brew, arch string }{{"arm", "arm64"}, {"intel", "amd64"}} {
			url, sum := p.archive(system{o.os, a.arch})
			fmt.Fprintf(&b, "    on_%s do\n      url %q\n      sha256 %q\n    end\n", a.brew, url, sum)
		}
		b.WriteString("  end\n\n")
	}
	b.WriteString(`  def install
    bin.install Dir["bin/*"]
    man1.install Dir["share/man/man1/*"]
    man7.install Dir["share/man/man7/*"]
    %w[watchdog reaper].each do |name|
      bash_completion.install "completions/bash/#{name}" => "leash-#{name}"
    end
    zsh_completion.install "completions/zsh/_leash"
    fish_completion.install Dir["completions/fish/*"]
    doc.install "README.md", "SECURITY.md", "CHANGELOG.md", "THIRD-PARTY", "examples"
    pkgshare.install "boot"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/leash-watchdog --version")
    assert_equal "worked\n", shell_output("#{bin}/leash-watchdog run -- echo worked")
    assert_match "reaper", shell_output("#{bin}/leash-reaper --version")
  end
end
`)
	p.put("leash.rb", []byte(b.String()))
	return nil
}

// manifest is for Scoop.
func (p *packaging) manifest() error {
	architecture := map[string]any{}
	for scoop, arch := range map[string]string{"64bit": "amd64", "arm64": "arm64"} {
		url, sum := p.archive(system{"windows", arch})
		architecture[scoop] = map[string]string{"url": url, "hash": sum, "extract_dir": fmt.Sprintf("leash-%s-windows-%s", p.version.plain, arch)}
	}
	text, err := json.MarshalIndent(map[string]any{
		"version": p.version.plain, "description": summary, "homepage": home, "license": license, "architecture": architecture,
		"bin":      []string{`bin\watchdog.exe`, `bin\reaper.exe`, `bin\leash-watchdog.exe`, `bin\leash-reaper.exe`},
		"checkver": "github",
		"autoupdate": map[string]any{"architecture": map[string]any{
			"64bit": map[string]string{"url": home + "/releases/download/v$version/leash-$version-windows-amd64.zip", "extract_dir": "leash-$version-windows-amd64"},
			"arm64": map[string]string{"url": home + "/releases/download/v$version/leash-$version-windows-arm64.zip", "extract_dir": "leash-$version-windows-arm64"},
		}},
	}, "", "    ")
	p.put("leash.scoop.json", append(text, '\n'))
	return err
}

// flake is for Nix: it takes the programs of the release, which need no library.
func (p *packaging) flake() error {
	var b strings.Builder
	fmt.Fprintf(&b, "{\n  description = %q;\n\n  inputs.nixpkgs.url = \"github:NixOS/nixpkgs/nixos-unstable\";\n\n  outputs = { self, nixpkgs }:\n    let\n      version = %q;\n      archives = {\n", summary, p.version.plain)
	for _, s := range []struct {
		nix string
		system
	}{{"x86_64-linux", system{"linux", "amd64"}}, {"aarch64-linux", system{"linux", "arm64"}}, {"x86_64-darwin", system{"darwin", "amd64"}}, {"aarch64-darwin", system{"darwin", "arm64"}}} {
		url, sum := p.archive(s.system)
		fmt.Fprintf(&b, "        %s = {\n          url = %q;\n          sha256 = %q;\n        };\n", s.nix, url, sum)
	}
	b.WriteString(`      };
      package = system: nixpkgs.legacyPackages.${system}.stdenvNoCC.mkDerivation {
        pname = "leash";
        inherit version;
        src = nixpkgs.legacyPackages.${system}.fetchurl archives.${system};
        nativeBuildInputs = [ nixpkgs.legacyPackages.${system}.installShellFiles ];
        dontStrip = true;
        installPhase = ''
          mkdir -p $out/bin $out/share/doc/leash
          cp -a bin/. $out/bin/
          installManPage share/man/man1/*.1 share/man/man7/*.7
          for name in watchdog reaper; do
            installShellCompletion --cmd leash-$name --bash completions/bash/$name
          done
          installShellCompletion --zsh completions/zsh/_leash
          installShellCompletion --fish completions/fish/*.fish
          cp -r README.md SECURITY.md CHANGELOG.md LICENSE THIRD-PARTY boot examples $out/share/doc/leash/
        '';
        meta.mainProgram = "leash-watchdog";
      };
    in {
      packages = builtins.mapAttrs (system: _: { default = package system; }) archives;
    };
}
`)
	p.put("flake.nix", []byte(b.String()))
	return nil
}

// sums are of every file, signed where there is a key.
func (p *packaging) sums(key ed25519.PrivateKey) {
	var b strings.Builder
	for _, name := range sorted(p.made) {
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(p.made[name]), name)
	}
	p.made["SHA256SUMS"] = []byte(b.String())
	if key != nil {
		p.made["SHA256SUMS.sig"] = ed25519.Sign(key, p.made["SHA256SUMS"])
	}
}

// signingKey reads an Ed25519 key in the form of openssl genpkey. Without a file there is
// none, and nothing is signed.
func signingKey(file string) (ed25519.PrivateKey, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("LEASH_SIGNING_KEY: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("LEASH_SIGNING_KEY: %s is no key in PEM form: openssl genpkey -algorithm ed25519", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("LEASH_SIGNING_KEY: %s: %w", file, err)
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("LEASH_SIGNING_KEY: %s is no Ed25519 key: openssl genpkey -algorithm ed25519", file)
	}
	return ed, nil
}

package house

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "leash"

// mayImport lists which packages of this module the product code of a folder may import. A
// name covers the folders below it; the longest name that fits counts. Packages that no
// name covers (benchmarks, tests of the whole) may import any.
var mayImport = map[string][]string{
	"cmd": {"watch", "scan", "reap", "internal", "platform"},
	"watch": {"internal/system", "internal/stop", "internal/heartbeat", "internal/event", "internal/proc",
		"internal/ledger", "internal/owner", "internal/runid"},
	"watch/watchsim": {"watch", "internal"},
	"watch/pool":     {"watch", "internal"},
	"scan":           {"internal/snapshot", "internal/owner", "internal/ledger", "internal/proc"},
	"reap":           {"scan", "internal/snapshot", "internal/owner", "internal/stop", "internal/proc"},

	"internal":       {"internal"},
	"internal/proc":  {},
	"internal/event": {},
	"internal/runid": {},
	"internal/stop":  {"internal/proc"},
	"internal/gauge": {},

	"internal/snapshot": {"internal/owner", "internal/ledger", "internal/proc"},

	"platform":       {"platform", "internal"},
	"platform/posix": {"internal"},
}

// kits are for tests: product code never imports them, tests may.
var kits = []string{"internal/testkit", "platform/platformtest", "watch/watchsim"}

func TestImports(t *testing.T) {
	rules := make(map[string]bool)
	for _, f := range sources(t, ".go") {
		if slices.Contains(strings.Split(f, "/"), "testdata") {
			continue
		}
		name, imports := readGo(t, f)
		dir := path.Dir(f)
		rules[rule(dir)] = true
		for _, complaint := range complaints(dir, strings.HasSuffix(f, "_test.go"), imports) {
			t.Errorf("%s: %s", f, complaint)
		}
		if vague(name) || vague(path.Base(dir)) {
			t.Errorf("%s: package %s: name it after what it does", f, name)
		}
	}
	for _, want := range []string{"cmd", "watch", "scan", "reap", "internal/proc", "internal/stop", "platform", "platform/posix"} {
		if !rules[want] {
			t.Errorf("no file of %s was found: this test searches the wrong folder", want)
		}
	}
}

// complaints lists the imports of a file in dir that mayImport does not allow.
func complaints(dir string, test bool, imports []string) (list []string) {
	here := rule(dir)
	for _, name := range imports {
		to, ours := strings.CutPrefix(name, module+"/")
		if !ours || to == dir {
			continue
		}
		switch {
		case within(to, kits):
			if !test && here != "" && !within(dir, kits) {
				list = append(list, name+" is for tests only")
			}
		case here == "" || within(to, mayImport[here]):
		case test && !(pure(here) && within(to, []string{"platform"})):
			// A test may import more, but a pure package stays pure.
		default:
			list = append(list, fmt.Sprintf("%s must not import %s", dir, name))
		}
	}
	return list
}

func pure(rule string) bool { return rule == "watch" || rule == "scan" || rule == "reap" }

// rule is the longest name in mayImport that covers dir, "" if there is none.
func rule(dir string) (longest string) {
	for name := range mayImport {
		if within(dir, []string{name}) && len(name) > len(longest) {
			longest = name
		}
	}
	return longest
}

func within(dir string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool {
		return dir == r || strings.HasPrefix(dir, r+"/")
	})
}

func vague(name string) bool {
	return slices.Contains([]string{"util", "utils", "helpers", "misc"}, strings.TrimSuffix(name, "_test"))
}

func readGo(t *testing.T, file string) (name string, imports []string) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), file), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		imports = append(imports, p)
	}
	return f.Name.Name, imports
}

// sources lists the files with these endings, relative to the module.
func sources(t *testing.T, endings ...string) (files []string) {
	top := os.DirFS(root(t))
	err := fs.WalkDir(top, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin"):
			return fs.SkipDir
		case !d.IsDir() && slices.Contains(endings, path.Ext(p)):
			files = append(files, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func root(t *testing.T) string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Each rule must be able to fail.
func TestComplaints(t *testing.T) {
	for _, c := range []struct {
		dir, imports string
		test         bool
		bad          bool
	}{
		{dir: "cmd/watchdog", imports: "leash/watch"},
		{dir: "cmd/watchdog", imports: "leash/platform"},
		{dir: "cmd/watchdog", imports: "leash/internal/runid"},
		{dir: "cmd/watchdog", imports: "leash/cmd/reaper", bad: true},
		{dir: "cmd/watchdog", imports: "leash/bench", bad: true},
		{dir: "cmd/watchdog", imports: "leash/internal/testkit", bad: true},
		{dir: "cmd/watchdog", imports: "leash/internal/testkit", test: true},
		{dir: "watch", imports: "log/slog"},
		{dir: "watch", imports: "leash/internal/stop"},
		{dir: "watch", imports: "leash/internal/system"},
		{dir: "watch", imports: "leash/internal/testkit", bad: true},
		{dir: "watch/watchsim", imports: "leash/watch"},
		{dir: "watch/watchsim", imports: "leash/platform", bad: true},
		{dir: "watch/watchsim", imports: "leash/platform/platformtest", test: true},
		{dir: "watch", imports: "leash/platform", bad: true},
		{dir: "watch", imports: "leash/platform/linux", bad: true},
		{dir: "watch", imports: "leash/platform", test: true, bad: true},
		{dir: "watch", imports: "leash/watch/watchsim", test: true},
		{dir: "watch", imports: "leash/watch/watchsim", bad: true},
		{dir: "cmd/watchdog", imports: "leash/watch/watchsim", bad: true},
		{dir: "scan", imports: "leash/platform/posix", bad: true},
		{dir: "scan/evidence", imports: "leash/platform", test: true, bad: true},
		{dir: "scan", imports: "leash/internal/owner"},
		{dir: "scan", imports: "leash/reap", bad: true},
		{dir: "scan", imports: "leash/internal/stop", bad: true},
		{dir: "reap", imports: "leash/scan"},
		{dir: "reap", imports: "leash/internal/stop"},
		{dir: "reap", imports: "leash/internal/ledger", bad: true},
		{dir: "reap", imports: "leash/internal/ledger", test: true},
		{dir: "reap", imports: "leash/platform", bad: true},
		{dir: "reap", imports: "leash/platform/linux", test: true, bad: true},
		{dir: "reap", imports: "leash/watch", bad: true},
		{dir: "watch", imports: "leash/scan", bad: true},
		{dir: "internal/proc", imports: "errors"},
		{dir: "internal/proc", imports: "leash/internal/event", bad: true},
		{dir: "internal/stop", imports: "leash/internal/proc"},
		{dir: "internal/stop", imports: "leash/internal/runid", bad: true},
		{dir: "internal/stop", imports: "leash/watch", bad: true},
		{dir: "internal/ledger", imports: "leash/internal/proc"},
		{dir: "internal/ledger", imports: "leash/watch", bad: true},
		{dir: "platform/linux", imports: "leash/watch", bad: true},
		{dir: "platform", imports: "leash/scan", bad: true},
		{dir: "platform/linux", imports: "leash/scan", bad: true},
		{dir: "platform/linux", imports: "leash/scan", test: true},
		{dir: "platform/windows", imports: "leash/reap", bad: true},
		{dir: "internal/snapshot", imports: "leash/scan", bad: true},
		{dir: "platform/linux", imports: "leash/cmd/watchdog", bad: true},
		{dir: "platform/posix", imports: "leash/platform/linux", bad: true},
		{dir: "bench", imports: "leash/internal/testkit"},
	} {
		if got := complaints(c.dir, c.test, []string{c.imports}); (len(got) > 0) != c.bad {
			t.Errorf("%s imports %s (test: %t): %q", c.dir, c.imports, c.test, got)
		}
	}
	if !vague("util") || !vague("utils_test") || vague("proc") {
		t.Error("names")
	}
}

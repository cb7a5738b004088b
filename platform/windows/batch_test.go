package windows

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestIsBatch(t *testing.T) {
	for _, path := range []string{`a.bat`, `C:\x\A.Bat`, `a.cmd`, `a.bat.`, `a.cmd . .`} {
		if !isBatch(path) {
			t.Errorf("%q is one", path)
		}
	}
	for _, path := range []string{``, `a.exe`, `bat`, `a.bat.exe`, `a.bat\b`} {
		if isBatch(path) {
			t.Errorf("%q is none", path)
		}
	}
}

func TestBatchLine(t *testing.T) {
	const begin = `cmd.exe /d /e:on /v:off /s /c "`
	for _, c := range []struct {
		path string
		args []string
		want string
	}{
		{`C:\w.bat`, nil, `"C:\w.bat"`},
		{`C:/my dir/w.bat`, []string{"a", "", "b c"}, `"C:\my dir\w.bat" a "" "b c"`},
		{`w.bat`, []string{"x&echo y", "a|b", ">nul", "^", "!X!", "a=b", "a,b", "a;b", "(", "é"},
			`"w.bat" "x&echo y" "a|b" ">nul" "^" "!X!" "a=b" "a,b" "a;b" "(" "é"`},
		{`w.bat`, []string{`C:\d\`, `C:\d e\\`, `--n=1`}, `"w.bat" C:\d\ "C:\d e\\\\" "--n=1"`},
	} {
		if got, err := batchLine(c.path, c.args); err != nil || got != begin+c.want+`"` {
			t.Errorf("%q: %s, %v", c.args, got, err)
		}
	}
	long := strings.Repeat("é", maxBatchLine-len(begin+`"w.bat" """`))
	if line, err := batchLine("w.bat", []string{long}); err != nil || !strings.HasSuffix(line, `é""`) {
		t.Errorf("as long as may be: %v", err)
	}
	if _, err := batchLine("w.bat", []string{long + "é"}); err == nil {
		t.Error("too long, and it is not refused")
	}
	for _, bad := range []string{`a"b`, "100%", "%PATH%", "a\nb", "a\rb", "a\x00"} {
		if got, err := batchLine("w.bat", []string{"well", bad}); err == nil || !strings.Contains(err.Error(), "argument 2") {
			t.Errorf("%q: %s, %v", bad, got, err)
		}
		if got, err := batchLine(bad+".bat", nil); err == nil || !strings.Contains(err.Error(), "its path") {
			t.Errorf("%q: %s, %v", bad, got, err)
		}
	}
}

// Whatever is not refused is either plain or between quotes, as cmd.exe counts
// them: each quote begins or ends.
func TestBatchLineKeepsEverythingQuoted(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const some = "ab 1&|<>^()!,;=\t'`~@\\/é\"%\n"
	for range 20000 {
		args := make([]string, random.IntN(4))
		for i := range args {
			for range random.IntN(6) {
				args[i] += string([]rune(some)[random.IntN(len([]rune(some)))])
			}
		}
		line, err := batchLine("w.bat", args)
		if refused := strings.ContainsAny(strings.Join(args, ""), "\"%\n"); refused != (err != nil) {
			t.Fatalf("%q: %v", args, err)
		}
		line, _ = strings.CutPrefix(line, `cmd.exe /d /e:on /v:off /s /c "`)
		line, _ = strings.CutSuffix(line, `"`)
		quoted := false
		for _, r := range line {
			if r == '"' {
				quoted = !quoted
			} else if !quoted && strings.ContainsRune("&|<>^()!,;=\t'`~%\n", r) {
				t.Fatalf("%q: %q is not between quotes: %s", args, r, line)
			}
		}
		if quoted {
			t.Fatalf("%q: a quote has no end: %s", args, line)
		}
	}
}

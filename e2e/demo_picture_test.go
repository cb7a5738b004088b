//go:build linux

package e2e

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// TestDemoPicture records the demo. A page shows both pictures by <img>, so they are
// whole XML, small, and without a script.
func TestDemoPicture(t *testing.T) {
	testkit.Need(t, "python3")
	dir := t.TempDir()
	cmd := exec.Command("python3", "-B", "demo/record.py", "--watchdog", testkit.Watchdog(t), "--to", dir)
	cmd.Dir = testkit.Root(t)
	if status, stdout, stderr := testkit.Run(t, cmd); status != 0 || stderr != "" {
		t.Fatalf("status %d, %s%s", status, stdout, stderr)
	}
	for name, moves := range map[string]bool{"demo.svg": true, "demo-still.svg": false} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		elements := map[string]int{}
		decoder := xml.NewDecoder(strings.NewReader(string(text)))
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if start, ok := token.(xml.StartElement); ok {
				elements[start.Name.Local]++
			}
		}
		if len(text) > 100_000 || elements["script"] > 0 || elements["text"] < 20 || (elements["animate"] > 0) != moves {
			t.Errorf("%s: %d bytes, elements %v", name, len(text), elements)
		}
		if !strings.Contains(string(text), "0 of 30 processes") {
			t.Errorf("%s does not show the result:\n%s", name, text)
		}
	}
}

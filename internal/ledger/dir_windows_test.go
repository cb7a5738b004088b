//go:build windows

package ledger

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestSaveRemove(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	r := sample()
	path := filepath.Join(dir.Name(), r.Name())
	if err := os.WriteFile(path+torn, []byte("leash 1\nru"), 0o600); err != nil { // of one that was killed
		t.Fatal(err)
	}
	for _, ending := range []bool{false, true} { // the second over the first
		r.Ending = ending
		if err := Save(dir, &r); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(b); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if left, _ := os.ReadDir(dir.Name()); len(left) != 1 {
		t.Errorf("there are %v", left)
	}
	for range 2 { // the second time it is removed already
		if err := Remove(dir, r.Name()); err != nil {
			t.Error(err)
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Save(dir, &r); err == nil {
		t.Error("a folder was replaced")
	}
	if err := Remove(dir, r.Name()); err == nil {
		t.Error("a folder was removed")
	}
	if left, _ := os.ReadDir(dir.Name()); len(left) != 1 {
		t.Errorf("half a record is left: %v", left)
	}
	r.WorkerID = strings.Repeat("x", maxSize)
	if err := Save(dir, &r); err == nil {
		t.Error("a huge record was saved")
	}
}

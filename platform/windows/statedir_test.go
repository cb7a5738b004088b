//go:build windows

package windows

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	win "golang.org/x/sys/windows"
)

func TestStateDir(t *testing.T) {
	base := t.TempDir()
	t.Setenv("LEASH_STATE_DIR", "")
	t.Setenv("LOCALAPPDATA", base)
	for range 2 { // made, then found
		f, err := StateDir()
		if err != nil {
			t.Fatal(err)
		}
		if f.Name() != filepath.Join(base, "leash") {
			t.Error(f.Name())
		}
		f.Close()
	}
	named := filepath.Join(base, "a", "b")
	t.Setenv("LEASH_STATE_DIR", named)
	if _, err := StateDir(); err == nil {
		t.Error("the folder above was made")
	}
	if err := os.Mkdir(filepath.Dir(named), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := StateDir()
	if err != nil || f.Name() != named {
		t.Fatal(err)
	}
	f.Close()
	file := filepath.Join(base, "file")
	os.WriteFile(file, nil, 0o600)
	t.Setenv("LEASH_STATE_DIR", file)
	if _, err := StateDir(); err == nil {
		t.Error("a file is taken")
	}
	shared := filepath.Join(base, "shared")
	sd, err := win.SecurityDescriptorFromString("D:P(A;OICI;FA;;;WD)")
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := sd.DACL()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := win.SetNamedSecurityInfo(shared, win.SE_FILE_OBJECT, win.DACL_SECURITY_INFORMATION, nil, nil, list, nil); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LEASH_STATE_DIR", shared)
	if _, err := StateDir(); !errors.Is(err, errWrites) {
		t.Errorf("a folder that all may write in: %v", err)
	}
	t.Setenv("LEASH_STATE_DIR", "")
	t.Setenv("LOCALAPPDATA", "")
	if _, err := StateDir(); err == nil {
		t.Error("there is no place")
	}
}

// Wine keeps of an access list what Unix modes can say, so these are judged alone.
func TestAccessLists(t *testing.T) {
	user, err := userSID()
	if err != nil {
		t.Fatal(err)
	}
	for list, want := range map[string]error{
		"(A;;FA;;;" + user.String() + ")(A;;FA;;;SY)(A;;FA;;;BA)": nil,
		"(A;;FRFX;;;WD)":     nil,
		"(D;;FA;;;WD)":       nil,
		"(A;OICIIO;FA;;;CO)": nil,
		"(A;;0x2;;;WD)":      errWrites,
		"(A;;0x100;;;BU)":    errWrites, // attributes: a folder may become a link
		"(A;OICIIO;FW;;;AU)": errWrites, // what is made in it
		"(A;;WD;;;AU)":       errWrites,
	} {
		sd, err := win.SecurityDescriptorFromString("D:P" + list)
		if err != nil {
			t.Fatal(list, err)
		}
		acl, _, err := sd.DACL()
		if err != nil {
			t.Fatal(list, err)
		}
		if err := checkList(acl, user); !errors.Is(err, want) {
			t.Errorf("%s: %v", list, err)
		}
	}
}

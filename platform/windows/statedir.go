//go:build windows

package windows

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	win "golang.org/x/sys/windows"
)

// StateDir opens the folder for what watchdogs and reapers of one user share:
// LEASH_STATE_DIR, or leash in the folder of the user's data that stays on this
// machine. If only it is missing, it is made for this user, the system and
// administrators alone: whatever else could write there could mislead us.
func StateDir() (*os.File, error) {
	dir, _, err := stateDir()
	if err != nil {
		return nil, err
	}
	user, err := userSID()
	if err != nil {
		return nil, err
	}
	if err := makePrivate(dir, user); err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return openPrivate(dir, user)
}

// stateDir is where it is, and whether the user has named it.
func stateDir() (dir string, named bool, err error) {
	if dir = os.Getenv("LEASH_STATE_DIR"); dir != "" {
		return dir, true, nil
	}
	base := os.Getenv("LOCALAPPDATA")
	if !filepath.IsAbs(base) {
		return "", false, errors.New("LOCALAPPDATA names no folder: set it, or LEASH_STATE_DIR")
	}
	return filepath.Join(base, "leash"), false, nil
}

// openPrivate opens a folder that no other user could write in.
func openPrivate(dir string, user *win.SID) (*os.File, error) {
	if err := checkPrivate(dir, user); errors.Is(err, os.ErrNotExist) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%s must be a folder that you alone may write in (%w): it is not used", dir, err)
	}
	return os.Open(dir)
}

func userSID() (*win.SID, error) {
	u, err := win.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, os.NewSyscallError("GetTokenInformation", err)
	}
	return u.User.Sid, nil
}

// makePrivate makes it, if it is not there, with an access list that inherits
// nothing ("Security Descriptor String Format"): all rights for the user, the
// system (SY) and administrators (BA).
func makePrivate(dir string, user *win.SID) error {
	sd, err := win.SecurityDescriptorFromString("D:P(A;OICI;FA;;;" + user.String() + ")(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)")
	if err != nil {
		return err
	}
	name, err := win.UTF16PtrFromString(dir)
	if err != nil {
		return err
	}
	sa := win.SecurityAttributes{SecurityDescriptor: sd}
	sa.Length = uint32(unsafe.Sizeof(sa))
	if err := win.CreateDirectory(name, &sa); err != nil && !errors.Is(err, win.ERROR_ALREADY_EXISTS) {
		return err
	}
	return nil
}

var (
	errLink   = errors.New("it is no plain folder")
	errOwner  = errors.New("its owner is another")
	errWrites = errors.New("its access list lets others write")
)

// checkPrivate refuses a folder of another user, or that others may write in.
func checkPrivate(dir string, user *win.SID) error {
	if info, err := os.Lstat(dir); err != nil {
		return err
	} else if !info.IsDir() || info.Mode()&(os.ModeSymlink|os.ModeIrregular) != 0 {
		return errLink
	}
	sd, err := win.GetNamedSecurityInfo(dir, win.SE_FILE_OBJECT, win.OWNER_SECURITY_INFORMATION|win.DACL_SECURITY_INFORMATION)
	if err != nil {
		return err
	}
	if is, _, err := sd.Owner(); err != nil || !trusted(is, user) {
		return errors.Join(errOwner, err)
	}
	list, _, err := sd.DACL()
	if err != nil || list == nil { // without a list all may do everything
		return errors.Join(errWrites, err)
	}
	return checkList(list, user)
}

// checkList refuses an access list that lets others write.
func checkList(list *win.ACL, user *win.SID) error {
	for i := range uint32(list.AceCount) {
		var ace *win.ACCESS_ALLOWED_ACE
		if err := win.GetAce(list, i, &ace); err != nil {
			return err
		}
		is := (*win.SID)(unsafe.Pointer(&ace.SidStart))
		switch {
		case ace.Header.AceType == win.ACCESS_DENIED_ACE_TYPE, uint32(ace.Mask)&writes == 0:
		case ace.Header.AceType != win.ACCESS_ALLOWED_ACE_TYPE, !trusted(is, user) && !is.IsWellKnown(win.WinCreatorOwnerSid):
			return errWrites
		}
	}
	return nil
}

// writes are the rights by which a folder, or what is in it, is changed ("File
// Access Rights Constants", "Generic Access Rights").
const writes = win.GENERIC_ALL | win.GENERIC_WRITE | win.WRITE_DAC | win.WRITE_OWNER | win.DELETE |
	0x2 | 0x4 | 0x40 | // FILE_ADD_FILE, FILE_ADD_SUBDIRECTORY, FILE_DELETE_CHILD
	win.FILE_WRITE_ATTRIBUTES // enough to make a link of an empty folder (FSCTL_SET_REPARSE_POINT)

// trusted: the user, or one that could do anything to it anyway. What administrators
// make may belong to all of them.
func trusted(is, user *win.SID) bool {
	return is.Equals(user) || is.IsWellKnown(win.WinBuiltinAdministratorsSid) || is.IsWellKnown(win.WinLocalSystemSid)
}

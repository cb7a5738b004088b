package ledger

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// rewound opens the directory again: with Wine a handle keeps listing the files of its
// first listing.
func rewound(dir *os.File) (*os.File, error) { return os.Open(dir.Name()) }

// tries is how often a file that cannot be opened is tried again.
const tries = 5

// foreign is false: when the directory was opened it was made sure that it is our own.
func foreign(*os.File) (owner uint32, is bool) { return 0, false }

// openFile opens a file of our own user. Windows has no user IDs: the owner is 0, and the
// caller sets its own.
//
// A link or mount point is not followed, and a folder is opened too ("CreateFileW
// function", FILE_FLAG_OPEN_REPARSE_POINT and FILE_FLAG_BACKUP_SEMANTICS), and the type is
// checked by the handle. Others may rename and delete the file meanwhile.
func openFile(dir *os.File, name string, most int64) (f *os.File, uid uint32, err error) {
	path := filepath.Join(dir.Name(), name)
	wide, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, 0, err
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	const flags = windows.FILE_FLAG_OPEN_REPARSE_POINT | windows.FILE_FLAG_BACKUP_SEMANTICS
	h, err := windows.CreateFile(wide, windows.GENERIC_READ, share, nil, windows.OPEN_EXISTING, flags, 0)
	for n := 0; n < tries && inUse(err); n++ { // it is being removed, or read by a virus scanner
		pause()
		h, err = windows.CreateFile(wide, windows.GENERIC_READ, share, nil, windows.OPEN_EXISTING, flags, 0)
	}
	if err != nil {
		return nil, 0, err
	}
	f = os.NewFile(uintptr(h), path)
	if err := acceptable(h, most); err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, 0, nil
}

func acceptable(h windows.Handle, most int64) error {
	if kind, err := windows.GetFileType(h); err != nil || kind != windows.FILE_TYPE_DISK {
		return errNotRegular // a device, whose name is reserved in every folder
	}
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(h, &info); err != nil {
		return err
	}
	if !regular(info.FileAttributes) {
		return errNotRegular
	}
	if err := tooLarge(int64(info.FileSizeHigh)<<32|int64(info.FileSizeLow), most); err != nil {
		return err
	}
	sd, err := windows.GetSecurityInfo(h, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("its owner cannot be read: %w", err)
	}
	owner, _, err := sd.Owner()
	if err != nil || owner == nil {
		return errForeign
	}
	return ours(owner)
}

func regular(attributes uint32) bool {
	const special = windows.FILE_ATTRIBUTE_REPARSE_POINT | windows.FILE_ATTRIBUTE_DIRECTORY | windows.FILE_ATTRIBUTE_DEVICE
	return attributes&special == 0
}

// ours reports whether a file is our own. Files of administrators may belong to their
// group, which is trusted anyway.
func ours(owner *windows.SID) error {
	me, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return os.NewSyscallError("GetTokenInformation", err)
	}
	if !owner.Equals(me.User.Sid) && !owner.IsWellKnown(windows.WinBuiltinAdministratorsSid) && !owner.IsWellKnown(windows.WinLocalSystemSid) {
		return errForeign
	}
	return nil
}

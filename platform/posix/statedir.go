//go:build unix

package posix

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// StateDir opens the folder that the watchdogs and reapers of one user share: LEASH_STATE_DIR;
// otherwise the first that is available of $XDG_RUNTIME_DIR/leash, /run/leash for root, leash
// in the user's cache folder, and .leash in the home folder. It is created with mode 0700 if
// only the folder itself is missing; folders above it are not created. It must belong to this
// user or to root, and no other user may have write access: records written by another user
// could mislead us.
func StateDir() (*os.File, error) {
	if dir := os.Getenv("LEASH_STATE_DIR"); dir != "" {
		return makePrivate(dir)
	}
	var errs []error
	for _, dir := range defaults() {
		f, err := makePrivate(dir)
		if err == nil {
			return f, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 { // an ordinary user with an empty environment
		return nil, errors.New("none of LEASH_STATE_DIR, XDG_RUNTIME_DIR and HOME is set")
	}
	return nil, errors.Join(errs...)
}

// defaults lists the places of the folder where LEASH_STATE_DIR is not set.
func defaults() (dirs []string) {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		dirs = append(dirs, filepath.Join(dir, "leash"))
	}
	if os.Geteuid() == 0 {
		dirs = append(dirs, "/run/leash")
	}
	if dir, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, filepath.Join(dir, "leash"))
	}
	// Not every home has a cache folder, and we do not create it.
	if dir, err := os.UserHomeDir(); err == nil && filepath.IsAbs(dir) {
		dirs = append(dirs, filepath.Join(dir, ".leash"))
	}
	return dirs
}

// StateDirs opens every such folder that exists, and creates none. Which one a watchdog used
// depends on its environment, so all are read; root reads those of other users too. Folders
// that cannot be trusted are reported as problems.
func StateDirs() (dirs []*os.File, problems []error) {
	open := func(dir string, uid int) {
		f, err := openPrivate(dir, uid)
		if err == nil {
			dirs = append(dirs, f)
		} else if !errors.Is(err, os.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	if dir := os.Getenv("LEASH_STATE_DIR"); dir != "" {
		uid := os.Geteuid()
		if uid == 0 { // another user's folder describes that user's processes
			uid = anybody
		}
		if open(dir, uid); len(problems) > 0 {
			problems[0] = fmt.Errorf("LEASH_STATE_DIR: %w", problems[0])
		}
		return dirs, problems
	}
	for _, dir := range defaults() {
		open(dir, os.Geteuid())
	}
	if os.Geteuid() == 0 {
		for _, user := range usersOf(runtimeDirs) {
			dir := filepath.Join(runtimeDirs, strconv.Itoa(user), "leash")
			if !slices.Contains(defaults(), dir) {
				open(dir, user)
			}
		}
	}
	return dirs, problems
}

// runtimeDirs is where systemd creates the XDG_RUNTIME_DIR of each user who is logged in,
// named by the user ID (pam_systemd(8)).
const runtimeDirs = "/run/user"

// usersOf lists the users for which a folder has a folder. Root is among them: its watchdogs
// may run in a login session and the reaper at boot.
func usersOf(dir string) (uids []int) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if uid, err := strconv.Atoi(e.Name()); err == nil && uid >= 0 {
			uids = append(uids, uid)
		}
	}
	return uids
}

// makePrivate creates the folder if it is missing. The folders above it may be shared or
// belong to another user: none of them is created.
func makePrivate(dir string) (*os.File, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return openPrivate(dir, os.Geteuid())
}

// anybody stands for every user.
const anybody = -1

// openPrivate opens a folder that belongs to this user or to root and is writable by no other
// user. An access list counts too: its mask shows as the permissions of the group (acl(5)).
func openPrivate(dir string, uid int) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil {
		switch {
		case uid != anybody && int(st.Uid) != uid && st.Uid != 0:
			err = fmt.Errorf("it belongs to user %d and must belong to user %d or to root", st.Uid, uid)
		case st.Mode&0o022 != 0:
			err = fmt.Errorf("others than its owner may write in it (mode %04o): chmod go-w", st.Mode&0o7777)
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s is not used: %w", dir, err)
	}
	return os.NewFile(uintptr(fd), dir), nil
}

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

// StateDir opens the folder for what watchdogs and reapers of one user share:
// LEASH_STATE_DIR; else $XDG_RUNTIME_DIR/leash, /run/leash for root, or leash
// in the user's cache folder, the first that is to be had. It is made with mode
// 0700 and must be ours: whoever else could write there could mislead us.
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

// defaults lists the places of the folder where the user names none.
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
	return dirs
}

// StateDirs opens every such folder that exists, and makes none. Which one a
// watchdog used depends on its environment, so all are looked into; root looks
// into those of users too. One that the user named and that cannot be trusted
// is an error, another is told among the problems.
func StateDirs() (dirs []*os.File, problems []error, err error) {
	if dir := os.Getenv("LEASH_STATE_DIR"); dir != "" {
		f, err := openPrivate(dir, os.Geteuid())
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, nil, nil
		case err != nil:
			return nil, nil, fmt.Errorf("LEASH_STATE_DIR: %w", err)
		}
		return []*os.File{f}, nil, nil
	}
	open := func(dir string, uid int) {
		f, err := openPrivate(dir, uid)
		if err == nil {
			dirs = append(dirs, f)
		} else if !errors.Is(err, os.ErrNotExist) {
			problems = append(problems, err)
		}
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
	return dirs, problems, nil
}

// runtimeDirs is where systemd makes the XDG_RUNTIME_DIR of each user who is
// logged in, named by his number (pam_systemd(8)).
const runtimeDirs = "/run/user"

// usersOf lists the users that a folder has a folder for: root too, whose
// watchdogs may have been started in a login and the reaper at boot.
func usersOf(dir string) (uids []int) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if uid, err := strconv.Atoi(e.Name()); err == nil && uid >= 0 {
			uids = append(uids, uid)
		}
	}
	return uids
}

func makePrivate(dir string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return openPrivate(dir, os.Geteuid())
}

// openPrivate opens a folder that nobody but this user could write in.
func openPrivate(dir string, uid int) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || int(st.Uid) != uid || st.Mode&0o077 != 0 {
		unix.Close(fd)
		return nil, fmt.Errorf("%s must belong to user %d and be of mode 0700: it is not used", dir, uid)
	}
	return os.NewFile(uintptr(fd), dir), nil
}

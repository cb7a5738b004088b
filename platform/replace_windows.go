package platform

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// ReplaceFile writes a file and puts it in the place of an older one in one step.
func ReplaceFile(path string, text []byte) error {
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return &os.PathError{Op: "write", Path: path, Err: errors.New("it is no regular file")}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

package ledger

import (
	"errors"
	"os"
	"path/filepath"
)

// appendTo appends a line to the totals. There the lines are never put together.
func appendTo(dir *os.File, line []byte) error {
	f, err := os.OpenFile(filepath.Join(dir.Name(), totals), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxTotals) {
		err = errors.New("it is too large, or no file: " + f.Name())
	}
	if err == nil {
		_, err = f.Write(line)
	}
	return errors.Join(err, f.Close())
}

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io/fs"
	"time"
)

// entry is one file of an archive: a link if it says to what.
type entry struct {
	path string
	data []byte
	mode fs.FileMode
	link string // symbolic
	hard string // another path of the same archive
}

// tarball has fixed owners and one time, so that the same entries give the same bytes.
func tarball(entries []entry, mtime time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.path, Mode: int64(e.mode), Size: int64(len(e.data)), ModTime: mtime, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		switch {
		case e.link != "":
			h.Typeflag, h.Linkname, h.Size, h.Mode = tar.TypeSymlink, e.link, 0, 0o777
		case e.hard != "":
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, e.hard, 0
		case e.mode.IsDir():
			h.Typeflag, h.Name, h.Mode, h.Size = tar.TypeDir, e.path+"/", int64(e.mode.Perm()), 0
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data[:h.Size]); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// gzipped has neither name nor time in its header.
func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // of a valid level
	w.Write(data)                                         // to memory
	w.Close()
	return b.Bytes()
}

func zipped(entries []entry, mtime time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	if least := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC); mtime.Before(least) {
		mtime = least // the first time that the format has
	}
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.path, Method: zip.Deflate, Modified: mtime.UTC()}
		h.SetMode(e.mode)
		f, err := w.CreateHeader(h)
		if err != nil {
			return nil, err
		}
		if _, err := f.Write(e.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

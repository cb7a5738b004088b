package linux

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
)

func readRows(b []byte) (rows []row, err error) {
	err = eachRow(b, func(r row) { rows = append(rows, r) })
	return rows, err
}

func TestTableRoundTrip(t *testing.T) {
	for _, rows := range [][]row{
		nil,
		{{1, 2, 3, 4}},
		{{1 << 31, 1<<32 - 1, 0, 1<<64 - 1}, {}, {4194304, 5, 6, 7}},
	} {
		b := encodeTable(99, rows)
		if len(b) != headSize+len(rows)*rowSize {
			t.Errorf("%d rows make %d bytes", len(rows), len(b))
		}
		got, err := readRows(b)
		if err != nil || !slices.Equal(got, rows) || tableBegan(b) != 99 {
			t.Errorf("%v came back as %v of %d, %v", rows, got, tableBegan(b), err)
		}
	}
}

// Torn and foreign files are refused as a whole: no row of them is returned.
func TestTableRefuses(t *testing.T) {
	whole := encodeTable(99, []row{{1, 2, 3, 4}, {5, 6, 7, 8}})
	change := func(at int, to byte) []byte {
		b := bytes.Clone(whole)
		b[at] = to
		return b
	}
	bad := map[string][]byte{
		"empty": nil, "began at 0": encodeTable(0, []row{{1, 2, 3, 4}}),
		"no head yet": make([]byte, len(whole)), "foreign": bytes.Repeat([]byte("text "), 40),
		"another version": change(0, 2), "another magic": change(7, 0xff),
		"more rows said": change(16, 3), "fewer rows said": change(16, 1), "very many said": change(23, 0x80),
		"a row too many": append(bytes.Clone(whole), make([]byte, rowSize)...),
	}
	for n := range len(whole) {
		bad[fmt.Sprint("the first ", n)] = whole[:n]
	}
	for name, b := range bad {
		if rows, err := readRows(b); err == nil || len(rows) > 0 {
			t.Errorf("%s: %v, %v", name, rows, err)
		}
	}
	for n := range headSize {
		if got := tableBegan(whole[:n]); got != 0 {
			t.Errorf("%d bytes of a head began at %d", n, got)
		}
	}
}

func TestLabelHash(t *testing.T) {
	for _, c := range [][2]string{{"", ""}, {"abc1234", ""}, {"", "w1"}} {
		if labelHash(c[0], c[1]) != 0 {
			t.Errorf("%q: half a label is none", c)
		}
	}
	seen := map[uint64][2]string{0: {}}
	for _, c := range [][2]string{
		{"abc1234", "w1"}, {"abc1234", "w2"}, {"abc1235", "w1"}, {"w1", "abc1234"},
		{"abc1234w", "1"}, {"abc123", "4w1"}, {"abc1234", "w11"},
	} {
		h := labelHash(c[0], c[1])
		if other, ok := seen[h]; ok {
			t.Errorf("%q and %q are taken for one", c, other)
		}
		seen[h] = c
		if h != labelHash(c[0], c[1]) {
			t.Errorf("%q: two hashes", c)
		}
	}
}

// FuzzEachRow checks that a table which is accepted is what a writer of its rows would write.
func FuzzEachRow(f *testing.F) {
	f.Add(encodeTable(99, []row{{1, 2, 3, 4}, {5, 6, 7, 8}}))
	f.Add(encodeTable(1, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		good := false
		if len(b) >= headSize {
			began := binary.LittleEndian.Uint64(b[8:])
			same := encodeTable(began, make([]row, (len(b)-headSize)/rowSize))
			good = began != 0 && len(b) == len(same) && bytes.HasPrefix(b, same[:headSize])
		}
		rows, err := readRows(b)
		if good != (err == nil) || !good && len(rows) > 0 {
			t.Fatalf("%x: %v, %v", b, rows, err)
		}
		if good && !bytes.HasPrefix(b, encodeTable(tableBegan(b), rows)) {
			t.Errorf("%x was read as %v", b, rows)
		}
	})
}

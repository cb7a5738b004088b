package runid

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

func TestNewIsUniform(t *testing.T) {
	const ids = 20_000
	random := rand.NewChaCha8([32]byte{1})
	var seen [256]int
	var places [Len][256]int
	distinct := make(map[string]bool, ids)
	for range ids {
		id, err := New(random)
		if err != nil {
			t.Fatal(err)
		}
		if !current(id) {
			t.Fatalf("%q is no run ID", id)
		}
		distinct[id] = true
		for i := range len(id) {
			seen[id[i]]++
			places[i][id[i]]++
		}
	}
	// 35 degrees of freedom: 35 ± 8.4. Bytes taken modulo 36 without throwing
	// away the highest would give about 300 for all places together.
	if x := chiSquare(&seen); x > 100 {
		t.Errorf("chi-square of all characters: %.1f, want about 35", x)
	}
	for i := range places {
		if x := chiSquare(&places[i]); x > 100 {
			t.Errorf("chi-square of character %d: %.1f, want about 35", i+1, x)
		}
	}
	if len(distinct) < ids-10 { // 0.003 pairs are to be expected
		t.Errorf("%d different IDs of %d", len(distinct), ids)
	}
}

// chiSquare measures how far the counts of the 36 digits are from even.
func chiSquare(counts *[256]int) (x float64) {
	total := 0
	for _, c := range []byte(digits) {
		total += counts[c]
	}
	want := float64(total) / float64(len(digits))
	for _, c := range []byte(digits) {
		d := float64(counts[c]) - want
		x += d * d / want
	}
	return x
}

func TestNewPassesOverTheHighestBytes(t *testing.T) {
	random := bytes.NewReader([]byte{
		252, 253, 254, 255, 252, 253, 254, 255, 252, 253, 254, 255, 252, 253, 254, 255,
		0, 255, 35, 36, 251, 10, 216, 9, 1, 1, 1, 1, 1, 1, 1, 1,
	})
	id, err := New(random)
	if err != nil || id != "0z0za09" {
		t.Errorf("%q, %v", id, err)
	}
}

func TestNewSaysThatItsSourceFails(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		random io.Reader
		want   error
	}{
		"at once":   {iotest.ErrReader(broken), broken},
		"empty":     {bytes.NewReader(nil), io.EOF},
		"too short": {bytes.NewReader([]byte{1, 2, 3, 4, 5, 6, 7, 8}), io.ErrUnexpectedEOF},
		"later": {io.MultiReader(bytes.NewReader(bytes.Repeat([]byte{255}, 16)),
			iotest.ErrReader(broken)), broken},
	} {
		if id, err := New(c.random); !errors.Is(err, c.want) || id != "" {
			t.Errorf("%s: %q, %v; want %v", name, id, err, c.want)
		}
	}
	// A source that gives little at a time has not failed.
	if id, err := New(iotest.OneByteReader(bytes.NewReader(make([]byte, 16)))); err != nil || id != "0000000" {
		t.Errorf("byte by byte: %q, %v", id, err)
	}
}

func TestValid(t *testing.T) {
	for s, want := range map[string]bool{
		"abc1234": true, "0000000": true, "zzzzzzz": true,
		"1760151234493767_621181": true, "1234567890_1": true,
		"12345678901234567890_1234567890": true,
		"":                                false, "abc123": false, "abc12345": false, "ABC1234": false,
		"abc-234": false, "abc123 ": false, " abc123": false, "abc123\n": false, "äbc123": false,
		"abc/234": false, "abc:234": false, "abc`234": false, "abc{234": false,
		"123456789_1": false, "123456789012345678901_1": false,
		"1760151234493767_": false, "_621181": false, "1760151234493767": false,
		"1760151234493767_12345678901": false, "1760151234493767_6211_1": false,
		"176015123449376a_621181": false, "1760151234493767_62118a": false,
		"1760151234493767-621181": false,
	} {
		if got := Valid(s); got != want {
			t.Errorf("Valid(%q) is %t", s, got)
		}
	}
}

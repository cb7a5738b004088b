package windows

import (
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf16"
)

// block is the environment as CreateProcess wants it ("Changing Environment
// Variables"): sorted without regard to case, each entry ended by NUL, and one
// NUL more. Of entries of one name the last counts, as in package os/exec.
func block(env []string) []uint16 {
	type entry struct{ key, text string }
	var all []entry
	at := make(map[string]int)
	for _, e := range env {
		name := nameOf(e)
		if name == "" || strings.ContainsRune(e, 0) {
			continue
		}
		key := strings.ToUpper(name)
		if i, ok := at[key]; ok {
			all[i].text = e
			continue
		}
		at[key] = len(all)
		all = append(all, entry{key, e})
	}
	slices.SortStableFunc(all, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	var b []uint16
	for _, e := range all {
		b = append(append(b, utf16.Encode([]rune(e.text))...), 0)
	}
	if len(b) == 0 {
		b = append(b, 0)
	}
	return append(b, 0)
}

// nameOf is what stands before the = that is not the first character: the
// system's own entries are called =C: and the like.
func nameOf(entry string) string {
	if entry == "" {
		return ""
	}
	i := strings.IndexByte(entry[1:], '=')
	if i < 0 {
		return ""
	}
	return entry[:i+1]
}

// environ is a block as package runid reads it: UTF-8, each entry ended by NUL.
func environ(block []uint16) []byte {
	var out []byte
	for len(block) > 0 {
		end := slices.Index(block, 0)
		if end <= 0 { // an empty entry is the end; one without NUL is torn
			break
		}
		out = append(append(out, string(utf16.Decode(block[:end]))...), 0)
		block = block[end+1:]
	}
	return out
}

// cmdline is a list of arguments as package runid reads it.
func cmdline(args []string) []byte {
	var out []byte
	for _, a := range args {
		out = append(append(out, a...), 0)
	}
	return out
}

// wide is UTF-16 as it lies in memory; half a character at the end is left out.
func wide(raw []byte) []uint16 {
	b := make([]uint16, len(raw)/2)
	for i := range b {
		b[i] = binary.LittleEndian.Uint16(raw[2*i:])
	}
	return b
}

// holds reports whether a text of ASCII is part of a block: most blocks are not
// worth decoding.
func holds(block []uint16, text string) bool {
	for ; len(block) >= len(text); block = block[1:] {
		i := 0
		for i < len(text) && block[i] == uint16(text[i]) {
			i++
		}
		if i == len(text) {
			return true
		}
	}
	return false
}

package linux

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"leash/internal/proc"
)

const statLine = "4711 (python3) S 100 4700 4600 34816 4711 4194304 100 0 0 0 1 2 3 4 20 0 8 0 987654 1000 200 18446744073709551615 1 1 0\n"

var statInfo = proc.Info{
	ID:   proc.ID{PID: 4711, Start: 987654},
	PPID: 100, PGID: 4700, SID: 4600, State: 'S', Threads: 8,
}

func TestParseStat(t *testing.T) {
	with := func(name string) string { return strings.Replace(statLine, "python3", name, 1) }
	zombie := statInfo
	zombie.State = 'Z'
	for name, c := range map[string]struct {
		line string
		want proc.Info
	}{
		"plain":                {statLine, statInfo},
		"no line feed":         {strings.TrimSuffix(statLine, "\n"), statInfo},
		"blanks in the name":   {with("a b  c"), statInfo},
		"a bracket":            {with("a) Z 1 1 1 1 1 1"), statInfo},
		"a whole false line":   {with("x) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"), statInfo},
		"brackets only":        {with(")))((("), statInfo},
		"a line feed":          {with("a\nb"), statInfo},
		"no name at all":       {with(""), statInfo},
		"any bytes":            {with("\xff\x00\x80"), statInfo},
		"zombie":               {strings.Replace(statLine, " S ", " Z ", 1), zombie},
		"ends after the start": {statLine[:strings.Index(statLine, " 1000 ")], statInfo},
		"negative numbers elsewhere": {strings.Replace(statLine, " 34816 4711 ", " 0 -1 ", 1),
			statInfo},
	} {
		got, err := ParseStat([]byte(c.line))
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// Each number is read from the field that the man page names: changing one field changes one
// number.
func TestParseStatFields(t *testing.T) {
	head, rest, _ := strings.Cut(statLine, ") ")
	for field := 3; field <= 24; field++ {
		words := strings.Fields(rest)
		words[field-3] = "77"
		want := statInfo
		switch field {
		case 3:
			want.State = '7'
		case 4:
			want.PPID = 77
		case 5:
			want.PGID = 77
		case 6:
			want.SID = 77
		case 20:
			want.Threads = 77
		case 22:
			want.Start = 77
		}
		got, err := ParseStat([]byte(head + ") " + strings.Join(words, " ")))
		if err != nil || got != want {
			t.Errorf("field %d: %+v, %v", field, got, err)
		}
	}
}

func TestParseStatRefuses(t *testing.T) {
	for _, line := range []string{
		"", "\n", "4711", "4711 (", "4711 (x", "4711 (x)", "4711 (x) ", "4711 (x) S", ")(", "() S 1 2 3",
		statLine[:strings.Index(statLine, " 987654")],
		statLine[:strings.Index(statLine, "987654")],
		strings.Replace(statLine, "4711 (", "(", 1),
		strings.Replace(statLine, "4711 (", "47x1 (", 1),
		strings.Replace(statLine, "4711 (", "-4711 (", 1),
		strings.Replace(statLine, " 100 4700 ", " x 4700 ", 1),
		strings.Replace(statLine, " 100 4700 ", " 100 -4700 ", 1),
		strings.Replace(statLine, " 987654 ", " 98765.4 ", 1),
		strings.Replace(statLine, " 987654 ", " 98765432109876543210 ", 1),
		strings.Replace(statLine, " 987654 ", "  ", 1),
	} {
		if got, err := ParseStat([]byte(line)); err == nil {
			t.Errorf("%q was read: %+v", line, got)
		}
	}
}

// plainParseStat does the same with package strings: the name ends at the last bracket, and
// fields are separated by single blanks.
func plainParseStat(s string) (info proc.Info, ok bool) {
	open, end := strings.Index(s, "("), strings.LastIndex(s, ")")
	if open < 2 || end < open || !strings.HasPrefix(s[end:], ")") || len(s) < end+3 {
		return info, false
	}
	f := strings.Split(s[end+2:], " ")
	if len(f) < 20 {
		return info, false
	}
	f[len(f)-1] = strings.TrimRight(f[len(f)-1], "\n")
	digits := func(s string) (n uint64) {
		if strings.Trim(s, "0123456789") != "" || len(s) == 0 || len(s) > 19 {
			ok = false
		}
		n, _ = strconv.ParseUint(s, 10, 64)
		return n
	}
	ok = !slices.Contains(f[:20], "")
	if !ok {
		return info, false
	}
	info.PID = int(digits(strings.TrimSpace(s[:open])))
	info.State = f[0][0]
	info.PPID, info.PGID, info.SID = int(digits(f[1])), int(digits(f[2])), int(digits(f[3]))
	info.Threads, info.Start = int(digits(f[17])), digits(f[19])
	return info, ok
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(statLine))
	f.Add([]byte("1 (a) b (c) Z 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5"))
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err := ParseStat(line)
		want, ok := plainParseStat(string(line))
		if ok != (err == nil) || ok && got != want {
			t.Errorf("%q gives %+v, %v; want %+v, %t", line, got, err, want, ok)
		}
	})
}

func TestParsePIDs(t *testing.T) {
	for text, want := range map[string][]int{
		"":                     nil,
		"1":                    {1},
		"10 20 30 ":            {10, 20, 30},
		"10\n20\n":             {10, 20},
		"\t 10 \n\n 20":        {10, 20},
		"0 -1 5":               {5},
		"x 5 6y":               {5},
		"2147483647":           {2147483647},
		"2147483648 5":         {5},
		"99999999999999999999": nil,
	} {
		if got := ParsePIDs([]byte(text), nil); !slices.Equal(got, want) {
			t.Errorf("%q gives %v, want %v", text, got, want)
		}
	}
	if got := ParsePIDs([]byte("3 4"), []int{1, 2}); !slices.Equal(got, []int{1, 2, 3, 4}) {
		t.Errorf("appended: %v", got)
	}
}

func FuzzParsePIDs(f *testing.F) {
	f.Add([]byte("10 20 30 "))
	f.Add([]byte("10\n-20\nx 0 2147483648"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var want []int
		for _, w := range strings.Fields(string(text)) {
			if n, err := strconv.ParseInt(w, 10, 32); err == nil && n > 0 && w[0] != '+' && len(w) <= 19 {
				want = append(want, int(n))
			}
		}
		if got := ParsePIDs(text, nil); !slices.Equal(got, want) {
			t.Errorf("%q gives %v, want %v", text, got, want)
		}
	})
}

package gauge

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// Lines of a little-endian machine, as all are for which this is built.
const (
	listens  = `   0: 0100007F:C383 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0`
	listens6 = `   1: 00000000000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0`
	bound    = ` 2: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 13 2 0 0`
	linked   = ` 3: 0100007F:0035 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 14 2 0 0`
)

func TestParseSocket(t *testing.T) {
	for _, c := range []struct {
		proto, line, want string
		waits             bool
		inode             uint64
		uid               uint32
	}{
		{"tcp", listens, "127.0.0.1:50051", true, 4711, 1000},
		{"tcp", listens6, "[::1]:443", true, 12, 0},
		{"udp", bound, "udp:53", true, 13, 0},
		{"udp", linked, "udp:127.0.0.1:53", false, 14, 0},
		{"tcp", linked, "127.0.0.1:53", false, 14, 0},
		{"tcp", bound, ":53", false, 13, 0},
	} {
		s, ok := parseSocket(c.proto, []byte(c.line))
		if !ok || s.Port.String() != c.want || s.waits() != c.waits || s.inode != c.inode || s.uid != c.uid {
			t.Errorf("%s: %+v, %t", c.line, s, ok)
		}
	}
	for _, line := range []string{
		"", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
		strings.Replace(listens, "0100007F:C383", "0100007F", 1), strings.Replace(listens, "C383", "1C383", 1),
		strings.Replace(listens, "0100007F", "0100007", 1), strings.Replace(listens, "0100007F", "0100007G", 1),
		strings.Replace(listens, "4711", "-1", 1), strings.Replace(listens, " 0A ", " 1FF ", 1),
	} {
		if s, ok := parseSocket("tcp", []byte(line)); ok {
			t.Errorf("%q is taken for %+v", line, s)
		}
	}
}

func TestParseUnix(t *testing.T) {
	inode, path, ok := parseUnix([]byte("0000000000000000: 00000002 00000000 00010000 0001 01 22136 /run/a b.sock\n"))
	if !ok || inode != 22136 || path != "/run/a b.sock" {
		t.Errorf("%d %q %t", inode, path, ok)
	}
	for _, line := range []string{"", "Num       RefCount Protocol Flags    Type St Inode Path\n",
		"0000000000000000: 00000003 00000000 00000000 0001 03 22137\n", "0: 0 0 0 0 0 x /a\n"} {
		if inode, path, ok := parseUnix([]byte(line)); ok {
			t.Errorf("%q is taken for %d %q", line, inode, path)
		}
	}
}

func TestSocketInode(t *testing.T) {
	if inode, ok := socketInode([]byte("socket:[4711]")); !ok || inode != 4711 {
		t.Error(inode, ok)
	}
	for _, link := range []string{"", "socket:[", "socket:[]", "socket:[4711", "socket:[x]", "pipe:[4711]", "/socket:[4711]"} {
		if _, ok := socketInode([]byte(link)); ok {
			t.Errorf("%q is taken for a socket", link)
		}
	}
}

func TestBelowRoot(t *testing.T) {
	for _, c := range [][3]string{
		{"/", "/dev/nvidia0", "/dev/nvidia0"}, {"", "/dev/nvidia0", "/dev/nvidia0"},
		{"/srv/a", "/srv/a/dev/nvidia0", "/dev/nvidia0"}, {"/srv/a", "/srv/ab/dev/nvidia0", "/srv/ab/dev/nvidia0"},
		{"/srv/a", "/srv/a", "/srv/a"}, {"/srv/a", "/dev/nvidia0", "/dev/nvidia0"},
	} {
		if got := below(c[0], c[1]); got != c[2] {
			t.Errorf("%s below %s: %s, want %s", c[1], c[0], got, c[2])
		}
	}
}

func TestMapped(t *testing.T) {
	const line = "7f0000000000-7f0000001000 r--s 00000000 fe:01 4711                       /srv/my model.bin\n"
	if !mapped([]byte(line), 4711, "/srv/my model.bin") {
		t.Error("it is not found")
	}
	if mapped([]byte(line), 471, "/srv/my model.bin") || mapped([]byte(line), 4711, "/srv/my") || mapped(nil, 0, "/srv") {
		t.Error("another is found")
	}
}

// Users of containers write what these lines hold.
func FuzzLines(f *testing.F) {
	for _, seed := range []string{listens, listens6, bound, linked, "socket:[1]", "0: 0 0 0 0 0 1 /a\n", "a-b r--s 0 0:0 1 /x\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if s, ok := parseSocket("tcp", line); ok && (s.Port.Port < 0 || s.Port.Port > 65535 || !utf8.ValidString(s.Address)) {
			t.Errorf("%q: %+v", line, s)
		}
		parseUnix(line)
		socketInode(line)
		mapped(line, 1, "/x")
		if name := string(line); !strings.HasSuffix(name, below("/srv", name)) {
			t.Errorf("below /srv: %q: %q", name, below("/srv", name))
		}
	})
}

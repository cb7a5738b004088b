package gauge

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	gopsutil "github.com/shirou/gopsutil/v3/net"

	"leash/internal/testkit"
)

// listeners opens a port of each kind in this process.
func listeners(t *testing.T) (ports []Port) {
	t.Helper()
	add := func(proto string, a net.Addr) {
		host, port, _ := net.SplitHostPort(a.String())
		n, _ := strconv.Atoi(port)
		ports = append(ports, Port{proto, host, n})
	}
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"} {
		l, err := net.Listen(network, address)
		if err != nil && network == "tcp6" { // there is no IPv6 everywhere
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		add("tcp", l.Addr())
	}
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	add("udp", u.LocalAddr())
	c, err := net.Dial("udp4", u.LocalAddr().String()) // has a peer
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return ports
}

// What is found of this process, compared with what was opened and with gopsutil.
func TestHoldings(t *testing.T) {
	want := Held{Ports: listeners(t)}
	want = want.sorted()
	got := Holdings([]int{os.Getpid(), 1 << 30})
	if len(got) != 1 || !slices.Equal(got[os.Getpid()].Ports, want.Ports) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	theirs, err := gopsutil.ConnectionsPid("inet", int32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	var list Held
	for _, c := range theirs {
		switch {
		case c.Type == syscall.SOCK_STREAM && c.Status == "LISTEN":
			list.Ports = append(list.Ports, Port{"tcp", c.Laddr.IP, int(c.Laddr.Port)})
		case c.Type == syscall.SOCK_DGRAM && c.Raddr.Port == 0:
			list.Ports = append(list.Ports, Port{"udp", c.Laddr.IP, int(c.Laddr.Port)})
		}
	}
	if list = list.sorted(); !slices.Equal(list.Ports, got[os.Getpid()].Ports) {
		t.Errorf("gopsutil finds %+v", list)
	}
}

func find(t *testing.T, target Target) Finding {
	t.Helper()
	found, _, err := Find([]Target{target}, nil)
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return found[0]
}

func TestFindPort(t *testing.T) {
	for _, p := range listeners(t) {
		if f := find(t, Target{Kind: PortOf, Proto: p.Proto, Number: p.Port}); !slices.Equal(f.PIDs, []int{os.Getpid()}) || len(f.Unseen) > 0 {
			t.Errorf("%+v: %+v", p, f)
		}
		found, _, err := Find([]Target{{Kind: PortOf, Proto: p.Proto, Number: p.Port}}, []int{1})
		if err != nil || len(found[0].PIDs) != 0 || !slices.Equal(found[0].Unseen, []uint32{uint32(os.Getuid())}) {
			t.Errorf("%+v, searched for elsewhere: %+v %v", p, found, err)
		}
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	if f := find(t, Target{Kind: PortOf, Proto: "tcp", Number: port}); len(f.PIDs)+len(f.Unseen) > 0 {
		t.Errorf("a closed port is held by %+v", f)
	}
}

// A connection holds its port, also when the listener is closed.
func TestFindConnection(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	if f := find(t, Target{Kind: PortOf, Proto: "tcp", Number: port}); !slices.Equal(f.PIDs, []int{os.Getpid()}) {
		t.Errorf("%+v", f)
	}
}

func TestFindFiles(t *testing.T) {
	dir := t.TempDir()
	name, other := filepath.Join(dir, "a file"), filepath.Join(dir, "other")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("x")
	os.WriteFile(other, nil, 0o600)
	os.Symlink(name, filepath.Join(dir, "link"))
	mine := func(target Target, want bool) {
		t.Helper()
		if got := find(t, target); slices.Contains(got.PIDs, os.Getpid()) != want || len(got.PIDs) > 1 {
			t.Errorf("%+v: %+v", target, got)
		}
	}
	for _, path := range []string{name, filepath.Join(dir, "link")} {
		mine(Target{Kind: File, Path: path}, true)
	}
	mine(Target{Kind: File, Path: other}, false)
	// A mapping holds a file that is closed.
	b, err := syscall.Mmap(int(f.Fd()), 0, 1, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	mine(Target{Kind: File, Path: name}, true)
	syscall.Munmap(b)
	mine(Target{Kind: File, Path: name}, false)

	// The working folder of a process, and its program.
	cmd := exec.Command("sleep", "1000000")
	cmd.Dir = dir
	p := testkit.Start(t, cmd)
	if got := find(t, Target{Kind: File, Path: dir}); !slices.Equal(got.PIDs, []int{p.PID}) {
		t.Errorf("working folder: %+v", got)
	}
	if _, _, err := Find([]Target{{Kind: File, Path: filepath.Join(dir, "no")}}, nil); err == nil {
		t.Error("a file that is not there is found")
	}

	sock := filepath.Join(dir, "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	mine(Target{Kind: Socket, Path: sock}, true)
	l.Close()
	mine(Target{Kind: Socket, Path: sock}, false)
}

// A process with device files of GPUs in a root of its own.
func TestGPUs(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.Need(t, "unshare", "chroot")
	const script = `mount --bind / "$1" && mount -t tmpfs none "$1/dev" && mkdir "$1/dev/dri" && cd "$1/dev" &&
		touch nvidia9917 nvidia3 nvidiactl kfd dri/renderD10045 &&
		exec chroot "$1" sh -c 'exec 3</dev/nvidia9917 4</dev/kfd 5</dev/dri/renderD10045 6</dev/nvidiactl; echo ready; exec sleep 1000000'`
	cmd := exec.Command("unshare", "--mount", "sh", "-c", script, "sh", t.TempDir())
	p := testkit.Start(t, cmd)
	p.Stdout.Await("ready")
	want := []string{"/dev/dri/renderD10045", "/dev/kfd", "/dev/nvidia9917"}
	if got := Holdings([]int{p.PID})[p.PID]; !slices.Equal(got.GPUs, want) {
		t.Errorf("GPUs %q, want %q", got.GPUs, want)
	}
	for n, want := range map[int]bool{9917: true, 3: false} {
		if got := find(t, Target{Kind: GPU, Number: n}); slices.Contains(got.PIDs, p.PID) != want {
			t.Errorf("gpu:%d is held by %s", n, fmt.Sprint(got.PIDs))
		}
	}
}

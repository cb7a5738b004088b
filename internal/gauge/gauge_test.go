package gauge

import (
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v3/process"

	"leash/platform"
)

// child starts a process that says that it runs and then waits for the end of its input.
func child(t *testing.T) *exec.Cmd {
	t.Helper()
	var files [4]*os.File
	for i := 0; i < len(files); i += 2 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close(); r.Close() })
		files[i], files[i+1] = r, w
	}
	cmd := exec.Command(os.Args[0], "-test.run=TestChild$")
	cmd.Env, cmd.Stdin, cmd.Stdout = append(os.Environ(), "GAUGE_CHILD=1"), files[0], files[3]
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	files[3].Close()
	if _, err := files[2].Read(make([]byte, 1)); err != nil {
		t.Fatalf("process %d did not say that it runs: %v", cmd.Process.Pid, err)
	}
	return cmd
}

func TestChild(t *testing.T) {
	if os.Getenv("GAUGE_CHILD") == "" {
		return // it is for other tests
	}
	os.Stdout.WriteString("r")
	os.Stdin.Read(make([]byte, 1))
}

func TestMemory(t *testing.T) {
	living, ended := child(t), child(t)
	ended.Process.Kill()
	ended.Wait()
	got := Memory([]int{os.Getpid(), living.Process.Pid, ended.Process.Pid, math.MaxInt32})
	for _, pid := range []int{os.Getpid(), living.Process.Pid} {
		if got[pid] < 1<<20 || got[pid] > 1<<40 {
			t.Errorf("process %d has %d bytes of memory; a Go program has more than 1 MiB", pid, got[pid])
		}
	}
	if len(got) != 2 {
		t.Errorf("%v: there are others than processes %d and %d", got, os.Getpid(), living.Process.Pid)
	}
	if got := Memory(nil); len(got) > 0 {
		t.Errorf("of no process: %v", got)
	}
}

// What is read of processes, compared with what gopsutil reads of the same ones.
func TestAgreesWithGopsutil(t *testing.T) {
	table, err := platform.NewTable()
	if err != nil {
		t.Fatal(err)
	}
	idle := child(t).Process.Pid
	pids := []int{os.Getpid(), idle}
	if parent := os.Getppid(); parent > 0 { // Wine has none for what Linux started
		pids = append(pids, parent)
	}
	for _, pid := range pids {
		ours, err := table.Read(pid)
		if err != nil {
			t.Fatalf("process %d: %v", pid, err)
		}
		theirs := process.Process{Pid: int32(pid)}
		if ppid, err := theirs.Ppid(); err != nil || int(ppid) != ours.PPID {
			t.Errorf("process %d has parent %d; gopsutil says %d, %v", pid, ours.PPID, ppid, err)
		}
		if args, err := theirs.CmdlineSlice(); runtime.GOOS != "windows" && (err != nil || !slices.Equal(args, ours.Args)) { // there it splits at spaces
			t.Errorf("process %d has arguments %q; gopsutil says %q, %v", pid, ours.Args, args, err)
		}
		size := Memory([]int{pid})[pid]
		if m, err := theirs.MemoryInfo(); err != nil || m.RSS < size/2 || m.RSS > 2*size {
			t.Errorf("process %d has %d bytes of memory; gopsutil says %+v, %v", pid, size, m, err)
		} else if runtime.GOOS == "linux" && pid == idle && m.RSS != size {
			t.Errorf("process %d is idle and has %d bytes of memory; gopsutil says %d", pid, size, m.RSS)
		}
		// gopsutil counts whole seconds on Linux, and so does the boot time that it adds.
		ms, err := theirs.CreateTime()
		age := time.Since(time.UnixMilli(ms))
		if d := age - table.Age(ours.Start); err != nil || d.Abs() > 3*time.Second {
			t.Errorf("process %d is %v old; gopsutil says %v, %v", pid, table.Age(ours.Start), age, err)
		}
	}
}

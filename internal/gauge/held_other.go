//go:build !linux

package gauge

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shirou/gopsutil/v3/net"
	"github.com/shirou/gopsutil/v3/process"
)

// Holdings returns the ports that each of the processes holds. GPUs have no device files
// here.
func Holdings(pids []int) map[int]Held {
	wanted := make(map[int]*Held, len(pids))
	for _, pid := range pids {
		wanted[pid] = &Held{}
	}
	connections, _ := net.Connections("inet")
	for _, c := range connections {
		if h := wanted[int(c.Pid)]; h != nil && waits(&c) {
			h.Ports = append(h.Ports, portOf(&c))
		}
	}
	held := make(map[int]Held, len(pids))
	for pid, h := range wanted {
		held[pid] = h.sorted()
	}
	return held
}

const datagram = 2 // SOCK_DGRAM

func waits(c *net.ConnectionStat) bool {
	if c.Type == datagram {
		return c.Raddr.Port == 0
	}
	return c.Status == "LISTEN"
}

func portOf(c *net.ConnectionStat) Port {
	p := Port{Proto: "tcp", Address: c.Laddr.IP, Port: int(c.Laddr.Port)}
	if c.Type == datagram {
		p.Proto = "udp"
	}
	if p.Address == "*" || p.Address == "" {
		p.Address = "0.0.0.0"
	}
	return p
}

var errUnsupported = errors.New("only ports and PIDs can be asked for on this system")

// Find searches for the processes that hold each target, among pids or, if that is nil, among
// all. unread counts the processes that could not be read.
func Find(targets []Target, pids []int) (found []Finding, unread int, err error) {
	for _, t := range targets {
		var f Finding
		switch t.Kind {
		case PortOf:
			connections, err := net.Connections(t.Proto)
			if err != nil {
				return nil, 0, err
			}
			for _, c := range connections {
				if int(c.Laddr.Port) == t.Number && waits(&c) {
					f.PIDs = append(f.PIDs, int(c.Pid))
				}
			}
		case File:
			all, err := process.Processes()
			if err != nil {
				return nil, 0, err
			}
			path, err := filepath.Abs(t.Path)
			if err != nil {
				return nil, 0, err
			}
			for _, p := range all {
				files, err := p.OpenFiles()
				if err != nil && strings.Contains(err.Error(), "not implemented") {
					return nil, 0, errUnsupported
				}
				if err != nil {
					unread++
				}
				if slices.ContainsFunc(files, func(s process.OpenFilesStat) bool { return strings.EqualFold(s.Path, path) }) {
					f.PIDs = append(f.PIDs, int(p.Pid))
				}
			}
		default:
			return nil, 0, errUnsupported
		}
		slices.Sort(f.PIDs)
		f.PIDs = slices.Compact(f.PIDs)
		if pids != nil {
			f.PIDs = slices.DeleteFunc(f.PIDs, func(pid int) bool { return !slices.Contains(pids, pid) })
		}
		found = append(found, f)
	}
	return found, unread, nil
}

package gauge

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Port is a port that a process listens on (tcp), or has bound without a peer (udp).
type Port struct {
	Proto   string `json:"proto"` // tcp or udp, also for IPv6
	Address string `json:"address"`
	Port    int    `json:"port"`
}

// String is short for a port of all addresses: :50051, udp:53, 127.0.0.1:50051.
func (p Port) String() string {
	text := ":" + strconv.Itoa(p.Port)
	switch {
	case p.Address == "0.0.0.0" || p.Address == "::":
	case strings.Contains(p.Address, ":"):
		text = "[" + p.Address + "]" + text
	default:
		text = p.Address + text
	}
	switch {
	case p.Proto == "tcp":
		return text
	case text[0] == ':':
		return p.Proto + text
	}
	return p.Proto + ":" + text
}

// Held is what a process holds.
type Held struct {
	Ports []Port
	GPUs  []string // paths of devices
}

// sorted sorts the lists and drops what is there twice.
func (h *Held) sorted() Held {
	slices.SortFunc(h.Ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Address, b.Address))
	})
	slices.Sort(h.GPUs)
	return Held{slices.Compact(h.Ports), slices.Compact(h.GPUs)}
}

// isGPU reports whether a path is that of a GPU's device: NVIDIA's, AMD's compute device, and
// the render nodes of all others (Documentation/gpu/drm-uapi.rst).
func isGPU(path string) bool {
	for _, prefix := range [...]string{nvidia, renderNode} {
		if rest, ok := strings.CutPrefix(path, prefix); ok && digits(rest) {
			return true
		}
	}
	return path == "/dev/kfd"
}

const (
	nvidia     = "/dev/nvidia"
	renderNode = "/dev/dri/renderD"
)

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// Kind is what a Target is.
type Kind int

const (
	// PortOf is a port: Proto and Number.
	PortOf Kind = iota
	// GPU is the device Number.
	GPU
	// File is what Path names: a file, a folder, a device.
	File
	// Socket is the Unix socket at Path.
	Socket
)

// Target is what is held, perhaps.
type Target struct {
	Kind   Kind
	Proto  string
	Number int
	Path   string
}

// Finding is which processes hold a target.
type Finding struct {
	PIDs []int
	// Unseen are the users of sockets that no process was seen to hold.
	Unseen []uint32
}

// local is the address of a socket and its port.
func local(proto string, addr netip.Addr, port int) Port {
	return Port{Proto: proto, Address: addr.String(), Port: port}
}

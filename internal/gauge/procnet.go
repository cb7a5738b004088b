package gauge

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
)

// socket is a line of /proc/net/tcp and its like.
type socket struct {
	Port
	state int
	uid   uint32
	inode uint64
}

// States of a socket (include/net/tcp_states.h). UDP uses close for sockets without a peer.
const (
	stateClose  = 7
	stateListen = 10
)

// waits reports whether the socket waits for peers.
func (s *socket) waits() bool {
	return s.Proto == "tcp" && s.state == stateListen || s.Proto == "udp" && s.state == stateClose
}

// parseSocket parses a line of /proc/net/tcp, tcp6, udp or udp6 (proc_net_tcp in
// Documentation/networking); false for the head and for anything else.
func parseSocket(proto string, line []byte) (s socket, ok bool) {
	f := bytes.Fields(line)
	if len(f) < 10 {
		return s, false
	}
	host, port, found := bytes.Cut(f[1], []byte(":"))
	number, err := strconv.ParseUint(string(port), 16, 16)
	if !found || err != nil {
		return s, false
	}
	addr, ok := hexAddr(host)
	if !ok {
		return s, false
	}
	state, err1 := strconv.ParseUint(string(f[3]), 16, 8)
	uid, err2 := strconv.ParseUint(string(f[7]), 10, 32)
	inode, err3 := strconv.ParseUint(string(f[9]), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return s, false
	}
	return socket{Port: local(proto, addr, int(number)), state: int(state), uid: uint32(uid), inode: inode}, true
}

// hexAddr reads an address: words of 32 bits in the order of the machine.
func hexAddr(text []byte) (netip.Addr, bool) {
	var b [16]byte
	if n := len(text) / 2; n != 4 && n != 16 || len(text)%2 != 0 {
		return netip.Addr{}, false
	}
	n, err := hex.Decode(b[:], text)
	if err != nil {
		return netip.Addr{}, false
	}
	for i := 0; i < n; i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	if n == 4 {
		return netip.AddrFrom4([4]byte(b[:4])), true
	}
	return netip.AddrFrom16(b), true
}

// parseUnix parses a line of /proc/net/unix: inode and path.
func parseUnix(line []byte) (inode uint64, path string, ok bool) {
	rest := bytes.TrimRight(line, "\n")
	var field []byte
	for range 7 { // Num RefCount Protocol Flags Type St Inode
		rest = bytes.TrimLeft(rest, " ")
		field, rest, ok = bytes.Cut(rest, []byte(" "))
	}
	inode, err := strconv.ParseUint(string(field), 10, 64)
	return inode, string(rest), ok && err == nil && len(rest) > 0
}

// socketInode reads what the link of a descriptor says of a socket: socket:[4711].
func socketInode(link []byte) (inode uint64, ok bool) {
	text, found := bytes.CutPrefix(link, []byte("socket:["))
	if !found || len(text) == 0 {
		return 0, false
	}
	inode, err := strconv.ParseUint(string(text[:len(text)-1]), 10, 64)
	return inode, err == nil && text[len(text)-1] == ']'
}

// below takes the root of a process off a path, as the process itself sees it.
func below(root, path string) string {
	if root == "" || root == "/" || len(path) <= len(root) || path[:len(root)] != root || path[len(root)] != '/' {
		return path
	}
	return path[len(root):]
}

// mapped reports whether a line of /proc/PID/maps is of the file with that inode and path
// (proc_pid_maps(5)).
func mapped(line []byte, inode uint64, path string) bool {
	rest := bytes.TrimRight(line, "\n")
	var field []byte
	for range 5 { // address, permissions, offset, device, inode
		rest = bytes.TrimLeft(rest, " ")
		field, rest, _ = bytes.Cut(rest, []byte(" "))
	}
	return string(field) == strconv.FormatUint(inode, 10) && string(bytes.TrimLeft(rest, " ")) == path
}

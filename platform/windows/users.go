//go:build windows

package windows

import (
	win "golang.org/x/sys/windows"
)

// users gives numbers to security identifiers, which are no numbers: two users
// never have the same, and none has 0, which is the superuser elsewhere. The
// number of most is the last part of their identifier ("Security Identifiers"),
// which people know.
type users struct {
	numbers map[string]uint32
	taken   map[uint32]bool
}

func (u *users) number(sid *win.SID) uint32 {
	name := sid.String()
	if n, ok := u.numbers[name]; ok || name == "" {
		return n
	}
	if u.numbers == nil {
		u.numbers, u.taken = make(map[string]uint32), map[uint32]bool{0: true, nobody: true}
	}
	n := uint32(0)
	if parts := sid.SubAuthorityCount(); parts > 0 {
		n = sid.SubAuthority(uint32(parts) - 1)
	}
	for u.taken[n] {
		n++
	}
	u.numbers[name], u.taken[n] = n, true
	return n
}

// of is the number of a process's user; 0 if it cannot be read.
func (u *users) of(h win.Handle) uint32 {
	var t win.Token
	if win.OpenProcessToken(h, win.TOKEN_QUERY, &t) != nil {
		return 0
	}
	defer t.Close()
	user, err := t.GetTokenUser()
	if err != nil {
		return 0
	}
	return u.number(user.User.Sid)
}

// nobody is the number of a user that cannot be read.
const nobody = 1<<32 - 1

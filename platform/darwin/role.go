package darwin

import (
	"fmt"
	"strconv"
	"strings"
)

// A child of the watchdog that is a part of it finds in this variable what it is, and
// which process says so. No worker has it.
const roleVariable = "LEASH_ROLE"

const (
	roleSentinel = "sentinel"
	roleGate     = "gate"
)

// executable is the file of this program.
type executable struct {
	path string
	// same reports whether the program that runs is still in that file.
	same func() bool
}

// asRole is the variable for a child of ours.
func (s *System) asRole(words ...string) string {
	return roleVariable + "=" + strconv.Itoa(s.sys.Self()) + " " + strings.Join(words, " ")
}

// roleOf reads the variable. The PID in it is our parent's, so that no inherited
// one is ever taken for ours.
func roleOf(text string, parent int) (role, rest string, err error) {
	var pid int
	word, rest, _ := strings.Cut(text, " ")
	if _, err := fmt.Sscanf(word, "%d", &pid); err != nil || pid != parent {
		return "", "", fmt.Errorf("%s is set, and not by the watchdog that started this: unset it", roleVariable)
	}
	role, rest, _ = strings.Cut(rest, " ")
	return role, rest, nil
}

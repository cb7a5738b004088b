package testkit

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// AsNobody runs parts of a test of this package as an ordinary user. If an ordinary user
// runs the tests, they have run already.
func AsNobody(t *testing.T, test string, parts ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	for _, part := range parts {
		// Through this link it can be executed in a folder that only root can search.
		cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run", "^"+test+"$/^"+strings.ReplaceAll(part, "/", "$/^")+"$")
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		status, stdout, stderr := Run(t, cmd)
		if status != 0 || !strings.Contains(stdout, "--- PASS: "+test+"/"+part+" ") {
			t.Errorf("%s/%s as an ordinary user: status %d\n%s\n%s", test, part, status, stdout, stderr)
		}
	}
}

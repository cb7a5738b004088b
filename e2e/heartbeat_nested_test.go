//go:build linux

package e2e

import (
	"slices"
	"testing"

	"leash/internal/testkit"
)

// aboveAnother starts a watchdog whose worker is this shell script, in which
// "$0" is another watchdog.
func aboveAnother(t *testing.T, script string) *testkit.Proc {
	t.Helper()
	testkit.Need(t, "systemd-notify")
	cmd := watchdog(t, slices.Concat([]string{"run"}, calm, []string{"--", "sh", "-c", script, testkit.Watchdog(t)})...)
	cmd.Env = append(cmd.Env, "LEASH_LOG_LEVEL=debug", "LEASH_LOG_FORMAT=json")
	orders := input(t, cmd)
	p := testkit.Start(t, cmd)
	p.Stdout.Await("up")
	t.Cleanup(func() { tell(t, orders, "enough") })
	return p
}

// A watchdog that is the worker of another lets it know that it is ready, and
// beats for as long as it runs itself.
func TestWatchdogAsWorker(t *testing.T) {
	t.Parallel()
	p := aboveAnother(t, `exec "$0" run --log-file /dev/null --heartbeat notify -- sh -c "systemd-notify --ready; echo up; read x"`)
	p.Stderr.AwaitEvent("process.ready")
	for range 5 {
		p.Stderr.AwaitEvent("heartbeat.received")
	}
}

// One that is somewhere below the worker does not speak for it.
func TestWatchdogBelowTheWorker(t *testing.T) {
	t.Parallel()
	p := aboveAnother(t, `"$0" run --log-file /dev/null --heartbeat notify -- sh -c "
	systemd-notify --ready --status=inner; systemd-notify STOPPING=1"
systemd-notify --ready; echo up; read x`)
	p.Stderr.AwaitEvent("process.ready")
	for _, name := range []string{"process.status", "process.stopping", "heartbeat.received"} {
		if found := before(p.Stderr, name, "process.ready"); len(found) > 0 {
			t.Errorf("%s was taken for the worker's", name)
		}
	}
}

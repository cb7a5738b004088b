//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"leash/internal/testkit"
)

func monitoring(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(testkit.Root(t), "monitoring", name)
}

// Each alert is quiet when all is well, and fires when it is not.
func TestAlertRules(t *testing.T) {
	testkit.Need(t, "promtool")
	for _, args := range [][]string{{"check", "rules", monitoring(t, "alerts.yml")}, {"test", "rules", monitoring(t, "alerts_test.yml")}} {
		if status, stdout, stderr := testkit.Run(t, exec.Command("promtool", args...)); status != 0 {
			t.Errorf("promtool %q: %s%s", args, stdout, stderr)
		}
	}
	rules, tests := string(readFile(t, monitoring(t, "alerts.yml"))), string(readFile(t, monitoring(t, "alerts_test.yml")))
	book := string(readFile(t, filepath.Join(testkit.Root(t), "docs", "runbook.md")))
	names := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1)
	if len(names) < 6 {
		t.Errorf("%d alerts", len(names))
	}
	for _, m := range names {
		if !strings.Contains(tests, "alertname: "+m[1]+"\n") || !strings.Contains(book, "\n### "+m[1]+"\n") ||
			!strings.Contains(rules, "runbook_url: docs/runbook.md#"+strings.ToLower(m[1])+"\n") {
			t.Errorf("%s has no test, no link, or no place in docs/runbook.md", m[1])
		}
	}
}

// known are the names of metrics that reaper metrics may print.
func known(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	for _, m := range regexp.MustCompile(`"(leash_\w+)"`).FindAllStringSubmatch(string(readFile(t, filepath.Join(testkit.Root(t), "cmd", "reaper", "metrics.go"))), -1) {
		names[m[1]] = true
	}
	return names
}

// The dashboard has what Grafana wants of schema version 39, and its queries are right.
func TestDashboard(t *testing.T) {
	testkit.Need(t, "promtool")
	var d struct {
		Title, UID    string
		SchemaVersion int
		Templating    struct{ List []struct{ Name, Type string } }
		Panels        []struct {
			ID                       int
			Type, Title, Description string
			Datasource               struct{ Type, UID string }
			GridPos                  struct{ X, Y, W, H int }
			FieldConfig              struct {
				Defaults  struct{ Unit string }
				Overrides []any
			}
			Targets []struct{ RefID, Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(readFile(t, monitoring(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.SchemaVersion != 39 || d.Title == "" || d.UID == "" || len(d.Panels) < 8 || len(d.Templating.List) != 2 {
		t.Errorf("%+v", d)
	}
	rules, names := "groups:\n- name: dashboard\n  rules:\n", known(t)
	var taken [36 * 2][24]bool
	for i, p := range d.Panels {
		if p.ID != i+1 || p.Title == "" || len(p.Description) < 20 || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 || p.FieldConfig.Overrides == nil ||
			p.Type != "stat" && p.Type != "timeseries" {
			t.Errorf("panel %d: %+v", i, p)
		}
		if unit := p.FieldConfig.Defaults.Unit; unit != "none" && unit != "bytes" && unit != "s" {
			t.Errorf("%s: unit %q", p.Title, unit)
		}
		for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				if taken[y][x] {
					t.Fatalf("%s lies on another panel", p.Title)
				}
				taken[y][x] = true
			}
		}
		for j, q := range p.Targets {
			if q.RefID == "" || q.LegendFormat == "" {
				t.Errorf("%s: %+v", p.Title, q)
			}
			rules += fmt.Sprintf("  - record: panel:%d:%d\n    expr: '%s'\n", i, j, q.Expr)
		}
	}
	for _, text := range []string{rules, string(readFile(t, monitoring(t, "alerts.yml")))} {
		for _, name := range regexp.MustCompile(`leash_\w+`).FindAllString(text, -1) {
			if !names[name] {
				t.Errorf("reaper metrics prints no %s", name)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	writeFile(t, file, rules, 0o600)
	if status, stdout, stderr := testkit.Run(t, exec.Command("promtool", "check", "rules", file)); status != 0 {
		t.Errorf("promtool: %s%s", stdout, stderr)
	}
}

// systemd understands every line of the units for metrics.
func TestMetricsUnitsVerify(t *testing.T) {
	testkit.Need(t, "systemd-analyze")
	dir := t.TempDir()
	unit := bootFile(t, "leash-metrics.service")
	if strings.Count(unit, "/usr/local/bin/reaper") != 1 {
		t.Fatal(unit)
	}
	writeFile(t, filepath.Join(dir, "leash-metrics.service"), strings.Replace(unit, "/usr/local/bin/reaper", testkit.Reaper(t), 1), 0o644)
	writeFile(t, filepath.Join(dir, "leash-metrics.timer"), bootFile(t, "leash-metrics.timer"), 0o644)
	for _, name := range []string{"leash-metrics.service", "leash-metrics.timer"} {
		if status, stdout, stderr := testkit.Run(t, exec.Command("systemd-analyze", "verify", filepath.Join(dir, name))); status != 0 || stdout+stderr != "" {
			t.Errorf("%s: status %d\n%s%s", name, status, stdout, stderr)
		}
	}
}

// freePort is a port of TCP that nobody has now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A real Prometheus scrapes a real node_exporter, and the alert for orphans fires.
func TestPrometheusSeesOrphans(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		testkit.Need(t, "prometheus", "prometheus-node-exporter")
		dir := t.TempDir()
		text := filepath.Join(dir, "textfile")
		if err := os.Mkdir(text, 0o755); err != nil {
			t.Fatal(err)
		}
		exporter, server := freePort(t), freePort(t)
		// Five minutes are too long for a test; the rest is as users have it.
		rules := strings.ReplaceAll(string(readFile(t, monitoring(t, "alerts.yml"))), "for: 5m", "for: 1s")
		writeFile(t, filepath.Join(dir, "alerts.yml"), rules, 0o600)
		writeFile(t, filepath.Join(dir, "prometheus.yml"), fmt.Sprintf(`global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [alerts.yml]
scrape_configs:
- job_name: node
  static_configs: [{targets: ["%s"]}]
`, exporter), 0o600)
		orphan := root().labelled(t, "LEASH_RUN_ID="+newRunID(), "LEASH_RUN_OWNER="+deadOwner(t))
		if status, _, stderr := testkit.Run(t, reaper(t, "metrics", "--output", filepath.Join(text, "leash.prom"))); status != 0 {
			t.Fatal(stderr)
		}
		testkit.Start(t, exec.Command("prometheus-node-exporter", "--web.listen-address="+exporter, "--collector.disable-defaults",
			"--collector.textfile", "--collector.stat", "--collector.textfile.directory="+text))
		testkit.Start(t, exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"),
			"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+server))
		awaitAlert(t, server, "LeashOrphans", true)
		reap(t).expectEnded(t, orphan.Ident)
		if status, _, stderr := testkit.Run(t, reaper(t, "metrics", "--output", filepath.Join(text, "leash.prom"))); status != 0 {
			t.Fatal(stderr)
		}
		awaitAlert(t, server, "LeashOrphans", false)
	})
}

// awaitAlert asks a Prometheus until an alert fires, or does not fire any more. Each question
// waits for the server: nothing here depends on how fast it is.
func awaitAlert(t *testing.T, server, name string, fires bool) {
	t.Helper()
	query := "http://" + server + `/api/v1/query?query=` + `count(ALERTS%7Balertname%3D%22` + name + `%22%2Calertstate%3D%22firing%22%7D)+or+vector(0)`
	var last string
	for end := time.Now().Add(testkit.Patience); time.Now().Before(end); {
		r, err := http.Get(query)
		if err != nil {
			last = err.Error()
			continue
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if last = string(b); err == nil && strings.Contains(last, `"success"`) && strings.Contains(last, `,"0"]`) != fires {
			return
		}
	}
	t.Fatalf("%s fires: want %t, last answer %s", name, fires, last)
}

//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
)

// verdicts is what the benchmarks need of the reaper's report.
type verdicts struct {
	Runs []struct {
		RunID     string `json:"run_id"`
		Processes []struct {
			Evidence []string `json:"evidence"`
			Action   string   `json:"action"`
		} `json:"processes"`
	} `json:"runs"`
	Scanned  int     `json:"scanned"`
	Duration float64 `json:"duration_ms"`
}

func readVerdicts(text []byte) (*verdicts, error) {
	var v verdicts
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, fmt.Errorf("the reaper's report: %w", err)
	}
	return &v, nil
}

// foresee says what a reaper would do now. The reaper that is measured is a
// real one, on the real table: it must not meet a dead run of others.
func (b *bench) foresee() (*verdicts, error) {
	cmd := exec.Command(b.reaper, "--dry-run", "--json")
	cmd.Env = b.env
	text, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("reaper --dry-run: %w\n%s", err, exit.Stderr)
	}
	if err != nil {
		return nil, err
	}
	return readVerdicts(text)
}

// onlyDoomed makes sure that the reaper would end so many processes of this
// run, and no others. Without a run no process may be left over.
func (v *verdicts) onlyDoomed(runID string, count int) error {
	mine := 0
	for _, run := range v.Runs {
		for _, p := range run.Processes {
			switch {
			case p.Action != "would_terminate":
			case run.RunID != runID:
				return fmt.Errorf("there is a dead run %s on this machine, which the reaper would end too", run.RunID)
			default:
				mine++
			}
		}
	}
	if mine != count {
		return fmt.Errorf("the reaper would end %d of %d processes", mine, count)
	}
	return nil
}

// has says how many processes of a run were found by this evidence.
func (v *verdicts) has(runID, evidence string) int {
	count := 0
	for _, run := range v.Runs {
		for _, p := range run.Processes {
			for _, e := range p.Evidence {
				if run.RunID == runID && e == evidence {
					count++
				}
			}
		}
	}
	return count
}

// verdict puts a comparison with the goal into the words of the table.
func verdict(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}

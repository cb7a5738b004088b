package main

import (
	"slices"
	"strings"
	"testing"

	"leash/e2e/vm/plan"
)

// report is one of a virtual machine in which all went well.
func report() []plan.Line {
	return []plan.Line{
		{Kind: plan.Boot, Text: "6.1.0"},
		{Kind: plan.Begin, Job: "root p"},
		{Kind: plan.Pass, Job: "root p", Test: "TestA"},
		{Kind: plan.Skip, Job: "root p", Test: "TestB"},
		{Kind: plan.Done, Job: "root p"},
		{Kind: plan.Begin, Job: "plain p"},
		{Kind: plan.Pass, Job: "plain p", Test: "TestA"},
		{Kind: plan.Pass, Job: "plain p", Test: "TestB"},
		{Kind: plan.Done, Job: "plain p"},
		{Kind: plan.End},
	}
}

func complaints(t *testing.T, lines []plan.Line) []string {
	t.Helper()
	s, err := parseSkips("# none\np TestB root # needs what is not there\n")
	if err != nil {
		t.Fatal(err)
	}
	jobs := []plan.Job{{Package: "p", User: plan.Root}, {Package: "p", User: plan.Plain}}
	v := newVerdict(jobs, map[string][]string{"p": {"TestA", "TestB"}}, s)
	for _, l := range lines {
		v.take(l)
	}
	return v.close()
}

func TestVerdict(t *testing.T) {
	if got := complaints(t, report()); len(got) != 0 {
		t.Errorf("%q", got)
	}
	for name, c := range map[string]struct {
		change func([]plan.Line) []plan.Line
		want   string
	}{
		"nothing":        {func(l []plan.Line) []plan.Line { return nil }, "did not start"},
		"cut short":      {func(l []plan.Line) []plan.Line { return l[:7] }, `in the midst of "plain p"`},
		"no end":         {func(l []plan.Line) []plan.Line { return l[:9] }, "ended in the midst"},
		"a job missing":  {func(l []plan.Line) []plan.Line { return slices.Delete(l, 5, 9) }, "plain p did not end"},
		"a test missing": {func(l []plan.Line) []plan.Line { return slices.Delete(l, 6, 7) }, "plain p: nothing was heard of TestA"},
		"another skip":   {func(l []plan.Line) []plan.Line { l[2].Kind = plan.Skip; return l }, "TestA was skipped"},
		"a skip less":    {func(l []plan.Line) []plan.Line { l[3].Kind = plan.Pass; return l }, "TestB was not skipped"},
		"a failure":      {func(l []plan.Line) []plan.Line { l[7].Kind = plan.Fail; return l }, "plain p: TestB failed"},
		"a subtest": {func(l []plan.Line) []plan.Line {
			return slices.Insert(l, 7, plan.Line{Kind: plan.Fail, Job: "plain p", Test: "TestB/x"})
		}, "TestB/x failed"},
		"a status":   {func(l []plan.Line) []plan.Line { l[8].Status = 1; return l }, "plain p: status 1"},
		"left":       {func(l []plan.Line) []plan.Line { return append(l, plan.Line{Kind: plan.Left, Text: "cgroup x"}) }, "cgroup x"},
		"an error":   {func(l []plan.Line) []plan.Line { return append(l, plan.Line{Kind: plan.Error, Text: "no room"}) }, "no room"},
		"an unknown": {func(l []plan.Line) []plan.Line { return append(l, plan.Line{Kind: "what"}) }, `"what"`},
	} {
		got := complaints(t, c.change(report()))
		if !strings.Contains(strings.Join(got, "\n"), c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestParseSkips(t *testing.T) {
	s, err := parseSkips("p TestA all\n\n  # no line\np TestB delegated,plain # why\np TestC all@6.1\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		release, job, test string
		want               bool
	}{
		{"6.1.0-57", "root p", "TestA", true}, {"6.12.1", "plain p", "TestA", true},
		{"6.1.0", "root p", "TestB", false}, {"6.1.0", "delegated p", "TestB", true}, {"6.1.0", "plain q", "TestB", false},
		{"6.1.0-57", "root p", "TestC", true}, {"6.12.1", "root p", "TestC", false},
	} {
		if got := s.on(c.release, c.job, c.test); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
	for _, bad := range []string{"p TestA", "p TestA nobody", "p TestA root, plain", "p TestA all more"} {
		if _, err := parseSkips("\n" + bad); err == nil || !strings.Contains(err.Error(), "skips.txt:2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

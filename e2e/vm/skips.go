package main

import (
	"fmt"
	"slices"
	"strings"

	"leash/e2e/vm/plan"
)

// skips says which tests are skipped, by "user package" and test, and on which
// kernel, as "6.1"; "" is each.
type skips map[string]map[string]string

// parseSkips reads lines of a package, a test and the users that skip it
// ("all", or some separated by commas; then @ and a kernel, if it is only one).
// Subtests count as tests; # begins a comment.
func parseSkips(text string) (skips, error) {
	s := make(skips)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("skips.txt:%d: want a package, a test and users", n)
		}
		names, kernel, _ := strings.Cut(f[2], "@")
		users := plan.Users
		if names != "all" {
			users = nil
			for u := range strings.SplitSeq(names, ",") {
				if !slices.Contains(plan.Users, plan.User(u)) {
					return nil, fmt.Errorf("skips.txt:%d: no user is called %q", n, u)
				}
				users = append(users, plan.User(u))
			}
		}
		for _, u := range users {
			job := plan.Job{Package: f[0], User: u}.Name()
			if s[job] == nil {
				s[job] = make(map[string]string)
			}
			s[job][f[1]] = kernel
		}
	}
	return s, nil
}

// on says whether a test is listed for a kernel.
func (s skips) on(release, job, test string) bool {
	kernel, listed := s[job][test]
	return listed && (kernel == "" || strings.HasPrefix(release, kernel+"."))
}

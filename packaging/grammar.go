package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// command is a program, or a command of it, as kong knows it. A build of the program with
// the tag grammar prints it (internal/helptext/grammar.go).
type command struct {
	Name, Usage, Help, Detail string
	Default                   bool // it needs no name
	Flags                     []option
	Args                      []argument
	Commands                  []command
}

type option struct {
	Name, Short, Help, Placeholder, Default, Group string
	Enum, Envs                                     []string
	Bool, Repeated, Required                       bool
}

type argument struct {
	Name, Help  string
	Passthrough bool
}

// values says what the value of an option or argument is, for completions.
type values int

const (
	anything values = iota
	nothing
	words
	pids
	runIDs
	signals
	paths
)

func (o *option) values() values {
	switch {
	case o.Bool:
		return nothing
	case len(o.Enum) > 0:
		return words
	case strings.HasSuffix(o.Name, "-pid"):
		return pids
	case o.Name == "run-id":
		return runIDs
	case strings.HasSuffix(o.Name, "-signal"):
		return signals
	case strings.Contains(o.Placeholder, "FILE") || strings.Contains(o.Placeholder, "PATH"):
		return paths
	}
	return anything
}

func (a *argument) values() values {
	switch {
	case strings.Contains(a.Name, "PID"), a.Name == "TARGET":
		return pids
	case strings.Contains(a.Name, "FILE"):
		return paths
	}
	return anything
}

// signalNames are those that every system of a Unix kind has.
var signalNames = []string{"ABRT", "ALRM", "HUP", "INT", "KILL", "QUIT", "TERM", "USR1", "USR2"}

// atOnce are the flags that may be given without the name of a command.
func (c *command) atOnce() []option {
	list := slices.Clone(c.Flags)
	for _, sub := range c.Commands {
		if sub.Default {
			list = append(list, sub.Flags...)
		}
	}
	return list
}

// variables is what kong adds to a help text.
var variables = regexp.MustCompile(`\s*\(\$[A-Z_, $]+\)\.?$`)

func (c *command) tidy() {
	for i := range c.Flags {
		f := &c.Flags[i]
		f.Help = variables.ReplaceAllString(f.Help, "")
		f.Group = strings.TrimSuffix(f.Group, ":")
		if len(f.Enum) > 0 {
			f.Placeholder = strings.Join(f.Enum, "|")
		}
		f.Placeholder = strings.Trim(strings.TrimSuffix(f.Placeholder, ",..."), `"`)
	}
	for i := range c.Commands {
		c.Commands[i].tidy()
	}
}

// readGrammar builds a program so that it prints its grammar, and asks it.
func readGrammar(root, tmp, program string) (*command, error) {
	file := filepath.Join(tmp, "grammar-"+program)
	build := exec.Command("go", "build", "-buildvcs=false", "-tags=grammar", "-o", file, "./cmd/"+program)
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOOS=", "GOARCH=")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build -tags=grammar ./cmd/%s: %w\n%s", program, err, out)
	}
	ask := exec.Command(file, "--help")
	ask.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/"}
	out, err := ask.Output()
	if err != nil {
		return nil, fmt.Errorf("the grammar of %s: %w", program, err)
	}
	var c command
	if err := json.Unmarshal(out, &c); err != nil {
		return nil, fmt.Errorf("the grammar of %s: %w", program, err)
	}
	c.tidy()
	return &c, nil
}

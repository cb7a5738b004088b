// Actors starts processes that only seem to be something: with any arguments,
// environment, directory and name of the executable.
//
//	actors              reads one role as JSON from each line of standard input,
//	                    starts an actor for it and prints its PID
//	ACTORS_PLAY=1 actors
//	                    is such an actor: it plays until a signal ends it
//
// So the actors are no children of whoever asked for them: once this program
// is killed, they are orphans.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
)

// role says what an actor seems to be.
type role struct {
	Path string // of the executable; the program's own if empty
	Args []string
	Env  []string
	Dir  string
}

func main() {
	if slices.Contains(os.Environ(), "ACTORS_PLAY=1") {
		os.Stdout.WriteString("up\n")
		rest()
	}
	if err := direct(); err != nil {
		fmt.Fprintln(os.Stderr, "actors:", err)
		os.Exit(1)
	}
}

func direct() error {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var r role
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			return err
		}
		if err := start(r); err != nil {
			return err
		}
	}
	rest()
	return nil
}

// backOff waits for a signal that kills.
func rest() {
	never := make(chan os.Signal, 1)
	signal.Notify(never, os.Interrupt) // who only waits for a channel counts as deadlocked
	for range never {
	}
}

// start starts an actor, waits until it is up and prints its PID.
func start(r role) error {
	cmd := exec.Cmd{Path: r.Path, Args: r.Args, Env: append(r.Env, "ACTORS_PLAY=1"), Dir: r.Dir}
	if cmd.Path == "" {
		cmd.Path = "/proc/self/exe"
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
		return fmt.Errorf("actor %q said %q: %v", r.Args, line, err)
	}
	fmt.Println("actor", cmd.Process.Pid)
	return nil
}

//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: the measures are made of pidfds and /proc: Linux only")
	os.Exit(1)
}

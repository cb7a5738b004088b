//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "chaos: it needs PID namespaces, which only Linux has")
	os.Exit(1)
}

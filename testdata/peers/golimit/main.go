// Command golimit starts a command and cancels it when a line comes on standard
// input: golimit kill|term COMMAND [ARG...]
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[2], os.Args[3:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if os.Args[1] == "term" {
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	in := bufio.NewReader(os.Stdin)
	_, _ = in.ReadString('\n')
	cancel()
	fmt.Println("ENDED", cmd.Wait())
	_, _ = in.ReadString('\n') // this process lives on
}

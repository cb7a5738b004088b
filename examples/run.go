// Run it with: go run run.go
package main

import (
	"log"
	"os"
	"os/exec"
)

func main() {
	worker := exec.Command("watchdog", "run", "--", "python3", "worker.py")
	worker.Stdout, worker.Stderr = os.Stdout, os.Stderr
	if err := worker.Run(); err != nil {
		log.Fatal(err)
	}
}

// Reaper clears away at start-up what dead runs left behind. So far it makes
// run IDs; finding and ending what is left comes with the ledger.
package main

import (
	"fmt"
	"os"

	"leash/internal/runid"
	"leash/platform"
)

const usage = `Usage: reaper id

  id    Print a new run ID: 7 characters of 0-9 and a-z.
`

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	switch {
	case len(args) == 1 && (args[0] == "--help" || args[0] == "-h" || args[0] == "help"):
		fmt.Print(usage)
		return 0
	case len(args) == 1 && args[0] == "id":
		id, err := runid.New(platform.Random)
		if err != nil {
			fmt.Fprintln(os.Stderr, "reaper: no random bytes:", err)
			return 125
		}
		fmt.Println(id)
		return 0
	}
	fmt.Fprintln(os.Stderr, "reaper: this version can only make run IDs: reaper id")
	return 125
}

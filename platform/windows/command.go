//go:build windows

package windows

import win "golang.org/x/sys/windows"

// commandLine is the program to create a process from, and its command line: the
// worker's own, or cmd.exe's if it is a batch file. An error says why that may not
// be executed.
func commandLine(path string, args []string) (program, line string, err error) {
	if !isBatch(path) {
		return path, win.ComposeCommandLine(args), nil
	}
	if line, err = batchLine(path, args[1:]); err != nil {
		return "", "", err
	}
	dir, err := win.GetSystemDirectory() // COMSPEC may be anything
	return dir + `\cmd.exe`, line, err
}

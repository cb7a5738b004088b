//go:build !grammar

package helptext

import "github.com/alecthomas/kong"

// Print is a kong.HelpPrinter.
func Print(_ kong.HelpOptions, ctx *kong.Context) error { return printScreen(ctx) }

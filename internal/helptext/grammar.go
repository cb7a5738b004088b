//go:build grammar

package helptext

import (
	"encoding/json"
	"strings"

	"github.com/alecthomas/kong"
)

// Print is the kong.HelpPrinter of a build with the tag grammar, which is made to write man
// pages and completions and is never installed: --help prints the commands and flags as
// JSON (package grammar in packaging/).
func Print(_ kong.HelpOptions, ctx *kong.Context) error {
	out := json.NewEncoder(ctx.Stdout)
	out.SetIndent("", "\t")
	return out.Encode(command{
		Name: ctx.Model.Name, Help: ctx.Model.Help, Detail: ctx.Model.Detail,
		Flags: flagsOf(ctx.Model.Node), Commands: commandsOf(ctx.Model.Node),
	})
}

type command struct {
	Name     string    `json:"name"`
	Usage    string    `json:"usage"`
	Help     string    `json:"help"`
	Detail   string    `json:"detail"`
	Default  bool      `json:"default"`
	Flags    []flag    `json:"flags"`
	Args     []arg     `json:"args"`
	Commands []command `json:"commands"`
}

type flag struct {
	Name        string   `json:"name"`
	Short       string   `json:"short"`
	Help        string   `json:"help"`
	Placeholder string   `json:"placeholder"`
	Default     string   `json:"default"`
	Enum        []string `json:"enum"`
	Envs        []string `json:"envs"`
	Group       string   `json:"group"`
	Bool        bool     `json:"bool"`
	Repeated    bool     `json:"repeated"`
	Required    bool     `json:"required"`
}

type arg struct {
	Name        string `json:"name"`
	Help        string `json:"help"`
	Passthrough bool   `json:"passthrough"`
}

func commandsOf(n *kong.Node) (list []command) {
	for _, c := range n.Children {
		if c.Hidden {
			continue
		}
		one := command{Name: c.Name, Usage: usage(c), Help: c.Help, Detail: c.Detail, Default: n.DefaultCmd == c, Flags: flagsOf(c)}
		for _, p := range c.Positional {
			one.Args = append(one.Args, arg{Name: strings.ToUpper(p.Name), Help: p.Help, Passthrough: bool(p.Passthrough)})
		}
		one.Commands = commandsOf(c)
		list = append(list, one)
	}
	return list
}

func flagsOf(n *kong.Node) (list []flag) {
	for _, f := range n.Flags {
		if f.Hidden {
			continue
		}
		one := flag{Name: f.Name, Help: f.Help, Placeholder: f.FormatPlaceHolder(), Default: f.Default, Envs: f.Envs,
			Bool: f.IsBool(), Repeated: f.IsSlice(), Required: f.Required}
		if f.Name == "help" {
			one.Help = "Show help"
		}
		if f.Short != 0 {
			one.Short = string(f.Short)
		}
		if f.Enum != "" {
			one.Enum = f.EnumSlice()
		}
		if f.Group != nil {
			one.Group = f.Group.Title
		}
		list = append(list, one)
	}
	return list
}

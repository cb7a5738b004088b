// Package helptext prints the --help of both programs: flags by group, in the form
// that kong gives them, on one screen.
package helptext

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

const (
	// Columns and Lines are the size of a screen.
	Columns = 80
	Lines   = 50

	gap = 2 // before each column
)

// printScreen shows one command, or the program as a whole with the flags of the default
// command, which needs no name.
func printScreen(ctx *kong.Context) error {
	s := &screen{}
	ctx.Model.HelpFlag.Help = "Show this help"
	if command := ctx.Selected(); command != nil {
		s.line("Usage: " + ctx.Model.Name + " " + usage(command))
		s.paragraphs(command.Help, command.Detail)
		levels := command.AllFlags(true)
		if command.Tag.Has("alone") { // the flags of the other commands mean nothing to it
			levels = [][]*kong.Flag{command.Flags, {ctx.Model.HelpFlag}}
		}
		s.flags(levels)
	} else {
		s.line("Usage: " + ctx.Model.Name + " <command> [flags]")
		s.paragraphs(ctx.Model.Help)
		s.commands(ctx.Model.Children)
		flags := ctx.Model.AllFlags(true)
		if command := ctx.Model.DefaultCmd; command != nil {
			flags = command.AllFlags(true)
		}
		s.flags(flags)
	}
	return s.write(ctx.Stdout)
}

// screen is a list of sections; each is a list of lines.
type screen struct {
	sections [][]string
}

func (s *screen) line(text string) { s.sections = append(s.sections, []string{text}) }

func (s *screen) paragraphs(texts ...string) {
	for _, text := range texts {
		if text == "" {
			continue
		}
		var lines []string
		for paragraph := range strings.SplitSeq(text, "\n") {
			lines = append(lines, wrap(paragraph, Columns)...)
		}
		s.sections = append(s.sections, lines)
	}
}

func (s *screen) commands(commands []*kong.Node) {
	lines, width := []string{"Commands:"}, 0
	for _, c := range commands {
		width = max(width, len(usage(c)))
	}
	for _, c := range commands {
		lines = append(lines, row(usage(c), width, c.Help)...)
	}
	s.sections = append(s.sections, lines)
}

// flags shows each group under its title: those of the command first, then those
// that it shares with others, and what has no group.
func (s *screen) flags(levels [][]*kong.Flag) {
	const rest = "Flags:"
	var titles []string
	groups, width := map[string][]*kong.Flag{}, 0
	for _, level := range slices.Backward(levels) {
		for _, f := range level {
			title := rest
			if f.Group != nil {
				title = f.Group.Title
			}
			if groups[title] == nil && title != rest {
				titles = append(titles, title)
			}
			groups[title] = append(groups[title], f)
			width = max(width, len(left(f)))
		}
	}
	for _, title := range append(titles, rest) {
		lines := []string{title}
		for _, f := range groups[title] {
			lines = append(lines, row(left(f), width, kong.DefaultHelpValueFormatter(f.Value))...)
		}
		s.sections = append(s.sections, lines)
	}
}

// usage is how a command is called. Arguments that are passed on, as to a worker, come
// after --.
func usage(command *kong.Node) string {
	words := []string{command.Name}
	for _, f := range command.Flags {
		if f.Required {
			words = append(words, f.Summary())
		}
	}
	words = append(words, "[flags]")
	for _, arg := range command.Positional {
		name := strings.ToUpper(arg.Name)
		if arg.Passthrough {
			name = "-- " + name + " [ARG...]"
		}
		words = append(words, name)
	}
	return strings.Join(words, " ")
}

// left is a flag with its short name, and its value or what it is by default.
func left(f *kong.Flag) string {
	text := "--" + f.Name
	if f.Short != 0 {
		text = "-" + string(f.Short) + ", " + text
	}
	if !f.IsBool() {
		text += "=" + f.FormatPlaceHolder()
	}
	return text
}

func row(name string, width int, text string) (lines []string) {
	for i, words := range wrap(text, Columns-gap-width-gap) {
		if i > 0 {
			name = ""
		}
		lines = append(lines, fmt.Sprintf("%*s%-*s%*s%s", gap, "", width, name, gap, "", words))
	}
	return lines
}

func wrap(text string, width int) (lines []string) {
	var line string
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// write leaves the blank lines between groups out if they would not fit on the screen.
func (s *screen) write(w io.Writer) error {
	height := len(s.sections) - 1
	for _, lines := range s.sections {
		height += len(lines)
	}
	var b strings.Builder
	for i, lines := range s.sections {
		if title := strings.HasSuffix(lines[0], ":") && i > 2; i > 0 && (height <= Lines || !title) {
			b.WriteByte('\n')
		}
		for _, line := range lines {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

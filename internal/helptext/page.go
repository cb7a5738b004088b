package helptext

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Page is the part of docs/configuration.md about one program: a table for each command, and
// one for the flags that all have. examples are by the name of a flag.
func Page(k *kong.Kong, examples map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n", k.Model.Name)
	shared := slices.DeleteFunc(slices.Clone(k.Model.Flags), func(f *kong.Flag) bool { return f.Name == "help" })
	table(&b, "### For every command of "+k.Model.Name, shared, examples)
	for _, c := range k.Model.Children {
		fmt.Fprintf(&b, "### %s %s\n\n%s.\n\n    %s %s\n\n", k.Model.Name, c.Name, c.Help, k.Model.Name, usage(c))
		table(&b, "", c.Flags, examples)
	}
	return b.String()
}

func table(b *strings.Builder, title string, flags []*kong.Flag, examples map[string]string) {
	flags = slices.DeleteFunc(slices.Clone(flags), func(f *kong.Flag) bool { return f.Hidden })
	if len(flags) == 0 {
		return
	}
	if title != "" {
		b.WriteString(title + "\n\n")
	}
	b.WriteString("| flag | variable | default | meaning | example |\n|---|---|---|---|---|\n")
	for _, f := range flags {
		variable, standard, example := "", "", examples[f.Name]
		if len(f.Tag.Envs) > 0 {
			variable = "`" + f.Tag.Envs[0] + "`"
		}
		switch {
		case f.Default != "":
			standard = "`" + f.Default + "`"
		case f.IsBool():
			standard = "off"
		case f.Required:
			standard = "required"
		}
		if example == "" {
			if example = "--" + f.Name; !f.IsBool() {
				example += "=" + strings.Trim(f.FormatPlaceHolder(), `"`)
			}
		}
		fmt.Fprintf(b, "| `--%s` | %s | %s | %s | `%s` |\n", f.Name, variable, standard, cell(meaning(f)), example)
	}
	b.WriteByte('\n')
}

// meaning is the help of a flag, without its variable, which has a column.
func meaning(f *kong.Flag) string {
	text := kong.DefaultHelpValueFormatter(f.Value)
	if len(f.Tag.Envs) > 0 {
		text = strings.TrimSuffix(text, " ($"+f.Tag.Envs[0]+")")
		text = strings.TrimSuffix(text, "($"+f.Tag.Envs[0]+")")
	}
	return strings.TrimSuffix(text, ".")
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// Merge puts the part of one program into the page, between its marks.
func Merge(page, program, part string) (string, error) {
	begin, end := "<!-- "+program+": generated -->\n", "<!-- "+program+": end -->\n"
	i, j := strings.Index(page, begin), strings.Index(page, end)
	if i < 0 || j < i {
		return "", fmt.Errorf("the page has no marks %q and %q", begin, end)
	}
	return page[:i+len(begin)] + part + page[j:], nil
}

package main

import (
	"embed"
	"fmt"
	"strings"
	"time"
)

//go:embed man
var manTexts embed.FS

// manPage is the page of one program in section 1. What the grammar does not tell,
// examples for one, is in man/PROGRAM.
func manPage(c *command, v version, mtime time.Time) (string, error) {
	more, err := manTexts.ReadFile("man/" + c.Name + ".tail")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 %s \"Leash %s\" \"User Commands\"\n", strings.ToUpper(c.Name), mtime.UTC().Format(time.DateOnly), roff(v.plain))
	paragraphs := strings.Split(c.Help, "\n")
	first := strings.TrimSuffix(paragraphs[0], ".")
	fmt.Fprintf(&b, ".SH NAME\n%s, leash\\-%[1]s \\- %s\n.SH SYNOPSIS\n.nf\n", c.Name, roff(strings.ToLower(first[:1])+first[1:]))
	for _, sub := range c.Commands {
		fmt.Fprintf(&b, ".B %s %s\n", c.Name, roff(sub.Usage))
	}
	b.WriteString(".fi\n.SH DESCRIPTION\n")
	var status string
	for i, p := range paragraphs {
		if s, ok := strings.CutPrefix(p, "Exit status: "); ok {
			status = s
			continue
		}
		if i > 0 {
			b.WriteString(".PP\n")
		}
		b.WriteString(roff(p) + "\n")
	}
	b.WriteString(".PP\n.BR leash (7)\nexplains runs, evidence and exit statuses.\n.SH COMMANDS\n")
	for _, sub := range c.Commands {
		commandSection(&b, c, &sub)
	}
	b.WriteString(".SH OPTIONS\nThey hold for each command that has a use for them.\n")
	optionList(&b, c.Flags)
	if status != "" {
		b.WriteString(".SH EXIT STATUS\n")
		for i, p := range strings.Split(strings.TrimSuffix(status, "."), "; ") {
			if i > 0 {
				b.WriteString(".PP\n")
			}
			fmt.Fprintf(&b, "%s.\n", roff(strings.TrimSuffix(p, ".")))
		}
	}
	b.WriteString(".SH ENVIRONMENT\nA flag goes before its variable; an empty variable counts as unset.\n")
	environment(&b, c, map[string]bool{})
	b.Write(more)
	return b.String(), nil
}

func commandSection(b *strings.Builder, program, c *command) {
	fmt.Fprintf(b, ".SS %s %s\n%s.\n", program.Name, roff(c.Usage), roff(strings.TrimSuffix(c.Help, ".")))
	for p := range strings.SplitSeq(c.Detail, "\n") {
		if p != "" {
			fmt.Fprintf(b, ".PP\n%s\n", roff(p))
		}
	}
	for _, a := range c.Args {
		fmt.Fprintf(b, ".TP\n.I %s\n%s\n", roff(a.Name), roff(a.Help))
	}
	optionList(b, c.Flags)
	for _, sub := range c.Commands {
		commandSection(b, &command{Name: program.Name + " " + c.Name}, &sub)
	}
}

func optionList(b *strings.Builder, list []option) {
	group := ""
	for _, o := range list {
		if o.Group != group {
			group = o.Group
			if group != "" {
				fmt.Fprintf(b, ".PP\n.B %s:\n", roff(strings.TrimSuffix(group, ":")))
			}
		}
		b.WriteString(".TP\n")
		name := "\\-\\-" + roff(o.Name)
		if o.Short != "" {
			name = "\\-" + o.Short + ", " + name
		}
		if o.Bool {
			fmt.Fprintf(b, ".B %s\n", name)
		} else {
			fmt.Fprintf(b, ".BI %s= %s\n", strings.ReplaceAll(name, " ", "\\ "), strings.ReplaceAll(roff(o.Placeholder), " ", "\\ "))
		}
		text := strings.TrimSuffix(o.Help, ".")
		if text != "" {
			text += "."
		}
		if !o.Bool && o.Default != "" {
			text += " Default: " + o.Default + "."
		}
		if len(o.Envs) > 0 {
			text += " Variable: " + strings.Join(o.Envs, ", ") + "."
		}
		b.WriteString(roff(strings.TrimSpace(text)) + "\n")
	}
}

func environment(b *strings.Builder, c *command, seen map[string]bool) {
	for _, o := range c.Flags {
		for _, name := range o.Envs {
			if !seen[name] {
				seen[name] = true
				fmt.Fprintf(b, ".TP\n.B %s\nas\n.B \\-\\-%s\n", name, roff(o.Name))
			}
		}
	}
	for i := range c.Commands {
		environment(b, &c.Commands[i], seen)
	}
}

// conceptPage is leash(7).
func conceptPage(v version, mtime time.Time) (string, error) {
	text, err := manTexts.ReadFile("man/leash.7")
	return strings.NewReplacer("@DATE@", mtime.UTC().Format(time.DateOnly), "@VERSION@", roff(v.plain)).Replace(string(text)), err
}

var escapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`)

// roff makes a line of plain text one that groff(7) prints as it is.
func roff(text string) string {
	text = escapes.Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}

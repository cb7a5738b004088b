package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Completions are static files: the programs are called for run IDs only, and no variable
// such as COMP_LINE means anything to them.

// listRuns and listProcesses are what each shell asks for the values that change.
const (
	listRuns      = `leash-reaper list --json 2>/dev/null | grep -o '"run_id": *"[0-9a-z_]*"' | cut -d '"' -f 4`
	listProcesses = `ps -e -o pid= -o comm=`
)

func names(program string) []string { return []string{program, "leash-" + program} }

func bashCompletion(c *command) string {
	var b strings.Builder
	id := "_leash_" + c.Name
	fmt.Fprintf(&b, `# bash completion of %s.

%s_value() {
	local IFS=$'\n' list=()
	case $1 in
`, strings.Join(names(c.Name), " and "), id)
	seen := map[string]bool{}
	each(c, func(where string, o *option) {
		var do string
		switch o.values() {
		case words:
			do = fmt.Sprintf("list=(%s)", strings.Join(o.Enum, " "))
		case signals:
			do = fmt.Sprintf("list=(%s)", strings.Join(signalNames, " "))
		case runIDs:
			do = "list=($(" + listRuns + "))"
		case pids:
			do = "list=($(" + listProcesses + ` | sed -n 's/^ *\([0-9]*\) \(.*\)$/\1 (\2)/p'))`
		case paths:
			do = `compopt -o filenames 2>/dev/null; list=($(compgen -f -- "$cur"))`
		default:
			return
		}
		if !seen[o.Name] {
			seen[o.Name] = true
			fmt.Fprintf(&b, "\t--%s) %s ;;\n", o.Name, do)
		}
	})
	fmt.Fprintf(&b, "\tPID) list=($(%s | sed -n 's/^ *\\([0-9]*\\) \\(.*\\)$/\\1 (\\2)/p')) ;;\n", listProcesses)
	fmt.Fprint(&b, `	esac
	local word
	for word in "${list[@]}"; do
		[[ $word != "$cur"* ]] || COMPREPLY+=("$word")
	done
	# The name of the only process that fits is not part of the argument.
	[ ${#COMPREPLY[@]} -ne 1 ] || COMPREPLY[0]=${COMPREPLY[0]%% (*}
}

`)
	fmt.Fprintf(&b, `%s() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command='' i
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--)
			if declare -F _command_offset >/dev/null; then
				_command_offset $((i + 1))
			else
				COMPREPLY=($(compgen -c -- "$cur"))
			fi
			return
			;;
		%s) command=${command:-${COMP_WORDS[i]}} ;;
		esac
	done
	# "--flag=value" is three words.
	[ "$cur" != = ] || cur=''
	[ "$prev" != = ] || prev=${COMP_WORDS[COMP_CWORD-2]}
	case $prev in
`, id, strings.Join(subNames(c), "|"))
	var none, some []string
	each(c, func(where string, o *option) {
		switch {
		case o.values() == nothing:
		case seen[o.Name]:
			some = append(some, "--"+o.Name)
		default:
			none = append(none, "--"+o.Name)
		}
	})
	if some := unique(some); len(some) > 0 {
		fmt.Fprintf(&b, "\t%s)\n\t\t%s_value \"$prev\"\n\t\treturn\n\t\t;;\n", strings.Join(some, "|"), id)
	}
	if none := unique(none); len(none) > 0 {
		fmt.Fprintf(&b, "\t%s) return ;;\n", strings.Join(none, "|"))
	}
	fmt.Fprint(&b, "\tesac\n\tlocal words=''\n\tcase $command in\n")
	for i := range c.Commands {
		sub := &c.Commands[i]
		fmt.Fprintf(&b, "\t%s)\n", sub.Name)
		for _, a := range sub.Args {
			if a.values() == pids {
				fmt.Fprintf(&b, "\t\t[[ $cur == -* ]] || { %s_value PID; return; }\n", id)
			}
		}
		fmt.Fprintf(&b, "\t\twords='%s' ;;\n", strings.Join(append(dashed(c.Flags), append(dashed(sub.Flags), subNames(sub)...)...), " "))
	}
	fmt.Fprintf(&b, "\t*) words='%s' ;;\n\tesac\n", strings.Join(append(subNames(c), dashed(c.atOnce())...), " "))
	fmt.Fprintf(&b, "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -F %s %s\n", id, strings.Join(names(c.Name), " "))
	return b.String()
}

// each calls do for every option of a program, of all its commands too.
func each(c *command, do func(where string, o *option)) {
	for i := range c.Flags {
		do(c.Name, &c.Flags[i])
	}
	for i := range c.Commands {
		each(&c.Commands[i], do)
	}
}

func subNames(c *command) (list []string) {
	for _, sub := range c.Commands {
		list = append(list, sub.Name)
	}
	return list
}

func dashed(flags []option) (list []string) {
	for _, f := range flags {
		list = append(list, "--"+f.Name)
	}
	return list
}

func unique(list []string) (once []string) {
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			once = append(once, s)
		}
	}
	return once
}

// zshCompletion is of all programs, since zsh loads a file for each first name only.
func zshCompletion(programs []*command) string {
	var b strings.Builder
	var all []string
	for _, c := range programs {
		all = append(all, names(c.Name)...)
	}
	fmt.Fprintf(&b, `#compdef %s

_leash_pids() {
	local -a list
	list=(${(f)"$(%s | sed -n 's/^ *\([0-9]*\) \(.*\)$/\1:\2/p')"})
	_describe -V process list
}

_leash_runs() {
	local -a list
	list=(${(f)"$(%s)"})
	_describe run list
}

`, strings.Join(all, " "), listProcesses, listRuns)
	for _, c := range programs {
		fmt.Fprintf(&b, "_leash_%s() {\n\tlocal curcontext=$curcontext state line\n\tlocal -a commands\n\tcommands=(\n", c.Name)
		for _, sub := range c.Commands {
			fmt.Fprintf(&b, "\t\t%s\n", quote(sub.Name+":"+strings.ReplaceAll(sub.Help, ":", `\:`)))
		}
		fmt.Fprintf(&b, "\t)\n\tif [[ -z ${words[(r)(%s)]} ]]; then\n\t\t_arguments -s -S", strings.Join(subNames(c), "|"))
		zshFlags(&b, c.atOnce())
		fmt.Fprint(&b, " \\\n\t\t\t'1:command:->command' '*:: :->rest'\n\t\t[[ $state != command ]] || _describe command commands\n\t\treturn\n\tfi\n")
		fmt.Fprintf(&b, "\tlocal chosen=${words[(r)(%s)]}\n\tcase $chosen in\n", strings.Join(subNames(c), "|"))
		for _, sub := range c.Commands {
			fmt.Fprintf(&b, "\t%s)\n", sub.Name)
			if slices.ContainsFunc(sub.Args, func(a argument) bool { return a.Passthrough }) {
				b.WriteString(zshRest)
			}
			b.WriteString("\t\t_arguments -s -S")
			zshFlags(&b, append(append([]option{}, c.Flags...), sub.Flags...))
			fmt.Fprint(&b, " \\\n\t\t\t'1:command:'")
			for i, a := range sub.Args {
				switch {
				case a.Passthrough:
				case a.values() == pids:
					fmt.Fprintf(&b, " '%d:process:_leash_pids'", i+2)
				case a.values() == paths:
					fmt.Fprintf(&b, " '%d:file:_files'", i+2)
				}
			}
			fmt.Fprint(&b, "\n\t\t;;\n")
		}
		fmt.Fprint(&b, "\tesac\n}\n\n")
	}
	fmt.Fprint(&b, "case ${service#leash-} in\n")
	for _, c := range programs {
		fmt.Fprintf(&b, "%s) _leash_%[1]s \"$@\" ;;\n", c.Name)
	}
	fmt.Fprint(&b, "esac\n")
	return b.String()
}

// zshRest completes another program's words behind --.
const zshRest = `		local dashes=${words[(i)--]}
		if (( dashes < CURRENT )); then
			words=("${(@)words[dashes + 1, -1]}")
			(( CURRENT -= dashes ))
			_normal
			return
		fi
`

func zshFlags(b *strings.Builder, flags []option) {
	help := strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`)
	for _, f := range flags {
		spec := "--" + f.Name
		if f.Repeated {
			spec = "*" + spec
		}
		if !f.Bool {
			spec += "="
		}
		spec += "[" + help.Replace(f.Help) + "]"
		value := help.Replace(cmp.Or(strings.ToLower(strings.Trim(f.Placeholder, `"`)), "value"))
		switch f.values() {
		case nothing:
		case words:
			spec += ":" + f.Name + ":(" + strings.Join(f.Enum, " ") + ")"
		case signals:
			spec += ":signal:(" + strings.Join(signalNames, " ") + ")"
		case pids:
			spec += ":process:_leash_pids"
		case runIDs:
			spec += ":run:_leash_runs"
		case paths:
			spec += ":file:_files"
		default:
			spec += ":" + value + ": "
		}
		fmt.Fprintf(b, " \\\n\t\t\t%s", quote(spec))
	}
}

// quote makes one word of it for a shell of any kind but fish.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// fishCompletion is for one name of a program: fish loads a file for each.
func fishCompletion(c *command, name string) string {
	var b strings.Builder
	none := "not __fish_seen_subcommand_from " + strings.Join(subNames(c), " ")
	fmt.Fprintf(&b, "complete -c %s -f\n", name)
	for _, sub := range c.Commands {
		fmt.Fprintf(&b, "complete -c %s -n %s -a %s -d %s\n", name, fishQuote(none), sub.Name, fishQuote(sub.Help))
	}
	for _, f := range c.Flags {
		fishFlag(&b, name, "", &f)
	}
	for _, sub := range c.Commands {
		when := "__fish_seen_subcommand_from " + sub.Name
		if sub.Default {
			when = "not __fish_seen_subcommand_from " + strings.Join(others(c, sub.Name), " ")
		}
		for _, f := range sub.Flags {
			fishFlag(&b, name, when, &f)
		}
		for _, a := range sub.Args {
			when := fishQuote("__fish_seen_subcommand_from " + sub.Name)
			switch {
			case a.Passthrough:
				fmt.Fprintf(&b, "complete -c %s -n %s -xa '(__fish_complete_subcommand)'\n", name, when)
			case a.values() == pids:
				fmt.Fprintf(&b, "complete -c %s -n %s -xa %s\n", name, when, fishPids)
			case a.values() == paths:
				fmt.Fprintf(&b, "complete -c %s -n %s -F\n", name, when)
			}
		}
	}
	return b.String()
}

func others(c *command, but string) (list []string) {
	for _, sub := range c.Commands {
		if sub.Name != but {
			list = append(list, sub.Name)
		}
	}
	return list
}

const fishPids = `"(` + listProcesses + ` | string trim | string replace ' ' \t)"`

func fishFlag(b *strings.Builder, name, when string, f *option) {
	fmt.Fprintf(b, "complete -c %s", name)
	if when != "" {
		fmt.Fprintf(b, " -n %s", fishQuote(when))
	}
	if f.Short != "" {
		fmt.Fprintf(b, " -s %s", f.Short)
	}
	fmt.Fprintf(b, " -l %s", f.Name)
	switch f.values() {
	case nothing:
	case words:
		fmt.Fprintf(b, " -xa %s", fishQuote(strings.Join(f.Enum, " ")))
	case signals:
		fmt.Fprintf(b, " -xa %s", fishQuote(strings.Join(signalNames, " ")))
	case pids:
		fmt.Fprintf(b, " -xa %s", fishPids)
	case runIDs:
		fmt.Fprintf(b, " -xa %s", fishQuote("("+listRuns+")"))
	case paths:
		b.WriteString(" -rF")
	default:
		b.WriteString(" -x")
	}
	fmt.Fprintf(b, " -d %s\n", fishQuote(f.Help))
}

func fishQuote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
}

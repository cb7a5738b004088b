#!/bin/sh
# watchdog.sh BEAM_PID PYTHON_PID [WORKER_ID]
#
# Ends the process PYTHON_PID, with everything that it started, when BEAM_PID
# dies. This is only another way to call
#
#     watchdog guard --parent-pid BEAM_PID --worker-pid PYTHON_PID --worker-id WORKER_ID
#
# and becomes that program: its PID, signals and exit status are those of the
# script. In the environment, both in seconds ("2", "0.5"):
#
#     WATCHDOG_GRACE_PERIOD    from SIGTERM to SIGKILL (3, or LEASH_GRACE)
#     WATCHDOG_CHECK_INTERVAL  between two checks, where the system does not tell
#                              of an end by itself (1, or LEASH_POLL_INTERVAL)
#
# The program is searched, as watchdog-OS-ARCH or watchdog, in the folder of
# this script (of the script itself, if it was called through a link), in
# ../bin, ../bin/cross and ../libexec/bin from there, in PATH and in
# ~/.local/bin. Without it, and for a wrong call: one line on standard error and
# status 125, "not guarded", as from the program itself.
set -eu

fail() {
	printf 'watchdog.sh: %s\n' "$1" >&2
	exit 125
}

usage='usage: watchdog.sh BEAM_PID PYTHON_PID [WORKER_ID]'

# check_pid NAME VALUE: numbers only, for the program reads more than these.
check_pid() {
	case $2 in
	'' | 0* | *[!0-9]*) fail "$1 must be a process number; $usage" ;;
	esac
}

# check_seconds NAME VALUE
check_seconds() {
	case $2 in
	. | *[!0-9.]* | *.*.*) fail "$1 must be a number of seconds, such as 3 or 0.5" ;;
	esac
}

# folder_of_script sets $folder, with links to the script followed.
folder_of_script() {
	script=$0
	case $script in
	*/*) ;;
	*) [ -f "./$script" ] && script=./$script || script=$(command -v -- "$script") ;;
	esac
	hops=0
	while [ -L "$script" ] && [ "$hops" -lt 40 ]; do
		target=$(readlink "$script")
		case $target in
		/*) script=$target ;;
		*) script=${script%/*}/$target ;;
		esac
		hops=$((hops + 1))
	done
	folder=${script%/*}
}

# name_of_system sets $name to what the program for this system is called in a
# folder with those of many systems. It is empty where there is none.
name_of_system() {
	name='' suffix=''
	case $(uname -s) in
	Linux) name=watchdog-linux ;;
	Darwin) name=watchdog-darwin ;;
	MINGW* | MSYS* | CYGWIN*) name=watchdog-windows suffix=.exe ;;
	*) return 0 ;;
	esac
	case $(uname -m) in
	x86_64 | amd64) name=$name-amd64$suffix ;;
	aarch64 | arm64) name=$name-arm64$suffix ;;
	*) name='' ;;
	esac
}

# search_in FOLDER sets $program, if it is there. The name of the system comes
# first, so that a program of another system beside it does no harm.
search_in() {
	for candidate in $name "watchdog$suffix"; do
		if [ -f "$1/$candidate" ] && [ -x "$1/$candidate" ]; then
			program=$1/$candidate
			return 0
		fi
	done
	return 1
}

# search_path searches PATH. Other programs are called watchdog too (a daemon
# for the hardware's own watchdog, for one), so this one has to say that it guards.
search_path() {
	for candidate in $name "watchdog$suffix"; do
		program=$(command -v "$candidate") || continue
		case $("$program" --help 2>/dev/null </dev/null) in
		*guard*--worker-pid*) return 0 ;;
		esac
	done
	return 1
}

case ${1-} in
-h | --help)
	echo "$usage"
	exit 0
	;;
esac
[ $# -eq 2 ] || [ $# -eq 3 ] || fail "$usage"
check_pid BEAM_PID "$1"
check_pid PYTHON_PID "$2"
grace=${WATCHDOG_GRACE_PERIOD-} interval=${WATCHDOG_CHECK_INTERVAL-} id=${3-}
check_seconds WATCHDOG_GRACE_PERIOD "$grace"
check_seconds WATCHDOG_CHECK_INTERVAL "$interval"

# What is not given is not passed on: LEASH_GRACE and the like still count.
set -- guard "--parent-pid=$1" "--worker-pid=$2"
[ -z "$id" ] || set -- "$@" "--worker-id=$id"
[ -z "$grace" ] || set -- "$@" "--grace=${grace}s"
[ -z "$interval" ] || set -- "$@" "--poll-interval=${interval}s"

folder_of_script
name_of_system
search_in "$folder" ||
	search_in "$folder/../bin" ||
	search_in "$folder/../bin/cross" ||
	search_in "$folder/../libexec/bin" ||
	search_path ||
	search_in "${HOME-}/.local/bin" ||
	fail "there is no program watchdog${name:+ or $name} beside the script, in ../bin, in PATH or in ~/.local/bin: the worker is not guarded"
exec "$program" "$@"

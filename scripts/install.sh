#!/bin/sh
# install.sh [--prefix DIR] [--from DIR] [--uninstall]
#
# Puts watchdog, reaper and watchdog.sh into DIR/bin (~/.local/bin). It needs no
# root, changes nothing else, and may be run again at any time.
#
#     --prefix DIR  where to (default: ~/.local)
#     --from DIR    a folder with the programs, named watchdog or
#                   watchdog-OS-ARCH (default: bin/ or bin/cross/ beside scripts/)
#     --uninstall   remove them again
#
# A file of that name that is not ours is neither replaced nor removed. If there
# is a SHA256SUMS beside the programs, they must agree with it.
set -eu
umask 022

fail() {
	printf 'install.sh: %s\n' "$1" >&2
	exit 1
}

usage='usage: install.sh [--prefix DIR] [--from DIR] [--uninstall]'
wrong() {
	printf 'install.sh: %s\n' "$1; $usage" >&2
	exit 2
}

# is_ours FILE: it is a program built from this module, or the script for it.
is_ours() {
	LC_ALL=C grep -q -e 'leash/cmd/watchdog' -e 'leash/cmd/reaper' -e '^# watchdog.sh BEAM_PID' "$1"
}

# name_of_system sets $system to OS-ARCH, or to nothing.
name_of_system() {
	case $(uname -s) in
	Linux) system=linux ;;
	Darwin) system=darwin ;;
	*) system='' && return ;;
	esac
	case $(uname -m) in
	x86_64 | amd64) system=$system-amd64 ;;
	aarch64 | arm64) system=$system-arm64 ;;
	*) system='' ;;
	esac
}

# find_program NAME FOLDER... sets $found to the program for this system.
find_program() {
	wanted=$1
	shift
	for folder in "$@"; do
		for found in ${system:+"$folder/$wanted-$system"} "$folder/$wanted"; do
			[ ! -f "$found" ] || return 0
		done
	done
	fail "there is no $wanted${system:+ or $wanted-$system} in $1: build it first with make, or say --from DIR"
}

# check_sum FILE
check_sum() {
	list=$(dirname "$1")/SHA256SUMS
	[ -f "$list" ] || return 0
	want=$(awk -v name="$(basename "$1")" '$2 == name || $2 == "*" name { print $1 }' "$list")
	[ -n "$want" ] || return 0
	if command -v sha256sum >/dev/null; then
		is=$(sha256sum <"$1")
	else
		is=$(shasum -a 256 <"$1")
	fi
	[ "${is%% *}" = "$want" ] || fail "$1 is not what SHA256SUMS beside it says: nothing was installed"
}

# check_free FILE: nothing is there, or what we may replace.
check_free() {
	[ ! -d "$1" ] || fail "$1 is a folder: nothing was installed"
	[ ! -e "$1" ] || is_ours "$1" || fail "$1 is another program: nothing was installed"
}

# put FILE NAME: the new file replaces the old one in one step, so that one that
# is running, or is started just now, is whole.
put() {
	if [ -x "$bin/$2" ] && cmp -s "$1" "$bin/$2"; then
		echo "unchanged  $bin/$2"
		return
	fi
	new=$bin/.$2.new.$$
	trap 'rm -f "$new"' EXIT
	why=$({ cp "$1" "$new" && chmod 755 "$new" && mv -f "$new" "$bin/$2"; } 2>&1) || fail "$why"
	trap - EXIT
	echo "installed  $bin/$2"
}

# link NAME: the name that no other program has.
link() {
	[ "$(readlink "$bin/leash-$1")" = "$1" ] ||
		why=$({ rm -f "$bin/leash-$1" && ln -s "$1" "$bin/leash-$1"; } 2>&1) || fail "$why"
}

install_all() {
	name_of_system
	if [ -n "$from" ]; then
		set -- "$from"
	else
		set -- "$here/../bin" "$here/../bin/cross"
	fi
	find_program watchdog "$@" && watchdog=$found
	find_program reaper "$@" && reaper=$found
	check_sum "$watchdog"
	check_sum "$reaper"
	for name in watchdog reaper watchdog.sh leash-watchdog leash-reaper; do
		check_free "$bin/$name"
	done
	why=$(mkdir -p "$bin" 2>&1) || fail "$why"
	put "$watchdog" watchdog
	put "$reaper" reaper
	put "$here/watchdog.sh" watchdog.sh
	link watchdog
	link reaper
	case :${PATH-}: in
	*":$bin:"*) echo "$bin is in PATH" ;;
	*) echo "$bin is NOT in PATH; in your shell's profile: PATH=\"$bin:\$PATH\"" ;;
	esac
}

remove_all() {
	for name in watchdog reaper; do # links, of which nothing is said
		[ "$(readlink "$bin/leash-$name")" != "$name" ] || rm -f "$bin/leash-$name"
	done
	for name in watchdog reaper watchdog.sh; do
		if [ ! -f "$bin/$name" ]; then
			echo "not there  $bin/$name"
		elif is_ours "$bin/$name"; then
			why=$(rm -f "$bin/$name" 2>&1) || fail "$why"
			echo "removed    $bin/$name"
		else
			echo "kept       $bin/$name, which is another program"
		fi
	done
}

prefix='' from='' action=install_all
while [ $# -gt 0 ]; do
	case $1 in
	--prefix=*) prefix=${1#*=} ;;
	--from=*) from=${1#*=} ;;
	--prefix | --from)
		[ $# -gt 1 ] || wrong "$1 needs a folder"
		if [ "$1" = --prefix ]; then prefix=$2; else from=$2; fi
		[ -n "$2" ] || wrong "$1 needs a folder"
		shift
		;;
	--uninstall) action=remove_all ;;
	-h | --help)
		echo "$usage"
		exit 0
		;;
	*) wrong "what is $1?" ;;
	esac
	shift
done
[ -n "$prefix${HOME-}" ] || wrong "HOME is not set: say --prefix DIR"
[ -n "$prefix" ] || prefix=$HOME/.local
case $prefix in
/*) ;;
*) prefix=$PWD/$prefix ;;
esac
[ -z "$from" ] || [ -d "$from" ] || fail "there is no folder $from"
here=$(CDPATH='' cd -P -- "$(dirname -- "$0")" && pwd)
bin=${prefix%/}/bin
$action

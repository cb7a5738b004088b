#!/bin/sh
# Runs tests for Windows under Wine. The arguments are those of go test;
# without any, all packages that have tests for Windows.
#
#   scripts/wine/test.sh ./internal/... ./watch -run 'Parse|Judge' -v
#
# Where there is no Wine it says so and succeeds, or, with
# LEASH_TEST_NO_SKIP=1, fails.
set -eu

here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/env.sh"

status=0
"$here/setup.sh" || status=$?
if [ "$status" = 77 ]; then
	if [ "${LEASH_TEST_NO_SKIP:-}" = 1 ]; then
		echo "FAILED: the tests for Windows, for want of Wine; LEASH_TEST_NO_SKIP=1 allows no skip" >&2
		exit 1
	fi
	echo "SKIPPED: all tests for Windows, for want of Wine" >&2
	exit 0
fi
[ "$status" = 0 ] || exit "$status"

# Found in the environment of each process of this run, Wine's own included.
LEASH_WINE_RUN=$$-$(cut -d- -f1 /proc/sys/kernel/random/uuid)
export LEASH_WINE_RUN

# Windows programs of this run that still live: "PID COMMAND" each. Wine's own
# end by themselves, as soon as nothing needs them.
left_over() {
	for process in /proc/[0-9]*; do
		grep -qsz "^LEASH_WINE_RUN=$LEASH_WINE_RUN\$" "$process/environ" || continue
		command=$(tr '\0' ' ' 2>/dev/null <"$process/cmdline") || continue
		# shellcheck disable=SC1003 # a backslash at the end is meant
		case $command in
		'C:\windows\system32\'*) ;;
		*.exe*) printf '%s\n' "${process#/proc/} $command" ;;
		esac
	done 2>/dev/null # some end meanwhile
}

finish() {
	[ "$?" = 0 ] || [ "$status" != 0 ] || status=1 # the shell itself gave up
	trap - EXIT
	trap '' INT TERM
	[ -z "$tests" ] || kill "$tests" 2>/dev/null || true
	exec 8>&-
	left=$(left_over)
	if [ -n "$left" ] && [ "$status" -lt 128 ]; then
		# To Windows programs a process has ended a little before it has for
		# the kernel here. Wine's server waits for all of them, those of others
		# too, so we check meanwhile.
		for _ in $(seq 60); do
			for prefix in "$WINEPREFIX" "$scratch"/alone-*; do
				[ ! -d "$prefix" ] || WINEPREFIX=$prefix timeout 1 wineserver -w 9>&- || true
			done
			left=$(left_over)
			[ -n "$left" ] || break
		done
	fi
	if [ -n "$left" ]; then
		echo "left behind by the tests, and killed now:" >&2
		printf '%s\n' "$left" >&2
		printf '%s\n' "$left" | while read -r pid _; do kill -KILL "$pid" 2>/dev/null || true; done
		[ "$status" != 0 ] || status=1
	fi
	for prefix in "$scratch"/alone-*; do
		[ -d "$prefix" ] || continue
		WINEPREFIX=$prefix wineserver -k 9>&- || true
		WINEPREFIX=$prefix wineserver -w 9>&-
	done
	# The last script to use the prefix ends what runs there.
	if flock -n -x 9; then
		wineserver -k 9>&- || true # it may have ended by itself
		wineserver -w 9>&-
	fi
	rm -rf "$scratch"
	exit "$status"
}

tests='' scratch=''
exec 9>>"$wine_lock"
flock -s 9
trap finish EXIT
trap 'status=130; exit' INT
trap 'status=143; exit' TERM

export GOOS=windows GOARCH=amd64 CGO_ENABLED=0
overlay=$("$here/overlay.sh")
root=$(cd "$here/../.." && pwd)

# The simulator's games are the same on each system: a few will do here.
export LEASH_SIM_N="${LEASH_SIM_N:-10000}"

# The programs as they are released, for tests that start them.
scratch=$(mktemp -d "$wine_dir/run.XXXXXX")
export LEASH_BIN_DIR="Z:$scratch"
export LEASH_WINE_SCRATCH="$scratch"
go build -C "$root" -trimpath -buildvcs=false -ldflags='-s -w' -o "$scratch/" ./cmd/...

# Wine ends its services with the last program, and takes half a second to
# start them for the next. A shell that waits for a line keeps them running;
# when this script ends, however it does, it sees the end of its input.
# Its greeting is waited for: a start of Wine while it is being started fails now
# and then ("wine: chdir to /tmp/wine-...").
mkfifo "$scratch/stay" "$scratch/greets"
wine cmd <"$scratch/stay" >"$scratch/greets" 2>/dev/null 9>&- &
exec 8>"$scratch/stay" 6<"$scratch/greets"
read -r _ <&6 || { echo "Wine does not start" >&2; exit 1; }

# Without it, the tests that need it skip themselves, or fail where that is forbidden.
if python=$("$here/python.sh" 6<&- 8>&- 9>&-); then
	# shellcheck disable=SC1003 # a backslash is meant
	LEASH_WINE_PYTHON=Z:$(printf %s "$python" | tr / '\\')
	export LEASH_WINE_PYTHON
fi

# run_tests calls go test with these arguments. In the background, so that a
# signal to this script is heard at once.
run_tests() {
	# No package takes two minutes, unless the machine is very slow.
	PATH=$here:$PATH go test -timeout 40m -overlay "$overlay" "$@" 6<&- 7>&- 8>&- 9>&- &
	tests=$!
	status=0
	wait "$tests" || status=$?
	tests=''
}

if [ $# != 0 ]; then
	run_tests "$@"
	exit
fi

# no_wonder lists the packages that failed where Wine could not start a process
# ("Internal error.", now and then). It fails if one failed
# without.
no_wonder() {
	awk '
		/Internal error\./ { fault = 1 }
		$1 == "FAIL" && NF > 1 { if (!fault) bad = 1; print $2 }
		/^(ok|FAIL|\?) *\t/ { fault = 0 }
		END { exit bad }
	' "$scratch/said"
}

cd "$root"
mkfifo "$scratch/says"
tee "$scratch/said" <"$scratch/says" 6<&- 8>&- 9>&- &
tee=$!
exec 7>&1 >"$scratch/says" 2>&1
# shellcheck disable=SC2046 # one word for each package
run_tests $(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)
exec >&7 2>&1 7>&-
wait "$tee"
if [ "$status" = 1 ] && again=$(no_wonder) && [ -n "$again" ]; then
	# shellcheck disable=SC2086
	echo "Wine could not start a process. Once more:" $again
	# shellcheck disable=SC2086 # one word for each package
	run_tests $again
fi

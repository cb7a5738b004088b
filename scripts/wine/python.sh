#!/bin/sh
# Prints where CPython for Windows is (python.exe, as a path of Linux), unpacked
# when it is not there yet. The module beside this script names its version.
#
# Its caller holds the lock on the prefix, as test.sh does.
set -eu

here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/env.sh"

# The name tells what is in it, so that others can use theirs meanwhile.
dir=$wine_dir/python-$(cat "$here/python.sh" "$here/python/main.go" "$here/python/go.mod" | cksum | tr ' ' '-')
if [ ! -e "$dir/python.exe" ]; then
	echo "unpacking CPython for Windows in $wine_dir" >&2
	new=$(mktemp -d "$wine_dir/python.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	trap 'exit 130' INT TERM
	(cd "$here/python" && ../../retry.sh go mod download)
	# No cgo, no flags of other tests.
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 GOFLAGS=-buildvcs=false \
		go build -C "$here/python" -o "$new/unpack.exe" .
	wine "$new/unpack.exe" "Z:$new/python" >&2
	# It works, and what is imported most is compiled: not by each test anew.
	# Through a pipe, for under Wine it cannot print to a file that was opened
	# outside, and does not even start then.
	said=$(wine "$new/python/python.exe" -c 'import ctypes, multiprocessing.pool, signal, subprocess' 2>&1) ||
		{ echo "CPython does not work: $said" >&2; exit 1; }
	mv -T "$new/python" "$dir" 2>/dev/null || [ -e "$dir/python.exe" ] # another run was faster
fi
echo "$dir/python.exe"

#!/bin/sh
# Prints the path of a build overlay for Go's standard library, made from the
# one that is installed.
#
# Wine 8 answers "not implemented" where Windows versions without that way to
# delete a file answer "invalid class of information", and Go knows only the
# latter as a reason to delete in the older way. So os.RemoveAll, and with it
# the end of each test with a t.TempDir, would fail.
set -eu

here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/env.sh"

source=$(go env GOROOT)/src/internal/syscall/windows/at_windows.go
known="	case STATUS_INVALID_INFO_CLASS,"
added="	case NTStatus(0xC0000002), STATUS_INVALID_INFO_CLASS,"

found=$(grep -c "^$known" "$source") || true
if [ "$found" != 1 ] || grep -qi "0xC0000002\|STATUS_NOT_IMPLEMENTED" "$source"; then
	echo "$source is not as expected ($found times \"$known\"): see whether $0 is still needed" >&2
	exit 1
fi

# The name tells what is in it, so that others can use theirs meanwhile.
dir=$wine_dir/overlay-$(cat "$source" "$here/overlay.sh" | cksum | tr ' ' '-')
if [ ! -e "$dir/overlay.json" ]; then
	mkdir -p "$wine_dir"
	new=$(mktemp -d "$wine_dir/overlay.XXXXXX")
	sed "s/^$known/$added/" "$source" >"$new/at_windows.go"
	printf '{"Replace":{"%s":"%s"}}\n' "$source" "$dir/at_windows.go" >"$new/overlay.json"
	mv -T "$new" "$dir" 2>/dev/null || rm -rf "$new" # another run was faster
fi
echo "$dir/overlay.json"

#!/bin/sh
# Makes all that Go's tests for Windows need to run here, under Wine: the
# packages, a prefix (what Wine takes for drive C) and one library that Wine 8
# lacks. Done once, it is quick after that. Two at once do no harm.
#
# Exit status 77: Wine is not here, and cannot be installed by this user.
set -eu

here=$(dirname -- "$(readlink -f -- "$0")")
. "$here/env.sh"

unavailable() {
	echo "Wine for the Windows tests: $1" >&2
	exit 77
}

[ "$(uname -sm)" = "Linux x86_64" ] || unavailable "only tried on Linux, amd64"

have_packages() {
	command -v wine >/dev/null && command -v wineserver >/dev/null &&
		command -v x86_64-w64-mingw32-ld >/dev/null
}

install_packages() {
	have_packages && return
	packages="wine wine64 binutils-mingw-w64-x86-64"
	command -v apt-get >/dev/null || unavailable "no apt-get here to install $packages"
	[ "$(id -u)" = 0 ] || unavailable "missing; on Debian, as root: apt-get install $packages"
	echo "installing for the Windows tests: $packages" >&2
	# The lists may be old, or not there at all: then once more with new ones.
	# shellcheck disable=SC2086 # one word for each package
	$apt $packages >/dev/null 2>&1 || {
		"$here/../retry.sh" apt-get update -qq
		# shellcheck disable=SC2086
		"$here/../retry.sh" $apt $packages >/dev/null
	}
	have_packages || { echo "Wine is still not complete" >&2; exit 1; }
}

apt="env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300"

# What the prefix was made with. Of another stamp, it is made anew.
stamp() {
	wine --version
	cat "$here/setup.sh" "$here/env.sh" "$here/bcryptprimitives.def" | cksum
}

ready() {
	[ "$(cat "$wine_dir/prefix/leash-stamp" 2>/dev/null)" = "$(stamp)" ]
}

# The prefix gets its name when it is whole: one that was interrupted is
# thrown away by the next.
make_prefix() {
	echo "making a Wine prefix in $wine_dir" >&2
	WINEPREFIX=$wine_dir/prefix.new
	export WINEPREFIX
	if [ -d "$WINEPREFIX" ]; then
		wineserver -k 9>&- || true
		rm -rf "$WINEPREFIX"
	fi
	"$here/../retry.sh" wine wineboot -i >/dev/null 2>&1 9>&-
	# Go asks for Windows 10.
	wine reg add 'HKCU\Software\Wine' /v Version /d win10 /f >/dev/null 2>&1 9>&-
	wineserver -k 9>&- || true # it may have ended by itself
	wineserver -w 9>&-
	x86_64-w64-mingw32-ld -shared -e 0 "$here/bcryptprimitives.def" \
		-o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll"
	stamp >"$WINEPREFIX/leash-stamp"
	rm -rf "$wine_dir/prefix"
	mv "$WINEPREFIX" "$wine_dir/prefix"
}

have_packages && ready && exit 0
mkdir -p "$wine_dir"
# Every script that uses the prefix holds this lock shared; here it is held
# alone. No child gets it, since Wine leaves servers behind that would keep it.
exec 9>"$wine_lock"
flock -x 9
install_packages 9>&-
ready || make_prefix

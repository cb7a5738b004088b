#!/bin/sh
# Installs what the tests with real peers need, where apt is there and we may.
# Elsewhere it says what is missing; those tests are then skipped, loudly.
set -eu

here=$(dirname -- "$0")
missing=""
need() { # COMMAND-OR-PATH PACKAGE
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need_python() { # MODULE PACKAGE
	/usr/bin/python3 -c "import $1" >/dev/null 2>&1 || missing="$missing $2"
}

need python3 python3
need erl erlang-base
need elixir elixir
need node nodejs
need gunicorn gunicorn
need setsid util-linux
need bwrap bubblewrap
need systemd-notify systemd
need systemd-analyze systemd
need busybox busybox
need setpriv util-linux
need bash bash
[ "$(uname -m)" != x86_64 ] || need qemu-system-x86_64 qemu-system-x86
need_python grpc python3-grpcio
need_python setproctitle python3-setproctitle
need_python systemd.daemon python3-systemd
need_python yaml python3-yaml

[ -n "$missing" ] || exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
	echo "installing for the tests:$missing"
	# update counts as failed if one list could not be had, and any other apt is
	# waited for.
	apt="apt-get -qq -o Acquire::Retries=3 -o Acquire::http::Timeout=60 -o DPkg::Lock::Timeout=300"
	# shellcheck disable=SC2086 # one word for each
	"$here/retry.sh" $apt update -o APT::Update::Error-Mode=any ||
		echo "some lists of packages are old: it goes on with them" >&2
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive "$here/retry.sh" $apt install -y --no-install-recommends $missing >/dev/null
else
	echo "MISSING, so some tests will be skipped; on Debian, as root: apt-get install$missing" >&2
fi

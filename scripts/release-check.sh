#!/bin/sh
# scripts/release-check.sh: is what make package wrote to dist/ whole, and made of the programs
# that say this version? It publishes nothing.
set -eu
cd "$(dirname "$0")/.."

fail() {
	printf 'release-check: %s\n' "$1" >&2
	exit 1
}

[ -f dist/SHA256SUMS ] || fail "there is no dist/SHA256SUMS: make package"
if command -v sha256sum >/dev/null; then
	(cd dist && sha256sum --quiet --check SHA256SUMS) || fail "a file in dist/ is not what its sum says: make package"
else
	(cd dist && shasum --quiet -a 256 --check SHA256SUMS) || fail "a file in dist/ is not what its sum says: make package"
fi
for kind in .deb .rpm .apk .tar.gz .zip .tgz .whl -image.tar .spdx.json; do
	set -- dist/*"$kind"
	[ -e "$1" ] || fail "there is no *$kind in dist/"
done

os=$(uname -s | tr '[:upper:]' '[:lower:]') arch=$(uname -m)
case $arch in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
esac
said=$("bin/cross/watchdog-$os-$arch" --version)
version=$(echo "$said" | cut -d ' ' -f 2)
[ -e "dist/leash-${version#v}-$os-$arch.tar.gz" ] || fail "dist/ is of another version than $version: make package"
case $said in
*+dirty*) echo "release-check: the checkout has changes that no commit has: not for a release" >&2 ;;
esac
if [ -n "${RELEASE_TAG:-}" ] && [ "$RELEASE_TAG" != "$version" ]; then
	fail "the tag is $RELEASE_TAG and the programs say $version"
fi
case $version in
v*) grep -q "^## \\[${version#v}\\]" CHANGELOG.md || fail "CHANGELOG.md has no section [${version#v}]" ;;
esac
echo "release-check: $said"

#!/bin/sh
# What the linker is to put into both programs, for --version: the tag vX.Y.Z
# at the commit, if there is one, and the commit, with +dirty behind it if files
# were changed since. Of an archive that git made, its .commit tells; of other
# copies nothing is known, and nothing is printed.
set -eu
cd "$(dirname "$0")/.."

git() { command git -c safe.directory='*' "$@" 2>/dev/null; } # root may build another's checkout

tag='' commit=''
if [ -e .git ] && commit=$(git rev-parse HEAD); then # not the repository of a folder above
	if [ -n "$(git status --porcelain)" ]; then
		commit=$commit+dirty
	else
		tag=$(git -c versionsort.suffix=- tag --points-at HEAD --list 'v[0-9]*.[0-9]*.[0-9]*' --sort=-version:refname | head -n 1)
	fi
elif read -r commit names <.commit && [ "${commit#?Format}" = "$commit" ]; then
	tag=$(echo "$names" | tr ',' '\n' | sed -n 's/.*tag: \(v[0-9][^ ]*\).*/\1/p' | tr - '~' | sort -rV | head -n 1 | tr '~' -)
else
	commit=''
fi
# Words for the shell and the linker: nothing else may be in them.
case $tag$commit in *[!A-Za-z0-9.+-]*) tag='' commit='' ;; esac
[ -z "$commit" ] || printf '%s' "-X leash/internal/version.commit=$commit"
[ -z "$tag" ] || printf '%s' " -X leash/internal/version.tag=$tag"

#!/bin/sh
# scripts/retry.sh COMMAND [ARG...]: for what needs the network, where a server may be
# slow or unreachable for a moment. The command is tried three
# times at most, for ten minutes each; its last status is ours.
set -u

bound="timeout --foreground -k 10 600" # in the foreground, so that Ctrl-C reaches it
$bound true 2>/dev/null || bound="" # macOS has none
try=1
while :; do
	status=0
	$bound "$@" || status=$?
	[ "$status" != 0 ] && [ "$try" -lt 3 ] || exit "$status"
	echo "try $try of 3 failed with status $status, once more soon: $*" >&2
	sleep $((try * ${LEASH_RETRY_PAUSE:-10}))
	try=$((try + 1))
done

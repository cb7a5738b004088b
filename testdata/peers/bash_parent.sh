#!/bin/bash
# A shell script that starts workers in the background, with or without a
# watchdog beside each: bash_parent.sh WATCHDOG PYTHON WORKER RUN_ID SPEC...
#
# A SPEC is MODE,WORKER_ID,ARGUMENT,... with MODE one of guard, run and bare.
# A script has no job control: its background jobs share its process group.
# "run" stands in the middle of a pipeline. All that workers print comes out
# with "WORKER_ID " in front.

set -u
watchdog=$1 python=$2 worker=$3 run_id=$4
shift 4

mark() { exec sed -u "s/^/$1 /"; }

echo "PARENT $$"
for spec in "$@"; do
  IFS=, read -r -a flags <<<"$spec"
  mode=${flags[0]} id=${flags[1]}
  command=("$python" "$worker" --port 0 --run-id "$run_id" --worker-id "$id" "${flags[@]:2}")
  labels=(--parent-pid $$ --run-id "$run_id" --worker-id "$id")
  if [ "$mode" = run ]; then
    yes | (
      echo "PID watchdog $BASHPID"
      exec "$watchdog" run "${labels[@]}" -- "${command[@]}"
    ) | mark "$id" &
    continue
  fi
  LEASH_RUN_ID=$run_id LEASH_WORKER_ID=$id "${command[@]}" > >(mark "$id") &
  if [ "$mode" = guard ]; then
    "$watchdog" guard --worker-pid $! "${labels[@]}" &
    echo "$id PID watchdog $!"
  fi
done

wait

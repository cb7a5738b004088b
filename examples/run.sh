#!/bin/sh
# Run it with: sh run.sh
watchdog run --parent-pid $$ -- python3 worker.py &
wait $!

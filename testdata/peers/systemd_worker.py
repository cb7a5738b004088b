#!/usr/bin/python3
"""A worker that knows nothing of Leash: it speaks to its service manager with python3-systemd, as
daemons of the distribution do. The line "hang" on its standard input stops the beats; any other stops it."""

from __future__ import annotations

import os
import select
import sys

from systemd import daemon


def main() -> None:
    """Beat at half of what is asked for, until told otherwise."""
    interval = int(os.environ["WATCHDOG_USEC"]) / 2e6
    if not daemon.notify("READY=1\nSTATUS=as a daemon"):
        sys.exit("nobody to notify")
    print(f"READY {os.getpid()}\n", end="", flush=True)
    while not select.select([0], [], [], interval)[0]:
        daemon.notify("WATCHDOG=1")
    if sys.stdin.readline() == "hang\n":
        print("HANGING\n", end="", flush=True)
        daemon.notify("WATCHDOG_USEC=600000")  # it need not be waited for so long
        sys.stdin.readline()
    daemon.notify("STOPPING=1")
    sys.exit(5)


if __name__ == "__main__":
    main()

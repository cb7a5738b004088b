#!/usr/bin/python3
"""A worker that wipes its arguments and its environment, as setproctitle does.

It prints "worker PID" and "child PID" once the titles are set. The child is
born after that, so it inherits the memory that was wiped; with --daemon it
leaves into a session of its own and does not know its parent any more.
"""

from __future__ import annotations

import os
import signal
import sys

import setproctitle


def rest() -> None:
    """Do nothing until a signal ends the process."""
    while True:
        signal.pause()


def main() -> None:
    """Wipe, fork, rest."""
    # A title that is longer than all arguments takes the environment's place.
    setproctitle.setproctitle("wiped " + "x" * 65536)
    daemon = "--daemon" in sys.argv
    reader, writer = os.pipe()
    if os.fork() == 0:
        if daemon:
            os.setsid()
        if not daemon or os.fork() == 0:
            os.write(writer, f"{os.getpid()}\n".encode())
            os.close(writer)
            rest()
        os._exit(0)
    os.close(writer)
    if daemon:
        os.wait()
    with os.fdopen(reader) as pipe:
        child = int(pipe.readline())
    print(f"child {child}\nworker {os.getpid()}\n", end="", flush=True)
    rest()


if __name__ == "__main__":
    main()

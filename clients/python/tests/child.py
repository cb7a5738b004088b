"""What the children of multiprocessing run."""

import multiprocessing
import os
import signal

import leash


def main() -> None:
    """Guard itself, tell the PID, rest. A forkserver stands between and lives on."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    leash.guard(parent.pid, grace=0.1)
    print(f"CHILD {os.getpid()}\n", end="", flush=True)
    while True:
        signal.pause()

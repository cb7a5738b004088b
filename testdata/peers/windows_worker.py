"""A worker for the tests on Windows: windows_worker.py MODE [ARGUMENT...].

Each process says who it is: "pid WORKER_ID ROLE PID". What takes long to import
is imported where it is needed: most processes here need none of it.
"""

import os
import sys
import time


def say(text):
    """Print a line in one piece: several processes share the pipe."""
    os.write(1, f"{text}\n".encode())


def here(role):
    name = os.environ.get("LEASH_WORKER_ID") or os.environ.get("TEST_NAME", "-")
    say(f"pid {name} {role} {os.getpid()}")


def stay():
    """Wait for ever; unlike a lock, this is ended by Ctrl-C."""
    while True:
        time.sleep(3600)


def child(mode, flags=0):
    import subprocess

    subprocess.Popen([sys.executable, __file__, mode], stdout=sys.stdout, creationflags=flags)


def in_pool(_):
    here("pool")
    stay()


def tree():
    """Do not listen to Ctrl-C, and have children of all kinds."""
    import multiprocessing
    import signal
    import subprocess

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    here("worker")
    child("child")
    child("detached", subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP)
    try:
        child("breakaway", subprocess.CREATE_BREAKAWAY_FROM_JOB)
        say("breakaway allowed")
    except PermissionError:
        say("breakaway refused")
    pool = multiprocessing.get_context("spawn").Pool(2)
    pool.map(in_pool, range(2), chunksize=1)


def small(*_):
    """Have one child."""
    child("child")
    here("worker")
    stay()


def polite(*_):
    """End by Ctrl-C, and tell it. The child ends in the same way."""
    try:
        child("child")
        here("worker")
        stay()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(42)


def echo(status):
    """Answer each line at once, and end with a status."""
    for line in sys.stdin:
        print("echo", line, end="", flush=True)
    print("to standard error", file=sys.stderr)
    sys.exit(int(status))


def arguments(*args):
    """Print what arrived."""
    print(ascii(list(args)), flush=True)


def main(mode, *args):
    modes = {"tree": tree, "small": small, "polite": polite, "echo": echo, "arguments": arguments}
    if mode in modes:
        modes[mode](*args)
    else:  # one of the others
        here(mode)
        stay()


if __name__ == "__main__":
    main(*sys.argv[1:])

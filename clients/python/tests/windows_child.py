"""A worker on Windows; cmd/watchdog's tests for Windows start it, in one of these modes."""

import ctypes
import logging
import os
import signal
import sys
import time

import leash

logging.basicConfig(format="log %(message)s", stream=sys.stdout)


def talk() -> None:
    """Says everything once."""
    import multiprocessing
    import subprocess

    heartbeat = leash.Heartbeat()
    print("guard", [(parent.pid, parent.backend) for parent in leash.guard()])
    print("enabled", heartbeat.enabled, heartbeat.interval)
    print("status", heartbeat.status("fährt\nhoch"), heartbeat.extend(600), heartbeat.reloading())
    print("ready", heartbeat.ready("läuft"))
    print("barrier", heartbeat.barrier(60))
    print("child", subprocess.run([sys.executable, __file__, "child"]).returncode)
    with multiprocessing.Pool(1) as workers:
        print("pool", workers.apply(speak))
    print("stopping", heartbeat.stopping())
    sys.exit(7)


def child() -> None:
    """Lives no longer than it takes to be heard."""
    heartbeat = leash.Heartbeat()
    heartbeat.status("a child")
    sys.exit(0 if heartbeat.barrier(60) else 1)


def beat() -> None:
    """Beats while the main thread is in C code, then holds the GIL there, and is soon missed."""
    heartbeat = leash.Heartbeat()
    heartbeat.ready()
    print("ready", flush=True)
    sys.stdin.readline()
    print("stuck", flush=True)
    with open(os.environ["LEASH_HEARTBEAT_PIPE"], "wb", buffering=0) as pipe:
        pipe.write(b"WATCHDOG_USEC=1000000")  # the thread beats more often
    ctypes.PyDLL("kernel32").Sleep(10**9)


def unheard() -> None:
    """Goes on, whatever the processes at these names do instead of listening."""
    for name in sys.argv[2:]:
        os.environ["LEASH_HEARTBEAT_PIPE"] = name
        heartbeat = leash.Heartbeat()
        began = time.monotonic()
        print("beats", [heartbeat.beat() for _ in range(3)], heartbeat.enabled)
        print("other", heartbeat.status("x"), heartbeat.barrier(0.1))
        print("seconds", time.monotonic() - began, flush=True)


def guarded() -> None:
    """Ends with the parent that the argument names, or with its own."""
    if sys.argv[2:3] == ["handler"]:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    found = leash.guard(*map(int, sys.argv[3:]), grace=0.1 if sys.argv[2] == "stuck" else 60)
    print("guarded", [(parent.pid, parent.backend) for parent in found], flush=True)
    if sys.argv[2] == "stuck":
        ctypes.WinDLL("kernel32").Sleep(10**9)
    while True:
        time.sleep(0.01)


def speak() -> bool:
    heartbeat = leash.Heartbeat()
    return heartbeat.status("of the pool") and heartbeat.barrier(60)


if __name__ == "__main__":
    globals()[sys.argv[1]]()

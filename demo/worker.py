"""A worker of the demo: it starts a child, perhaps a daemon, and then just lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from plan import WITH_DAEMON, WITH_DEAF_CHILD, Member
from report import announce, live_until_the_demo_ends


def report_sentinel(number: int) -> None:
    """The sentinel of "watchdog run" is the worker's parent (on Linux)."""
    parent = os.getppid()
    try:
        name = Path(f"/proc/{parent}/comm").read_text().strip()
    except OSError:
        return
    if name == "leash-sentinel":
        announce(Member("sentinel", number), parent)


def start_child(number: int) -> None:
    subprocess.Popen([sys.executable, "-S", __file__, str(number), "child"])


def start_daemon(number: int) -> None:
    """Leave the process group, the session and the parent, as daemons do."""
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    be("daemon", number)
    os._exit(0)


def be(role: str, number: int) -> None:
    """Report this process, and stay."""
    announce(Member(role, number), os.getpid())
    live_until_the_demo_ends()


def main() -> None:
    number = int(sys.argv[1])
    if sys.argv[2:] == ["child"]:
        if number in WITH_DEAF_CHILD:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        be("child", number)
        return
    report_sentinel(number)
    start_child(number)
    if number in WITH_DAEMON:
        start_daemon(number)
    be("worker", number)


if __name__ == "__main__":
    main()

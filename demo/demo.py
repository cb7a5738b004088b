"""The demo: kill a parent, and see which processes are left; without Leash, and with it.

Exit status: 0 when nothing was left with Leash, 1 when something was (or could
not be cleaned up), 2 when the demo could not be shown, 128+N for signal N.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from plan import GRACE, Member, describe
from scene import PARENT, Scene, SceneError
from watcher import supported

BIN = Path(__file__).resolve().parent.parent / "bin" / "watchdog"
WATCH_SECONDS = (1.0, 2.0)  # when to count what is left without Leash
PATIENCE = 10.0  # it takes little more than GRACE
PLURAL = {"child": "children"}


class Interrupted(BaseException):
    def __init__(self, signum: int) -> None:
        self.signum = signum


class NotClean(Exception):
    """Something that the demo started is still there."""


def colours_wanted() -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def say(text: str = "", colour: str = "") -> None:
    """Print one line at once; colours: b bold, d dim, r red, g green."""
    if colour and colours_wanted():
        code = {"b": "1", "d": "2", "r": "31", "g": "32"}[colour]
        text = f"\033[{code}m{text}\033[0m"
    print(text, flush=True)


def count(members: Iterable[Member]) -> str:
    """As in "8 workers, 8 children, 2 daemons"."""
    roles = Counter(member.role for member in members)
    words = []
    for role in ("parent", "worker", "child", "daemon", "watchdog", "sentinel"):
        if n := roles[role]:
            words.append(f"{n} {role if n == 1 else PLURAL.get(role, role + 's')}")
    return ", ".join(words) or "nothing"


@contextmanager
def scene(watchdog: str | None) -> Iterator[Scene]:
    """A complete scene; whatever happens inside, it is cleaned up."""
    play = Scene(watchdog)
    try:
        play.wait_until_complete()
        yield play
    finally:
        set_signals(signal.SIG_IGN)  # nothing may interrupt this
        clean = play.close()
        set_signals(interrupt)
        if not clean:
            pids = " ".join(map(str, play.alive)) or "unknown"
            say(f"  Could not clean up: these PIDs are still running: {pids}", "r")
    if not clean:
        raise NotClean("the demo could not end what it started")


def show_death(ms: float, pid: int, member: Member) -> None:
    if member == PARENT:
        say(f"  {ms:9.1f} ms   PID {pid:<8} the parent", "b")
    else:
        say(f"  {ms:9.1f} ms   PID {pid:<8} {describe(member)}")


def kill_parent(play: Scene) -> None:
    say(f"  Running: {count(play.alive.values())}.")
    say("  kill -9 parent. Processes that end, in milliseconds after the kill:")
    play.kill_parent()


def without_leash() -> tuple[int, int]:
    """How many processes are left, of how many."""
    say("1. Without Leash", "b")
    with scene(None) as play:
        total = len(play.alive) - 1
        kill_parent(play)
        for seconds in WATCH_SECONDS:
            for death in play.deaths(seconds, stop_early=False):
                show_death(*death)
            ms = seconds * 1000
            say(f"  {ms:9.1f} ms   still running: {count(play.alive.values())}", "r")
        left = len(play.alive)
        say(f"  Left: {left} of {total}, with their ports and memory. "
            "(The demo ends them now.)")
    return left, total


def with_leash(watchdog: str, patience: float) -> tuple[int, int]:
    """How many processes are left, of how many."""
    say("2. With Leash", "b")
    say('  "watchdog run" started workers 1 to 4; a "watchdog guard" stands beside each of')
    say(f"  5 to 8. Leash sends SIGTERM, and SIGKILL after a grace period of {GRACE}.")
    with scene(watchdog) as play:
        total = len(play.alive) - 1
        kill_parent(play)
        for death in play.deaths(patience, stop_early=True):
            show_death(*death)
        left = len(play.alive)
        for pid, member in play.alive.items():
            say(f"  still running   PID {pid:<8} {describe(member)}", "r")
        if not left and not play.silent:
            say("  A process that the demo does not know is still running.", "r")
            left = 1
        say(f"  Left: {left} of {total}.")
    return left, total


def show(watchdog: str, patience: float) -> int:
    say("A parent has 8 Python workers. Each has a child; two have a daemon as well. One child")
    say("ignores SIGTERM. The parent is killed with SIGKILL. Which processes are left?")
    say()
    bare = without_leash()
    say()
    leashed = with_leash(watchdog, patience)
    say()
    say("Left after the death of the parent:", "b")
    say(f"  without Leash   {bare[0]:2} of {bare[1]} processes", "r" if bare[0] else "")
    say(f"  with Leash      {leashed[0]:2} of {leashed[1]} processes, Leash's own included",
        "r" if leashed[0] else "g")
    return 1 if leashed[0] else 0


def interrupt(signum: int, _frame: object) -> None:
    raise Interrupted(signum)


def set_signals(handler: object) -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, handler)  # type: ignore[arg-type]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--watchdog", default=str(BIN), metavar="FILE",
                        help="default: %(default)s")
    parser.add_argument("--patience", type=float, default=PATIENCE, metavar="SECONDS",
                        help="how long Leash may take (default: %(default)s)")
    options = parser.parse_args()
    watchdog = options.watchdog
    problem = supported()
    if not problem and not os.access(watchdog, os.X_OK):
        problem = f"{watchdog} does not exist: run make demo"
    if problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 2
    set_signals(interrupt)
    try:
        return show(os.path.abspath(watchdog), options.patience)
    except (SceneError, NotClean) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2 if isinstance(error, SceneError) else 1
    except Interrupted as stop:
        print("demo: interrupted; everything that it started has been ended", file=sys.stderr)
        return 128 + stop.signum
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


if __name__ == "__main__":
    sys.exit(main())

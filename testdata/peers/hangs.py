#!/usr/bin/python3
"""A worker that shows that it lives, and hangs when it is told to.

It prints "SOCKET address", "CHILD pid" if it has one, and "READY pid"; then it does what the lines
on its standard input say: "hang gil", "later 2", ... (see ORDERS). An order that ends is answered
with "STILL HERE". It needs clients/python in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import faulthandler
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Callable, Iterator, Optional

import leash

# The interpreter lock is kept during a call of such a library, as bad extensions keep it.
KEEPS_THE_GIL = ctypes.PyDLL(None)


def say(text: str) -> None:
    """Print one whole line at once."""
    print(f"{text}\n", end="", flush=True)


def tell(message: str) -> None:
    """Send one message, whatever it is."""
    name = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + name[1:] if name[0] == "@" else name)
        sock.send(message.encode())


def hold_the_gil(begin: Callable[[], None]) -> None:
    """Sleep in C code that never lets go of the interpreter lock."""
    begin()
    while True:
        KEEPS_THE_GIL.sleep(1000000)


def spin_for_ever(begin: Callable[[], None]) -> None:
    """Work without end, and without progress."""
    begin()
    while True:
        pass


def sleep_for_ever(begin: Callable[[], None]) -> None:
    """Block: in an asyncio loop, that is what a call of another kind of library does."""
    begin()
    while True:
        time.sleep(1000000)


def deadlock(begin: Callable[[], None]) -> None:
    """Two threads, each with the lock that the other wants."""
    mine, yours, both = threading.Lock(), threading.Lock(), threading.Barrier(2)

    def other_side() -> None:
        with yours:
            both.wait()
            with mine:
                say("NEVER")

    threading.Thread(target=other_side, daemon=True).start()
    with mine:
        both.wait()
        begin()
        with yours:
            say("NEVER")


# Each calls what it is given when it is in the function that a stack shows, and hangs then.
HANGS: dict[str, Callable[[Callable[[], None]], None]] = {
    "gil": hold_the_gil, "spin": spin_for_ever, "sleep": sleep_for_ever, "lock": deadlock,
}  # fmt: skip


class Worker:
    """One worker and its way to beat."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.heartbeat = leash.Heartbeat(progress_within=0.5 if args.beats == "progress" else None)
        self.loop: Optional[asyncio.AbstractEventLoop] = None

    def ready(self) -> None:
        """Tell everybody."""
        if not self.args.mute:
            self.speak()
        say(f"READY {os.getpid()}")

    def speak(self, _rest: str = "") -> None:
        """Tell the watchdog. From here on silence counts, also that of who is held still by the machine."""
        if self.loop:
            self.heartbeat.start(self.loop)
        if self.args.beats == "none" and not self.args.never_ready:
            self.send(self.args.says)
        elif not self.args.never_ready:
            self.heartbeat.ready("waiting for orders")
        elif self.args.beats != "none":
            self.heartbeat.start()

    def begin_to_hang(self) -> None:
        """Said from within the hang, so that nobody who is held still before it is taken for hung."""
        say("HANGING")
        if self.args.mute:
            self.speak()
        if self.args.hasten:
            self.send(self.args.hasten)

    def obey(self, line: str) -> None:
        """Do what one line says."""
        order, _, rest = line.partition(" ")
        ORDERS[order](self, rest)
        say("STILL HERE")

    def hang(self, way: str) -> None:
        """Never come back."""
        HANGS[way](self.begin_to_hang)

    def later(self, seconds: str) -> None:
        """Answer after some time: beats go on if another thread sends them."""
        time.sleep(float(seconds))

    def block(self, seconds: str) -> None:
        """A long request during which nothing of Python runs."""
        KEEPS_THE_GIL.usleep(int(float(seconds) * 1e6))

    def extend(self, seconds: str) -> None:
        """Ask for time."""
        self.heartbeat.extend(float(seconds))

    def stopping(self, _rest: str) -> None:
        """Say that the end has begun, and no more."""
        self.heartbeat.stopping()

    def barrier(self, _rest: str) -> None:
        """Wait until all that was said is handled."""
        if not self.heartbeat.barrier(timeout=30):
            sys.exit("the barrier stays")

    def send(self, message: str) -> None:
        """Send a message as it is; \\n stands for a new line."""
        tell(message.replace("\\n", "\n"))

    def once_gone(self, message: str) -> None:
        """Have it sent by a child that has ended and was reaped before the answer."""
        child = os.fork()
        if child == 0:
            tell(message)
            os._exit(0)
        os.waitpid(child, 0)

    def speaker(self, message: str) -> None:
        """Have a child that sends a message once it gets SIGUSR1."""
        if os.fork():
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        say(f"SPEAKER {os.getpid()}")
        signal.sigwait([signal.SIGUSR1])
        tell(message)
        os._exit(0)

    def exact(self, beats: str) -> None:
        """Be ready and beat by hand, at half of WATCHDOG_USEC to the point, as the protocol asks for.
        Print the longest time that was between two of them, in intervals: the machine may have held us."""
        interval = int(os.environ["WATCHDOG_USEC"]) / 2e6
        begin, longest = time.monotonic(), 0.0
        before = begin
        tell("READY=1")
        for n in range(1, int(beats) + 1):
            time.sleep(max(0.0, begin + n * interval - time.monotonic()))
            now = time.monotonic()
            tell("WATCHDOG=1")
            longest, before = max(longest, time.monotonic() - before), now
        tell("WATCHDOG_USEC=0")
        longest = max(longest, time.monotonic() - before)
        say(f"LONGEST {longest / interval:.3f}")

    def below(self, how: str) -> None:
        """Let somebody else beat from now on: a grandchild, or a daemon that left by a double fork."""
        if os.fork():
            return
        if how == "daemon":
            os.setsid()
        if os.fork() == 0:
            say(f"BEATER {os.getpid()}")
            while True:
                with contextlib.suppress(ConnectionRefusedError):  # no watchdog yet
                    tell("WATCHDOG=1")
                time.sleep(0.1)
        if how == "daemon":
            os._exit(0)
        os.wait()

    def busy(self, _rest: str) -> None:
        """Work, honestly: only a machine without time for it makes this look like a hang."""
        threading.Thread(target=spin_for_ever, args=(lambda: None,), daemon=True).start()

    def run(self) -> None:
        """Be ready, and obey."""
        if self.args.beats == "loop":
            asyncio.run(self.serve())
            return
        self.ready()
        for line in self.lines():
            self.obey(line)

    def lines(self) -> Iterator[str]:
        """The lines of the standard input; for the work that never rests, progress meanwhile."""
        # A signal that comes just before select(2) would wait for its end: this wakes it.
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        while True:
            readable = select.select([0, woken], [], [], 0.05 if self.args.beats == "progress" else None)[0]
            if woken in readable:
                os.read(woken, 4096)
            if 0 in readable:
                text = os.read(0, 4096).decode()
                yield from text.splitlines()
                if not text:
                    os.dup2(os.pipe()[0], 0)  # nobody will say any more
            self.heartbeat.progress()

    async def serve(self) -> None:
        """Obey in the callbacks of a loop that beats."""
        loop = asyncio.get_running_loop()

        def readable() -> None:
            text = os.read(0, 4096).decode()
            for line in text.splitlines():
                self.obey(line)
            if not text:
                loop.remove_reader(0)

        self.loop = loop
        self.ready()
        loop.add_reader(0, readable)
        await asyncio.Event().wait()


ORDERS: dict[str, Callable[[Worker, str], None]] = {
    "hang": Worker.hang, "later": Worker.later, "block": Worker.block, "extend": Worker.extend,
    "stopping": Worker.stopping, "send": Worker.send, "once-gone": Worker.once_gone, "exact": Worker.exact,
    "below": Worker.below, "busy": Worker.busy, "barrier": Worker.barrier, "speak": Worker.speak,
    "speaker": Worker.speaker,
}  # fmt: skip


def drain(seconds: float, *_: object) -> None:
    """On SIGTERM: ask for more time again and again, then end with a status of one's own."""
    say("DRAINING")
    tell("STOPPING=1")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        tell("EXTEND_TIMEOUT_USEC=30000000")
        time.sleep(0.1)
    say("DRAINED")
    os._exit(7)


def main() -> None:
    """Read the arguments and live."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beats", choices=["timer", "progress", "loop", "none"], default="timer")
    parser.add_argument("--startup", type=float, default=0.0, help="seconds before READY=1")
    parser.add_argument("--never-ready", action="store_true", help="do not say READY=1")
    parser.add_argument("--says", default="READY=1", help="what --beats none says for it")
    parser.add_argument("--mute", action="store_true", help="say nothing before the hang begins, or the order to speak")
    parser.add_argument("--hasten", help="what to say when the hang begins")
    parser.add_argument("--child", action="store_true", help="have a child that did setsid")
    parser.add_argument("--deaf", action="store_true", help="ignore SIGTERM; so does the child")
    parser.add_argument("--drain", type=float, help="seconds from SIGTERM to the end")
    args = parser.parse_args()

    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # SIGABRT leaves a file otherwise
    if args.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if args.drain is not None:
        signal.signal(signal.SIGTERM, lambda *_: drain(args.drain))
    say(f"SOCKET {os.environ.get('NOTIFY_SOCKET', '')}")
    if args.child:
        child = subprocess.Popen(["sleep", "1000000"], start_new_session=True)
        say(f"CHILD {child.pid}")
    worker = Worker(args)
    time.sleep(args.startup)
    worker.run()


if __name__ == "__main__":
    main()

"""Handles on processes that are not our children: pidfds on Linux, kqueue on macOS.

A handle is taken while its process certainly runs. From then on it tells when
the process ends, and no signal can reach another process of the same number.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from typing import Protocol


class Watcher(Protocol):
    def add(self, pid: int) -> None:
        """Take a handle; wait reports a process that has already ended."""

    def kill(self, pid: int) -> None:
        """SIGKILL, through the handle."""

    def wait(self, seconds: float) -> tuple[list[int], bool]:
        """The processes that have ended since, and whether the pipe can be read."""

    def forget_pipe(self) -> None:
        """The pipe is at its end: stop reporting it."""

    def close(self) -> None:
        """Close all handles."""


class PidfdWatcher:
    """Linux 5.3 and later."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)
        self._fd_of: dict[int, int] = {}
        self._pid_of: dict[int, int] = {}
        self._gone: list[int] = []

    def add(self, pid: int) -> None:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._gone.append(pid)
            return
        self._fd_of[pid], self._pid_of[fd] = fd, pid
        self._poll.register(fd, select.POLLIN)

    def kill(self, pid: int) -> None:
        if pid in self._fd_of:
            try:
                signal.pidfd_send_signal(self._fd_of[pid], signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended just now

    def wait(self, seconds: float) -> tuple[list[int], bool]:
        dead, self._gone = self._gone, []
        readable = False
        for fd, _ in self._poll.poll(0 if dead else seconds * 1000):
            if fd == self._pipe:
                readable = True
            else:
                dead.append(self._forget(fd))
        return dead, readable

    def forget_pipe(self) -> None:
        self._poll.unregister(self._pipe)

    def _forget(self, fd: int) -> int:
        self._poll.unregister(fd)
        pid = self._pid_of.pop(fd)
        del self._fd_of[pid]
        os.close(fd)
        return pid

    def close(self) -> None:
        for fd in list(self._pid_of):
            self._forget(fd)


class KqueueWatcher:
    """macOS. A number that kqueue has not reported dead is still the same process."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._queue = select.kqueue()
        self._alive: set[int] = set()
        self._gone: list[int] = []
        self._change(pipe, select.KQ_FILTER_READ, select.KQ_EV_ADD)

    def _change(self, ident: int, which: int, how: int, what: int = 0) -> None:
        self._queue.control([select.kevent(ident, which, how, what)], 0, 0)

    def add(self, pid: int) -> None:
        try:
            how, what = select.KQ_EV_ADD, select.KQ_NOTE_EXIT
            self._change(pid, select.KQ_FILTER_PROC, how, what)
        except ProcessLookupError:
            self._gone.append(pid)
            return
        self._alive.add(pid)

    def kill(self, pid: int) -> None:
        if pid in self._alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended just now

    def wait(self, seconds: float) -> tuple[list[int], bool]:
        dead, self._gone = self._gone, []
        readable = False
        for event in self._queue.control(None, 64, 0 if dead else seconds):
            if event.filter == select.KQ_FILTER_READ:
                readable = True
            elif event.ident in self._alive:
                self._alive.remove(event.ident)
                dead.append(event.ident)
        return dead, readable

    def forget_pipe(self) -> None:
        self._change(self._pipe, select.KQ_FILTER_READ, select.KQ_EV_DELETE)

    def close(self) -> None:
        self._queue.close()


def supported() -> str:
    """Empty if this system can show the demo, else what is missing."""
    if sys.platform == "darwin":
        return ""
    if not hasattr(os, "pidfd_open") or not hasattr(signal, "pidfd_send_signal"):
        return "the demo needs Linux or macOS, with Python 3.9 or later"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return f"this system has no handles on processes (pidfd_open: {error})"
    return ""


def watcher(pipe: int) -> Watcher:
    return KqueueWatcher(pipe) if sys.platform == "darwin" else PidfdWatcher(pipe)

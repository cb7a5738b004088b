"""One scene: a parent, its workers and all that belongs to them, observed through handles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from plan import WORKERS, Member, members
from watcher import watcher

PARENT = Member("parent", 0)
PARENT_PROGRAM = str(Path(__file__).with_name("parent.py"))
START_SECONDS = 60.0
CLEANUP_SECONDS = 30.0


class SceneError(Exception):
    """The scene could not be set up."""


class Scene:
    def __init__(self, watchdog: str | None) -> None:
        self.alive: dict[int, Member] = {}
        self.silent = False  # the report ended: no process has it open any more
        self._leash = watchdog is not None
        self._guarding: set[str] = set()
        self._seen: set[Member] = set()
        self._complaints: list[str] = []
        self._rest = b""
        self._killed_at = 0.0
        self._report, report_of_parent = os.pipe()
        os.set_blocking(self._report, False)
        self._watcher = watcher(self._report)
        command = [sys.executable, PARENT_PROGRAM] + ([watchdog] if watchdog else [])
        # A session of its own, so that Ctrl-C reaches the demo alone.
        self._parent = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=report_of_parent,
            start_new_session=True,
        )
        os.close(report_of_parent)
        self._add(PARENT, self._parent.pid)

    def wait_until_complete(self) -> None:
        """Return when every process has reported itself, watchdogs included."""
        deadline = time.monotonic() + START_SECONDS
        while not self._complete():
            ended = self._wait(deadline - time.monotonic())
            if ended or self.silent or time.monotonic() > deadline:
                raise SceneError(self._what_failed(ended))

    def kill_parent(self) -> None:
        self._killed_at = time.monotonic()
        self._watcher.kill(self._parent.pid)

    def deaths(self, until: float, stop_early: bool) -> Iterator[tuple[float, int, Member]]:
        """Milliseconds since the kill, PID and member, as they end; for some seconds."""
        deadline = self._killed_at + until
        while (left := deadline - time.monotonic()) > 0:
            if stop_early and not self.alive and self.silent:
                return
            ended = self._wait(left)
            now = (time.monotonic() - self._killed_at) * 1000
            for pid, member in ended:
                yield now, pid, member

    def close(self) -> bool:
        """End whatever is left, and say whether that worked."""
        if self._parent.stdin:
            self._parent.stdin.close()
        for pid in list(self.alive):
            self._watcher.kill(pid)
        deadline = time.monotonic() + CLEANUP_SECONDS
        while (self.alive or not self.silent) and time.monotonic() < deadline:
            known = set(self.alive)
            self._wait(deadline - time.monotonic())
            for pid in set(self.alive) - known:  # it came late
                self._watcher.kill(pid)
        self._parent.poll()
        self._watcher.close()
        os.close(self._report)
        return self.silent and not self.alive

    def _complete(self) -> bool:
        wanted = len(WORKERS) if self._leash else 0
        return self._seen >= members(self._leash) and len(self._guarding) >= wanted

    def _add(self, member: Member, pid: int) -> None:
        self.alive[pid] = member
        self._seen.add(member)
        self._watcher.add(pid)

    def _wait(self, seconds: float) -> list[tuple[int, Member]]:
        """Wait for reports and ends; return the processes that have ended."""
        dead, readable = self._watcher.wait(max(seconds, 0.0))
        if readable:
            self._read_report()
        return [(pid, self.alive.pop(pid)) for pid in dead if pid in self.alive]

    def _read_report(self) -> None:
        data = os.read(self._report, 1 << 16)
        if not data:
            self.silent = True
            self._watcher.forget_pipe()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode(errors="replace"))

    def _take(self, line: str) -> None:
        """A process that reports itself, an event of a watchdog, or an error."""
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            self._complaints.append(line)
        elif "demo" in record:
            role, number, pid = record["demo"]
            self._add(Member(role, number), pid)
        elif record.get("event") == "watchdog.started":
            self._guarding.add(record.get("leash.worker_id", ""))
        elif record.get("level") == "ERROR":
            self._complaints.append(line)

    def _what_failed(self, ended: list[tuple[int, Member]]) -> str:
        missing = members(self._leash) - self._seen
        text = f"the scene could not be set up: {len(missing)} processes missing, "
        text += f"{len(self._guarding)} watchdogs ready, {len(ended)} ended at once"
        return "\n  ".join([text, *self._complaints[:20]])

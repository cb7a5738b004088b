"""Real parents and workers for the tests: started, read line by line, killed, reaped.

The test process is made the subreaper, so that an orphan comes to it and its exit status
can be read. Nothing sleeps: every wait ends with a line, an end of file or an exit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from typing import Dict, Iterator, List, Optional

import leash

CLIENT = pathlib.Path(__file__).resolve().parent.parent
PATIENCE = 120  # far more than needed: machines that run tests are sometimes very busy
FOREVER = "while True:\n    time.sleep(1000000)\n"
PRELUDE = """
import ctypes, logging, os, signal, socket, sys, threading, time
import leash
def say(*words):
    print(*words, end="\\n", flush=True)
"""
# Starts the worker and stays, deaf to everything but SIGKILL.
PARENT = """
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print("WORKER %d\\n" % worker.pid, end="", flush=True)
worker.wait()
sys.stdin.read()
"""

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def environment(**more: str) -> Dict[str, str]:
    """An environment without any watchdog's traces."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LEASH_", "NOTIFY_", "WATCHDOG_"))}
    return {**kept, "PYTHONPATH": f"{CLIENT}:{CLIENT}/tests", "PYTHONDONTWRITEBYTECODE": "1", **more}


class Output:
    """What processes write into one pipe."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.text = b""

    def line(self, prefix: str) -> str:
        """Wait for a line that starts so; give the rest of it. What others have said before
        stays to be asked for: a worker may be faster than its parent, which tells its PID."""
        wanted = prefix.encode()
        while True:
            *lines, last = self.text.split(b"\n")
            for number, text in enumerate(lines):
                if text.startswith(wanted):
                    self.text = b"\n".join([*lines[:number], *lines[number + 1 :], last])
                    return text[len(wanted) :].decode().strip()
            if not self.more():
                raise AssertionError(f"the output ended without {prefix!r}: {self.text!r}")

    def more(self) -> bool:
        """Read on; False at the end."""
        if not select.select([self.reader], [], [], PATIENCE)[0]:
            raise AssertionError(f"nothing in {PATIENCE} s after {self.text!r}")
        data = os.read(self.reader, 65536)
        self.text += data
        return bool(data)


class Scene(unittest.TestCase):
    """A test with processes, all of which are ended with it."""

    def setUp(self) -> None:
        self.output = Output()
        self.addCleanup(os.close, self.output.reader)
        self.addCleanup(os.close, self.output.writer)
        self.pids: List[int] = []  # not reaped yet, so that the numbers are still theirs
        self.addCleanup(self.end_all)

    def end_all(self) -> None:
        """Kill and reap what is left, orphans of orphans too: no other process reaps a child of ours,
        so its number is its own."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                for pid in children():
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(-1, 0)

    def start(self, *args: str, stdin: int = subprocess.DEVNULL, stdout: Optional[int] = None, **env: str) -> int:
        """Start a program; its output comes to self.output."""
        out = self.output.writer if stdout is None else stdout
        process = subprocess.Popen(args, stdin=stdin, stdout=out, env=environment(**env))
        process.returncode = 0  # reaped here, never by Popen
        self.pids.append(process.pid)
        return process.pid

    def orphan(self, code: str, **env: str) -> "Family":
        """Start a parent with a worker that runs the code."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        parent = self.start(sys.executable, "-c", PARENT, PRELUDE + code, stdin=reader, **env)
        os.close(reader)
        worker = int(self.output.line("WORKER "))
        return Family(self, parent, worker, writer)

    def kill(self, pid: int) -> None:
        """SIGKILL to a child, which stays a zombie: a zombie is dead."""
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def gone(self, pid: int) -> None:
        """Wait until a process that another may reap is no more."""
        with contextlib.suppress(ProcessLookupError):
            handle = leash._pidfd_open(pid)
            self.assertTrue(select.select([handle], [], [], PATIENCE)[0], f"process {pid} still runs")
            os.close(handle)

    def reap(self, pid: int) -> int:
        """Wait for a child, or an orphan that came here; a negative number is a signal's."""

        def late(*_: object) -> None:
            raise AssertionError(f"process {pid} still runs")

        signal.signal(signal.SIGALRM, late)
        signal.alarm(PATIENCE)
        _, status = os.waitpid(pid, 0)
        signal.alarm(0)
        if pid in self.pids:
            self.pids.remove(pid)
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


class Family:
    """A parent and its worker."""

    def __init__(self, scene: Scene, parent: int, worker: int, stdin: int) -> None:
        self.scene, self.parent, self.worker, self.stdin = scene, parent, worker, stdin

    def kill_parent(self) -> None:
        """End the parent; from now on the worker is a child of the test."""
        self.scene.kill(self.parent)
        self.scene.pids.append(self.worker)

    def status(self) -> int:
        """Wait for the end of the worker."""
        return self.scene.reap(self.worker)


def children() -> List[int]:
    """The children of ours now, zombies too."""
    lists = pathlib.Path("/proc/self/task").glob("*/children")
    return [int(pid) for text in lists for pid in text.read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


class Receiver:
    """A watchdog's end of NOTIFY_SOCKET."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind("\0" + name[1:] if name[0] == "@" else name)
        self.socket.settimeout(PATIENCE)
        self.fds: List[int] = []
        self.sender = 0

    def receive(self) -> str:
        """Wait for a message; its sender and its descriptors are kept."""
        data, rights, _, _ = self.socket.recvmsg(4096, 256)
        for level, kind, content in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self.fds += memoryview(content).cast("i").tolist()
            elif level == socket.SOL_SOCKET:
                self.sender = memoryview(content).cast("i").tolist()[0]
        return data.decode()

    def waiting(self) -> List[str]:
        """All that is there already."""
        found = []
        while select.select([self.socket], [], [], 0)[0]:
            found.append(self.receive())
        return found

    def close(self) -> None:
        """Close all."""
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []


@contextlib.contextmanager
def receiver(abstract: bool = False) -> Iterator[Receiver]:
    """A receiver for one test."""
    with tempfile.TemporaryDirectory() as folder:
        there = Receiver(("@" if abstract else "") + folder + "/notify")
        try:
            yield there
        finally:
            there.close()

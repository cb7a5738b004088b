"""Real processes whose end a test sees without asking for it: each holds a connection."""

from __future__ import annotations

import pathlib
import socket
import unittest
from typing import List, NamedTuple

CLIENT = pathlib.Path(__file__).resolve().parent.parent
WORKER = str(CLIENT / "examples" / "worker.py")
TREE = str(CLIENT.parent / "testdata" / "tree.py")
PATIENCE = 120.0  # far more than needed: machines that run tests are sometimes very busy


class Process(NamedTuple):
    """One that has connected."""

    name: str
    pid: int
    connection: socket.socket

    def await_gone(self) -> None:
        """Wait for its end."""
        assert self.connection.recv(1) == b"", f"{self.name} is alive and talks"


class Listener:
    """A port to which processes connect. They end with the test."""

    def __init__(self, test: unittest.TestCase) -> None:
        self._test = test
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(PATIENCE)
        test.addCleanup(self._socket.close)
        self.port = str(self._socket.getsockname()[1])

    def processes(self, count: int) -> List[Process]:
        """The next ones that connect."""
        found = []
        for _ in range(count):
            connection, _ = self._socket.accept()
            self._test.addCleanup(connection.close)
            connection.settimeout(PATIENCE)
            line = b""
            while not line.endswith(b"\n"):
                data = connection.recv(100)
                assert data, "a process ended before it had said its name"
                line += data
            name, pid = line.decode().split()
            found.append(Process(name, int(pid), connection))
        return found

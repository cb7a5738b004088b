"""A web application whose answer is whole when somebody opens the gate, a
FIFO; at once for /now."""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Iterable


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Send the head of an answer, wait, and send the rest."""
    print(f"REQUEST {os.getpid()}", file=sys.stderr, flush=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"begun\n"
    if environ["PATH_INFO"] != "/now":
        with open("gate", "rb") as gate:
            gate.read()
    yield b"end\n"

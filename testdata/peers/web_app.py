"""A web application whose requests never end: each says on standard error that
it has begun, and waits."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, Callable, Iterable


def app(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Send the head of an answer, then nothing more."""
    print(f"REQUEST {os.getpid()}", file=sys.stderr, flush=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"begun\n"
    threading.Event().wait()

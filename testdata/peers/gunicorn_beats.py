"""Settings for gunicorn, which says READY=1 by itself and never beats: its arbiter does here."""

from __future__ import annotations

from typing import Any

import leash

workers = 4
bind = "127.0.0.1:0"
heartbeat = leash.Heartbeat()


def when_ready(_server: Any) -> None:
    """Beat from now on. The workers that are forked later do not."""
    heartbeat.start()


def on_exit(_server: Any) -> None:
    """Silence is no hang from here on."""
    heartbeat.stopping()

"""The parent of the demo: a stand-in for your server. It starts the workers.

With the path of a watchdog as its argument, workers 1 to 4 are started by
"watchdog run", and workers 5 to 8 get a "watchdog guard" beside them.
"""

from __future__ import annotations

import os
import secrets
import string
import subprocess
import sys
from pathlib import Path

from plan import GRACE, UNDER_RUN, WORKERS, Member
from report import announce, live_until_the_demo_ends

WORKER = str(Path(__file__).with_name("worker.py"))
FLAGS = ["--grace", GRACE, "--log-format", "json"]


def worker_command(number: int) -> list[str]:
    return [sys.executable, "-S", WORKER, str(number)]


def start_under_run(watchdog: str, number: int) -> None:
    """The watchdog starts the worker."""
    command = [watchdog, "run", "--worker-id", f"worker-{number}", *FLAGS, "--"]
    process = subprocess.Popen(command + worker_command(number))
    announce(Member("watchdog", number), process.pid)


def start_beside_guard(watchdog: str, number: int, run_id: str) -> None:
    """The parent starts the worker itself, and a watchdog beside it.

    The two variables let the watchdog find a daemon of the worker again.
    """
    worker_id = f"worker-{number}"
    env = {**os.environ, "LEASH_RUN_ID": run_id, "LEASH_WORKER_ID": worker_id}
    worker = subprocess.Popen(worker_command(number), env=env)
    command = [watchdog, "guard", "--worker-pid", str(worker.pid)]
    names = ["--worker-id", worker_id, "--run-id", run_id]
    process = subprocess.Popen(command + names + FLAGS)
    announce(Member("watchdog", number), process.pid)


def main() -> None:
    watchdog = sys.argv[1] if len(sys.argv) > 1 else None
    alphabet = string.digits + string.ascii_lowercase
    run_id = "".join(secrets.choice(alphabet) for _ in range(7))
    for number in WORKERS:
        if watchdog is None:
            subprocess.Popen(worker_command(number))
        elif number in UNDER_RUN:
            start_under_run(watchdog, number)
        else:
            start_beside_guard(watchdog, number, run_id)
    live_until_the_demo_ends()


if __name__ == "__main__":
    main()

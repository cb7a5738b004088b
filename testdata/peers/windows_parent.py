"""A parent for the tests on Windows: windows_parent.py WATCHDOG WORKER_SCRIPT JSON...

It starts a worker for each of the last: {"way", "id", "args", "env", "flags",
"console"}. The way is "run", "guard" (the watchdog beside a worker that runs
already; flags are its flags), "bat" (the same, WATCHDOG being the batch file
with its own way to be called) or "none" (no watchdog at all).
"""

import json
import os
import subprocess
import sys
import time

watchdog, script = sys.argv[1:3]
STREAMS = {"stdin": subprocess.DEVNULL, "stdout": sys.stdout, "stderr": sys.stderr}


def start(way, id, args, env=None, flags=None, console=False):
    command = [sys.executable, "-u", script, *args]
    flags = flags or []
    if way == "run":
        return subprocess.Popen([watchdog, "run", "--worker-id", id, *flags, "--", *command], **STREAMS)
    worker = subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        creationflags=subprocess.CREATE_NO_WINDOW if console else 0,  # it gets one of its own
        **STREAMS,
    )
    if way == "none":
        return None
    call = [watchdog, "guard", "--worker-pid", str(worker.pid), *flags]
    if way == "bat":
        call = ["cmd", "/c", watchdog, str(os.getpid()), str(worker.pid), id]
    return subprocess.Popen(call, **STREAMS)


for text in sys.argv[3:]:
    spec = json.loads(text)
    dog = start(**spec)
    if dog:
        os.write(1, f"pid {spec['id']} watchdog {dog.pid}\n".encode())
while True:
    time.sleep(3600)

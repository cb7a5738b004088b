# Run it with: python3 run.py
import os
from subprocess import PIPE, Popen

parent = ["--parent-fd", "0", "--parent-pid", str(os.getpid())]
command = ["watchdog", "run", *parent, "--", "python3", "worker.py"]
with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as worker:
    for line in worker.stdout:
        print(line, end="", flush=True)

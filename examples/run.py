# Run it with: python3 run.py
import subprocess

command = ["watchdog", "run", "--", "python3", "worker.py"]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
    for line in worker.stdout:
        print(line, end="", flush=True)

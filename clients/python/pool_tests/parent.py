"""A parent to be killed: it starts as many trees as it is told, and stays."""

import sys
import threading

import leash

script, port, count = sys.argv[1:]
pool = leash.Pool()
workers = [pool.run([sys.executable, script, port]) for _ in range(int(count))]
print("STARTED", pool.pid, *(worker.pid for worker in workers), flush=True)
threading.Event().wait()

# Run it with: python3 first.py
import pathlib

import leash

with leash.Pool() as pool:
    worker = pool.run(["python3", "worker.py"], cwd=pathlib.Path(__file__).parent.resolve())
    print("started", worker.pid)
    print("it says", worker.stdout.read(timeout=60))
    print("ended:", worker.stop().cause)

"""spawn.py COUNT PROGRAM: starts that many, prints how many microseconds that took, and ends them."""
import subprocess
import sys
import time

count, program = int(sys.argv[1]), sys.argv[2]
start = time.monotonic()
children = [subprocess.Popen([program, "1000000"]) for _ in range(count)]
spent = time.monotonic() - start
for c in children:
    c.kill()
for c in children:
    c.wait()
print(int(spent * 1e6))

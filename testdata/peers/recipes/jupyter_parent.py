"""Starts a kernel, interrupts it once, and shuts it down the hard way when a
line comes on standard input."""

import sys
from queue import Empty

from jupyter_client.manager import start_new_kernel

FAMILY = """
import os, subprocess
child = subprocess.Popen(["sleep", "1000000"], start_new_session=True, env={})
print("FAMILY", os.getpid(), child.pid)
"""

WAIT = """
import time
try:
    print("WAITING", flush=True)
    time.sleep(1000000)
except KeyboardInterrupt:
    print("INTERRUPTED")
"""


def main() -> None:
    """Play the scene."""
    manager, client = start_new_kernel(kernel_name="leash", startup_timeout=170)

    def run(code: str) -> None:
        request = client.execute(code)
        while True:
            try:
                message = client.get_iopub_msg(timeout=170)
            except Empty:
                sys.exit("the kernel says nothing")
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "stream":
                print(message["content"]["text"], end="", flush=True)
                if "WAITING" in message["content"]["text"]:
                    manager.interrupt_kernel()
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return

    run(FAMILY)
    run(WAIT)
    print("READY", flush=True)
    sys.stdin.readline()
    manager.shutdown_kernel(now=True)
    print("DOWN", flush=True)
    sys.stdin.readline()


main()

#!/usr/bin/python3
"""Somebody who knows the socket of a worker's watchdog and is no part of that worker: it says what it
is given (\\n stands for a new line), over and over, and prints "SAID" each time."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time


def main() -> None:
    """Talk until somebody ends this."""
    name, message = os.environ["NOTIFY_SOCKET"], sys.argv[1].replace("\\n", "\n").encode()
    address = "\0" + name[1:] if name[0] == "@" else name
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            with contextlib.suppress(ConnectionRefusedError):  # the watchdog has ended
                sock.connect(address)
                sock.send(message)
                print("SAID\n", end="", flush=True)
        time.sleep(0.05)


if __name__ == "__main__":
    main()

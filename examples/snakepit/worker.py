"""Stands for Snakepit's grpc_server.py: a port, GRPC_READY, beats, and a child of its own."""

import os
import socket
import subprocess
import time

listener = socket.create_server(("127.0.0.1", 0))
subprocess.Popen(["sleep", "1000000"], start_new_session=True)
beats, to = os.environ.get("NOTIFY_SOCKET", ""), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = "\0" + beats[1:] if beats.startswith("@") else beats
to.sendto(b"READY=1", address)
print(f"GRPC_READY:{listener.getsockname()[1]}", flush=True)
while True:
    to.sendto(b"WATCHDOG=1", address)
    time.sleep(int(os.environ["WATCHDOG_USEC"]) / 3e6)

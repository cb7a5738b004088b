"""A worker and a daemon that it starts, which is deaf to SIGTERM. Each holds a connection to the
test: the end of the connection is the end of the process, and the end of the test ends both."""

import os
import signal
import socket
import subprocess
import sys

port, name = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "worker"
if name == "worker":
    subprocess.Popen([sys.executable, __file__, port, "daemon"], start_new_session=True, env={})
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with socket.create_connection(("127.0.0.1", int(port))) as connection:
    connection.sendall(f"{name} {os.getpid()}\n".encode())
    connection.recv(1)

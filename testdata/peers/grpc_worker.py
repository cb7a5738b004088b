#!/usr/bin/python3
"""A worker as people write them: a gRPC server, perhaps with children.

It prints one line "PID role pid" for each process that belongs to it, then
"GRPC_READY:port", and serves until a signal ends it. A closed standard input
or output does not end it: that is the watchdog's job.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Callable, NoReturn, Optional


def rest() -> None:
    """Do nothing until a signal ends the process."""
    while True:
        signal.pause()


def start_subprocess() -> int:
    """Start another program. Its name says what it is to whoever finds it."""
    return subprocess.Popen(["sleep", "1000000"], stdin=subprocess.DEVNULL).pid


def start_multiprocessing() -> int:
    """Start a second interpreter, and with it Python's resource tracker."""
    child = multiprocessing.get_context("spawn").Process(target=rest)
    child.start()
    assert child.pid is not None
    return child.pid


def start_daemon() -> int:
    """Double fork into a session of its own, as daemons do."""
    reader, writer = os.pipe()
    first = os.fork()
    if first == 0:
        os.setsid()
        if os.fork() == 0:
            become_daemon(writer)
        os._exit(0)
    os.close(writer)
    os.waitpid(first, 0)
    with os.fdopen(reader) as pipe:
        return int(pipe.readline())


def become_daemon(writer: int) -> NoReturn:
    """Tell the PID and let go of everything that was inherited."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.write(writer, f"{os.getpid()}\n".encode())
    os.close(writer)
    while True:
        signal.pause()


CHILDREN: dict[str, Callable[[], int]] = {
    "subprocess": start_subprocess,
    "multiprocessing": start_multiprocessing,
    "daemon": start_daemon,
}


def clean_up_on_term(path: str, status: int) -> None:
    """On SIGTERM leave a line in a file and exit with the status."""

    def handler(number: int, _frame: Optional[FrameType]) -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{signal.Signals(number).name}\n")
        os._exit(status)

    signal.signal(signal.SIGTERM, handler)


def say(text: str) -> None:
    """Print one whole line at once."""
    print(f"{text}\n", end="", flush=True)


def serve(host: str, port: int) -> None:
    """Answer each call of /leash.Peer/Echo with the bytes that came."""
    # Imported late: the children above need no gRPC, and forking is safe.
    import grpc  # pylint: disable=import-outside-toplevel

    server = grpc.server(ThreadPoolExecutor(max_workers=2), options=[("grpc.so_reuseport", 0)])
    echo = grpc.unary_unary_rpc_method_handler(lambda request, _context: request)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("leash.Peer", {"Echo": echo}),))
    port = server.add_insecure_port(f"{host}:{port}")
    server.start()
    say(f"GRPC_READY:{port}")
    rest()


def main() -> None:
    """Read the arguments, start the children, serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--run-id", default="")
    parser.add_argument("--worker-id", default="")
    parser.add_argument("--child", action="append", choices=sorted(CHILDREN), default=[])
    parser.add_argument("--deaf", action="store_true", help="ignore SIGTERM, children too")
    parser.add_argument("--on-term", metavar="FILE", help="write a line there on SIGTERM")
    parser.add_argument("--status", type=int, default=0, help="exit status after SIGTERM")
    args = parser.parse_args()

    if args.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(f"PID worker {os.getpid()}")
    for kind in args.child:
        say(f"PID {kind} {CHILDREN[kind]()}")
    if args.on_term:
        clean_up_on_term(args.on_term, args.status)
    serve("127.0.0.1", args.port)


if __name__ == "__main__":
    main()

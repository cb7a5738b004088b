#!/usr/bin/python3
"""A worker in the style of Snakepit's grpc_server.py: an asyncio gRPC server that is told
its port, its run and its parent, prints GRPC_READY:port, and uses the client.

It needs clients/python in PYTHONPATH. For the tests it can also hang.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time

import grpc

import leash


def say(text: str) -> None:
    """Print one whole line at once."""
    print(f"{text}\n", end="", flush=True)


async def echo(request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
    """Answer with the bytes that came."""
    return request


async def hang(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
    """Block the loop, as a call of a library that is not async does."""
    say("HANGING")
    while True:
        time.sleep(1000000)


async def serve(port: int, deadline: float) -> None:
    """Serve until SIGTERM; the calls in progress then have until the deadline."""
    heartbeat = leash.Heartbeat()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    methods = {name: grpc.unary_unary_rpc_method_handler(call) for name, call in {"Echo": echo, "Hang": hang}.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("leash.Peer", methods),))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    leash.drain_on_term(server, deadline, heartbeat)
    heartbeat.start(asyncio.get_running_loop())  # a blocked loop does not beat
    heartbeat.ready(f"serving on port {port}")
    say(f"GRPC_READY:{port}")
    await server.wait_for_termination()
    say("DRAINED")


def main() -> None:
    """Read the arguments, guard, serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--run-id", "--snakepit-run-id", default="")
    parser.add_argument("--parent-pid", type=int, help="whose death ends it; default: who started it")
    parser.add_argument("--grace", type=float, default=3.0, help="seconds from SIGTERM to the end")
    parser.add_argument("--own-group", action="store_true", help="lead a process group")
    parser.add_argument("--no-guard", action="store_true", help="leave it all to the watchdog")
    parser.add_argument("--deaf", action="store_true", help="ignore SIGTERM, whoever handles it")
    args = parser.parse_args()

    if not args.no_guard:
        leash.guard(args.parent_pid, grace=args.grace)
    if args.own_group:
        leash.own_group()
    say(f"PID worker {os.getpid()}")
    if args.deaf:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    with leash.quiet_output():
        asyncio.run(serve(args.port, args.grace * 0.8))


if __name__ == "__main__":
    main()

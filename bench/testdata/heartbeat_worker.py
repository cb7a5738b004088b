"""A worker with or without the client: it sleeps, or serves gRPC calls.

    heartbeat_worker.py plain|timer|progress|loop  none|sync|aio

It ends at the end of its standard input.
"""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import leash

MODE, SERVER = sys.argv[1:]
# Without the client it is a heartbeat that never begins: the same code, the same calls.
HEARTBEAT = leash.Heartbeat(progress_within=30 if MODE == "progress" else None)
PLAIN = MODE == "plain"


def begin(loop=None) -> None:
    """What a worker does once it serves."""
    if not PLAIN:
        HEARTBEAT.start(loop if MODE == "loop" else None)
        HEARTBEAT.ready()


def handlers(grpc, call):
    """A server's methods: the one that answers with the bytes that came."""
    method = grpc.unary_unary_rpc_method_handler(call)
    return (grpc.method_handlers_generic_handler("leash.Peer", {"Echo": method}),)


def say(port: int) -> None:
    """The PID and the port, in one line."""
    print(f"worker {os.getpid()} {port}\n", end="", flush=True)


def echo(request, _context):
    """One request of a synchronous server."""
    if not PLAIN:
        HEARTBEAT.progress()
    return request


async def echo_later(request, _context):
    """One request of an asyncio server."""
    if not PLAIN:
        HEARTBEAT.progress()
    return request


def serve_sync() -> None:
    import grpc

    server = grpc.server(ThreadPoolExecutor(max_workers=2), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(handlers(grpc, echo))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    begin()
    say(port)
    sys.stdin.read()
    server.stop(0).wait()


async def serve_aio() -> None:
    import grpc

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(handlers(grpc, echo_later))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    begin(asyncio.get_running_loop())
    say(port)
    await until_eof()
    await server.stop(0)


async def until_eof() -> None:
    """Wait without a thread, so that nothing but the loop ever wakes up."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)
    await ended.wait()


async def rest_in_loop() -> None:
    begin(asyncio.get_running_loop())
    say(0)
    await until_eof()


if SERVER == "sync":
    serve_sync()
elif SERVER == "aio":
    asyncio.run(serve_aio())
elif MODE == "loop":
    asyncio.run(rest_in_loop())
else:
    begin()
    say(0)
    sys.stdin.read()

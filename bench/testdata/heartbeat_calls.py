"""Small calls to several gRPC servers by turns, in an order drawn anew each round.

    heartbeat_calls.py ROUNDS CALLS PORT...

For each round and server one line: its place among the arguments, and the median, the mean, the
99th percentile and the longest of its calls, in nanoseconds.
"""

import random
import sys
import time

import grpc

ROUNDS, CALLS = int(sys.argv[1]), int(sys.argv[2])
PAYLOAD = bytes(range(64))


def connect(port: str):
    """A channel of its own for each server, and its method."""
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
    grpc.channel_ready_future(channel).result(timeout=60)
    return channel.unary_unary("/leash.Peer/Echo")


def measure(echo) -> list:
    """How long each call takes."""
    times = []
    for _ in range(CALLS):
        start = time.perf_counter_ns()
        echo(PAYLOAD)
        times.append(time.perf_counter_ns() - start)
    return sorted(times)


servers = list(enumerate(map(connect, sys.argv[3:])))
for _, method in servers:
    measure(method)  # whatever is done once
for _ in range(ROUNDS):
    for place, method in random.sample(servers, len(servers)):
        found = measure(method)
        print(place, found[CALLS // 2], sum(found) // CALLS, found[CALLS * 99 // 100], found[-1])

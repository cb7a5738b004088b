"""A scheduler of dask. It starts workers by the command that is given, prints
their processes, and ends them by SIGTERM when a line comes on standard input."""

import os
import subprocess
import sys

from distributed import Client, LocalCluster


def main() -> None:
    """Play the scene."""
    with LocalCluster(n_workers=0, dashboard_address=None, protocol="tcp") as cluster:
        env = dict(os.environ, SCHEDULER=cluster.scheduler_address)
        with subprocess.Popen(["sh", "-c", "exec " + sys.argv[1]], env=env) as workers:
            with Client(cluster, timeout=170) as client:
                client.wait_for_workers(2, timeout=170)
                print("FAMILY", *client.run(os.getpid).values(), flush=True)
                sys.stdin.readline()
                workers.terminate()
                print("STATUS", workers.wait(), flush=True)


if __name__ == "__main__":
    main()

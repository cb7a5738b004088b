# Run it with: python3 hang.py
import asyncio
import pathlib

import leash


async def main():
    here = pathlib.Path(__file__).parent.resolve()
    async with leash.AsyncPool(heartbeat="notify", heartbeat_interval=0.2, heartbeat_timeout=1) as pool:
        worker = await pool.run(["python3", "worker.py", "hang"], cwd=here)
        await worker.ready(timeout=60)
        print("ready")
        async for record in worker.events:
            if record["event"] == "heartbeat.timeout":
                print("silent for", record["silence_ms"], "ms")
        print("ended:", worker.exit.cause)


asyncio.run(main())

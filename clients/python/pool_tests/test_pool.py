"""The six scenes of every client, and the pool's own death, with the real watchdog."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import unittest
from typing import Any, Dict, List

import leash
from processes import CLIENT, PATIENCE, TREE, WORKER, Listener

BEATING: Dict[str, Any] = {"heartbeat": "notify", "heartbeat_interval": 0.3, "heartbeat_timeout": 60, "max_missed": 200}
HANGING: Dict[str, Any] = {"heartbeat": "notify", "heartbeat_interval": 0.1, "heartbeat_timeout": 0.5}
FOREVER = ["sleep", "1000000"]


class Scenes(unittest.TestCase):
    """From threads."""

    def pool(self, **options: Any) -> leash.Pool:
        pool = leash.Pool(**{"timeout": PATIENCE, "start_timeout": PATIENCE, **options})
        self.addCleanup(self.close, pool)
        return pool

    @staticmethod
    def close(pool: leash.Pool) -> None:
        try:
            pool.close(grace=0.2, timeout=PATIENCE)
        except leash.PoolDied:
            pass

    def test_run(self) -> None:
        pool = self.pool()
        worker = pool.run(["sh", "-c", "exit 7"], worker_id="seven")
        self.assertEqual(worker.id, "seven")
        self.assertGreater(worker.pid, 0)
        ended = worker.wait(PATIENCE)
        self.assertEqual((ended.cause, ended.exit_code, ended.outcome), ("exited", 7, "worker_exited"))
        self.assertEqual(ended.survivors, 0)
        self.assertEqual(pool.workers, [])
        self.assertRegex(pool.run_id or "", "^[0-9a-z]{7}$")

    def test_run_with_environment_and_folder(self) -> None:
        command = ["sh", "-c", 'echo "$GREETING ${HOME-none} $PWD"']
        worker = self.pool().run(command, env={"GREETING": "hello", "HOME": None}, cwd="/")
        self.assertEqual(list(worker.stdout), ["hello none /"])

    def test_ready(self) -> None:
        with self.pool().run([sys.executable, WORKER], **BEATING) as worker:
            worker.ready(PATIENCE)
        assert worker.exit is not None
        self.assertEqual(worker.exit.cause, "asked")

    def test_ready_of_one_that_ends_before(self) -> None:
        worker = self.pool().run(["sh", "-c", "exit 3"], **BEATING)
        with self.assertRaises(leash.WorkerEnded) as caught:
            worker.ready(PATIENCE)
        self.assertEqual(caught.exception.exit.exit_code, 3)

    def test_output(self) -> None:
        worker = self.pool().run(["sh", "-c", "seq 20000; echo wrong >&2; printf 'the last'"])
        lines = list(worker.stdout)
        self.assertEqual(len(lines), 20001)
        self.assertEqual(lines[:2] + lines[-1:], ["1", "2", "the last"])
        self.assertEqual(list(worker.stderr), ["wrong"])
        self.assertEqual(worker.stdout.lost, 0)
        self.assertIsNone(worker.stdout.read(1))

    def test_output_that_is_not_read(self) -> None:
        worker = self.pool(keep=1000).run(["seq", "20000"])
        worker.wait(PATIENCE)
        lines = list(worker.stdout)
        self.assertEqual(lines[-1], "20000")
        self.assertEqual(len(lines) + worker.stdout.lost, 20000)
        self.assertGreater(worker.stdout.lost, 10000)

    def test_output_has_a_deadline(self) -> None:
        worker = self.pool().run(["cat", "/dev/zero"], stdout="null")
        with self.assertRaises(leash.DeadlineExceeded):
            worker.stdout.read(0.01)
        with self.assertRaises(TimeoutError):
            worker.wait(0.01)

    def test_hang(self) -> None:
        worker = self.pool().run([sys.executable, WORKER, "hang"], **HANGING)
        ended = worker.wait(PATIENCE)
        self.assertEqual((ended.cause, ended.outcome), ("hung", "heartbeat_timeout"))
        told = [record for record in worker.events if record["event"] == "heartbeat.timeout"]
        self.assertEqual(len(told), 1)
        self.assertGreater(told[0]["silence_ms"], 0)

    def test_stop(self) -> None:
        listener = Listener(self)
        worker = self.pool().run([sys.executable, TREE, listener.port])
        tree = listener.processes(2)
        ended = worker.stop(grace=0.2)
        self.assertEqual((ended.cause, ended.survivors), ("asked", 0))
        for process in tree:
            process.await_gone()
        self.assertEqual(worker.stop(), ended)

    def test_stop_all(self) -> None:
        pool = self.pool()
        for _ in range(2):
            pool.run(FOREVER)
        self.assertEqual(len(pool.list()), 2)
        self.assertEqual(pool.stop_all(grace=1)["survivors"], 0)
        self.assertEqual(pool.list(), [])
        pool.run(["true"]).wait(PATIENCE)

    def test_sigkill_of_the_parent(self) -> None:
        listener = Listener(self)
        command = [sys.executable, str(CLIENT / "pool_tests" / "parent.py"), TREE, listener.port, "3"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
            self.addCleanup(parent.kill)
            assert parent.stdout is not None
            self.assertRegex(parent.stdout.readline(), r"^STARTED \d+ \d+ \d+ \d+$")
            processes = listener.processes(6)
            parent.kill()
            for process in processes:
                process.await_gone()

    def test_sigkill_of_the_pool(self) -> None:
        listener = Listener(self)
        pool = self.pool()
        workers = [pool.run([sys.executable, TREE, listener.port]) for _ in range(2)]
        processes = listener.processes(4)
        raised: List[BaseException] = []

        def read() -> None:
            try:
                list(workers[0].stdout)
            except leash.PoolDied as error:
                raised.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        assert pool.pid is not None
        os.kill(pool.pid, signal.SIGKILL)
        for worker in workers:
            self.assertRaises(leash.PoolDied, worker.wait, PATIENCE)
            self.assertRaises(leash.PoolDied, worker.ready, PATIENCE)
        reader.join(PATIENCE)
        self.assertEqual(len(raised), 1)
        self.assertRaises(leash.PoolDied, pool.run, ["true"])
        for process in processes:
            process.await_gone()
        with pool.renew() as again:
            self.assertEqual(again.run(["true"]).wait(PATIENCE).exit_code, 0)

    def test_what_the_pool_refuses(self) -> None:
        pool = self.pool()
        with self.assertRaises(leash.LeashError) as caught:
            pool.run(["/no/such/program"])
        self.assertEqual((caught.exception.code, caught.exception.data["status"]), (-32003, 127))
        pool.run(FOREVER, worker_id="one")
        for code, call in (
            (-32002, lambda: pool.run(["true"], worker_id="one")),
            (-32602, lambda: pool.run(["true"], worker_id="no slash/")),
            (-32602, lambda: pool.run(["true"], gracee="1s")),
        ):
            with self.assertRaises(leash.LeashError) as caught:
                call()
            self.assertEqual(caught.exception.code, code, caught.exception)
        self.assertIn("gracee", str(caught.exception))
        self.assertRaises(ValueError, pool.run, [])
        self.assertRaises(ValueError, pool.run, "true")
        self.assertRaises(ValueError, pool.run, ["echo", "x" * (1 << 20)])
        self.assertEqual([worker.id for worker in pool.workers], ["one"])

    def test_deadline_of_a_start(self) -> None:
        ended = threading.Event()
        pool = self.pool(on_event=lambda record: record["event"] == "watchdog.stopped" and ended.set()).start()
        assert pool.pid is not None
        os.kill(pool.pid, signal.SIGSTOP)
        try:
            self.assertRaises(leash.DeadlineExceeded, pool.run, FOREVER, timeout=0.05)
        finally:
            os.kill(pool.pid, signal.SIGCONT)
        self.assertTrue(ended.wait(PATIENCE))
        self.assertEqual(pool.list(), [])

    def test_a_watchdog_that_is_none(self) -> None:
        with self.assertRaisesRegex(leash.LeashError, "argument watchdog names /no/such/watchdog"):
            self.pool(watchdog="/no/such/watchdog").start()
        with self.assertRaisesRegex(leash.LeashError, "LEASH_WATCHDOG names"):
            self.pool(env={"LEASH_WATCHDOG": "/no/such/watchdog"}).start()
        self.assertRaises(leash.PoolDied, self.pool(watchdog="/bin/echo").start)

    def test_reaper_first(self) -> None:
        self.pool(reaper=True).start()
        with self.assertRaisesRegex(leash.LeashError, "argument reaper"):
            self.pool(reaper="/no/such/reaper").start()

    def test_guard_and_release(self) -> None:
        with subprocess.Popen(FOREVER, start_new_session=True) as sleeper:
            self.addCleanup(sleeper.kill)
            pool = self.pool()
            guarded = pool.guard(sleeper.pid, worker_id="guarded")
            self.assertEqual(guarded.pid, sleeper.pid)
            guarded.release()
            self.assertEqual(guarded.wait(PATIENCE).outcome, "released")
            self.assertIsNone(sleeper.poll())
            pool.guard(sleeper.pid).stop()
            self.assertEqual(sleeper.wait(PATIENCE), -signal.SIGTERM)

    def test_restarts(self) -> None:
        worker = self.pool().run(["sh", "-c", "exit 1"], restart="on-failure", max_restarts=1)
        self.assertEqual(worker.wait(PATIENCE).exit_code, 1)
        self.assertEqual(worker.restarts, 1)

    def test_many_threads(self) -> None:
        pool = self.pool()
        codes: List[int] = []

        def one(number: int) -> None:
            codes.append(pool.run(["sh", "-c", f"exit {number}"]).wait(PATIENCE).exit_code or 0)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        self.assertEqual(sorted(codes), list(range(10)))

    def test_forked_child_leaves_the_pool_alone(self) -> None:
        pool = self.pool()
        worker = pool.run(FOREVER)
        queue = multiprocessing.get_context("fork").SimpleQueue()

        def child() -> None:
            try:
                pool.run(["true"])
            except leash.PoolDied as error:
                queue.put(str(error))

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(PATIENCE)
        self.assertIn("belongs to the process that started it", queue.get())
        self.assertIsNone(worker.exit)
        self.assertEqual(worker.stop().cause, "asked")


class AsyncScenes(unittest.TestCase):
    """From asyncio."""

    @staticmethod
    def pool(**options: Any) -> leash.AsyncPool:
        return leash.AsyncPool(**{"timeout": PATIENCE, "start_timeout": PATIENCE, "grace": 0.5, **options})

    def test_run_ready_output_stop(self) -> None:
        async def scene() -> None:
            async with self.pool() as pool:
                worker = await pool.run([sys.executable, WORKER], **BEATING)
                await worker.ready(PATIENCE)
                self.assertEqual(await worker.stdout.read(PATIENCE), "READY")
                self.assertEqual([entry["state"] for entry in await pool.list()], ["ready"])
                ended = await worker.stop()
                self.assertEqual((ended.cause, ended.survivors), ("asked", 0))
                self.assertIsNone(await worker.stdout.read(1))

        asyncio.run(scene())

    def test_lines(self) -> None:
        async def scene() -> None:
            async with self.pool() as pool, await pool.run(["seq", "1000"]) as worker:
                self.assertEqual([line async for line in worker.stdout], [str(n) for n in range(1, 1001)])
                self.assertEqual((await worker.wait(PATIENCE)).exit_code, 0)

        asyncio.run(scene())

    def test_hang(self) -> None:
        async def scene() -> None:
            async with self.pool() as pool:
                worker = await pool.run([sys.executable, WORKER, "hang"], **HANGING)
                self.assertEqual((await worker.wait(PATIENCE)).cause, "hung")

        asyncio.run(scene())

    def test_cancelled_start_leaves_nothing(self) -> None:
        async def scene() -> None:
            ended = threading.Event()
            on_event = lambda record: record["event"] == "watchdog.stopped" and ended.set()  # noqa: E731
            async with self.pool(on_event=on_event) as pool:
                task = asyncio.get_running_loop().create_task(pool.run(FOREVER))
                while not pool.workers:
                    await asyncio.sleep(0)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                self.assertTrue(await asyncio.get_running_loop().run_in_executor(None, ended.wait, PATIENCE))
                self.assertEqual(await pool.list(), [])

        asyncio.run(scene())

    def test_cancelled_read_loses_no_line(self) -> None:
        async def scene() -> None:
            async with self.pool() as pool:
                code = "import signal as s; s.signal(s.SIGUSR1, lambda *_: print('line', flush=True)); print('on', flush=True)"
                worker = await pool.run([sys.executable, "-c", f"{code}\nwhile True: s.pause()"])
                self.assertEqual(await worker.stdout.read(PATIENCE), "on")
                with self.assertRaises(leash.DeadlineExceeded):
                    await worker.stdout.read(0.01)
                await worker.send_signal("USR1")
                self.assertEqual(await worker.stdout.read(PATIENCE), "line")

        asyncio.run(scene())

    def test_sigkill_of_the_pool(self) -> None:
        async def scene() -> None:
            pool = await self.pool().start()
            worker = await pool.run(FOREVER)
            assert pool.pid is not None
            os.kill(pool.pid, signal.SIGKILL)
            with self.assertRaises(leash.PoolDied):
                await worker.wait(PATIENCE)
            await pool.close()
            async with pool.renew() as again:
                self.assertEqual((await (await again.run(["true"])).wait(PATIENCE)).exit_code, 0)

        asyncio.run(scene())


if __name__ == "__main__":
    unittest.main()

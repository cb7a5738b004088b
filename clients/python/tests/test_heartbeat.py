"""leash.Heartbeat: what arrives at the other end of NOTIFY_SOCKET."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import threading
import time
import unittest
from typing import Any, Callable, List, Tuple
from unittest import mock

import leash
from scene import FOREVER, PATIENCE, PRELUDE, Receiver, Scene, environment, receiver


def heartbeat(there: Receiver, usec: str = "30000", pid: str = "", **options: Any) -> leash.Heartbeat:
    """A heartbeat in this process, as if the watchdog had started it."""
    env = {"NOTIFY_SOCKET": there.name, "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    with mock.patch.dict(os.environ, env):
        return leash.Heartbeat(**options)


class Messages(unittest.TestCase):
    """The protocol."""

    def test_every_message(self) -> None:
        for abstract in (False, True):
            with receiver(abstract) as there:
                one = heartbeat(there, usec="")
                self.assertTrue(one.enabled)
                for send, want in (
                    (one.ready, "READY=1"),
                    (lambda: one.ready("loaded"), "READY=1\nSTATUS=loaded"),
                    (lambda: one.status("a\nREADY=1\r\nb"), "STATUS=a READY=1 b"),
                    (lambda: one.status("\u00e4\ud800"), "STATUS=\u00e4?"),
                    (lambda: one.status("x" * 9999), "STATUS=" + "x" * 1000),
                    (lambda: one.extend(20), "EXTEND_TIMEOUT_USEC=20000000"),
                    (lambda: one.extend(0.1), "EXTEND_TIMEOUT_USEC=100000"),
                    (one.beat, "WATCHDOG=1"),
                    (one.stopping, "STOPPING=1"),
                ):
                    self.assertTrue(send())
                    self.assertEqual(there.receive(), want)
                self.assertEqual(there.sender, os.getpid())
                before = time.monotonic()
                self.assertTrue(one.reloading())
                first, _, second = there.receive().partition("\nMONOTONIC_USEC=")
                self.assertEqual(first, "RELOADING=1")
                self.assertLessEqual(int(before * 1e6), int(second))

    def test_as_systemd_notify_does(self) -> None:
        tool = shutil.which("systemd-notify")
        if tool is None:
            self.skipTest("there is no systemd-notify")
        with receiver() as there:
            env = environment(NOTIFY_SOCKET=there.name)
            subprocess.run([tool, "--no-block", "--ready", "--status=loaded"], env=env, check=True)
            theirs = there.receive()
            heartbeat(there).ready("loaded")
            self.assertEqual(sorted(theirs.splitlines()), sorted(there.receive().splitlines()))

    def test_barrier(self) -> None:
        with receiver() as there:
            one = heartbeat(there)

            def serve() -> None:
                self.assertEqual(there.receive(), "BARRIER=1")
                there.close()

            server = threading.Thread(target=serve)
            server.start()
            self.assertTrue(one.barrier(PATIENCE))
            server.join()
        with receiver() as there:
            before = len(os.listdir("/proc/self/fd"))
            self.assertFalse(heartbeat(there).barrier(0.01))
            self.assertEqual(len(os.listdir("/proc/self/fd")), before)
            with mock.patch("os.pipe", side_effect=OSError), self.assertLogs("leash"):
                self.assertFalse(heartbeat(there).barrier())

    def test_without_a_watchdog_all_is_quiet(self) -> None:
        with mock.patch.dict(os.environ), mock.patch("threading.Thread.start") as start:
            os.environ.pop("NOTIFY_SOCKET", None)
            os.environ["WATCHDOG_USEC"] = "1000"
            one = leash.Heartbeat(progress_within=1)
            one.progress()
            calls = (one.ready, one.stopping, one.reloading, one.barrier, one.beat, lambda: one.status("x"), lambda: one.extend(1))
            self.assertEqual([call() for call in calls], [False] * len(calls))
            one.start()
            self.assertEqual((one.enabled, one.interval, start.call_count), (False, 0.0, 0))

    def test_names_that_are_no_socket(self) -> None:
        for name in ("relative", "@", "vsock:2:1", "/"):
            with mock.patch.dict(os.environ, {"NOTIFY_SOCKET": name}), self.assertLogs("leash", "WARNING"):
                self.assertFalse(leash.Heartbeat().ready())
        with mock.patch.dict(os.environ, {"NOTIFY_SOCKET": "/" + "x" * 200}), self.assertLogs("leash", "WARNING"):
            self.assertFalse(leash.Heartbeat().ready())

    def test_no_process_listens_then_one_does(self) -> None:
        with receiver() as there:
            one = heartbeat(there, usec="")
            os.rename(there.name, there.name + "2")
            with self.assertLogs("leash", "WARNING") as logs:
                self.assertEqual([one.ready(), one.beat(), one.beat()], [False] * 3)
            self.assertEqual(len(logs.records), 1)
            os.rename(there.name + "2", there.name)
            self.assertTrue(one.ready())
            self.assertEqual(there.receive(), "READY=1")

    def test_a_full_socket_blocks_no_thread(self) -> None:
        with receiver() as there:
            one = heartbeat(there)
            with self.assertLogs("leash", "WARNING"):
                while one.beat():
                    pass
            there.waiting()
            self.assertTrue(one.beat())

    def test_wrong_arguments(self) -> None:
        one = leash.Heartbeat()
        cases: List[Tuple[str, Callable[[Any], object], List[object]]] = [
            ("text", one.status, [None, 1, b"x"]),
            ("status", one.ready, [1, b"x"]),
            ("seconds", one.extend, [None, "1", 0, -1, float("nan"), float("inf"), True]),
            ("timeout", one.barrier, [None, "1", -1, float("nan")]),
            ("progress_within", lambda v: leash.Heartbeat(progress_within=v), ["1", 0, -1, True, float("nan")]),
        ]
        for name, call, values in cases:
            for value in values:
                with self.assertRaisesRegex(ValueError, name, msg=repr(value)):
                    call(value)


class Beats(unittest.TestCase):
    """When they come, and when they do not."""

    def test_interval(self) -> None:
        with receiver() as there:
            self.assertEqual(heartbeat(there, usec="3000000").interval, 1.0)
            self.assertEqual(heartbeat(there, pid=str(os.getpid())).interval, 0.01)
            self.assertEqual(heartbeat(there, pid=str(os.getppid())).interval, 0.0)
            for usec in ("0", "-1", "1.5", "abc", " 1", "9" * 40):
                with self.assertLogs("leash", "WARNING"):
                    self.assertEqual(heartbeat(there, usec=usec).interval, 0.0)

    def test_thread(self) -> None:
        with receiver() as there:
            one = heartbeat(there, usec="3000")
            one.ready()
            one.start()
            self.assertEqual([there.receive() for _ in range(20)], ["READY=1"] + ["WATCHDOG=1"] * 19)
            while not one.stopping():  # beats have filled the socket meanwhile
                there.waiting()
            while there.receive() != "STOPPING=1":
                pass

    def test_progress(self) -> None:
        now = 100.0
        with receiver() as there:
            one = heartbeat(there, usec="", progress_within=5, clock=lambda: now)
            one.progress()
            for now, want in ((105.0, True), (105.1, False), (200.0, False)):
                with self.assertLogs("leash") if now == 105.1 else mock.MagicMock():
                    self.assertEqual(one.beat(), want)
            one.progress()
            self.assertTrue(one.beat())
            one.extend(20)
            one.progress()  # of another thread: does not take back what was asked for
            for now, want in ((220.0, True), (220.1, False)):
                self.assertEqual(one.beat(), want)
            beats = [m for m in there.waiting() if m == "WATCHDOG=1"]
            self.assertEqual(len(beats), 3)

    def test_loop(self) -> None:
        async def scene(there: Receiver) -> None:
            loop = asyncio.get_running_loop()
            one = heartbeat(there, usec="3000")
            one.start(loop)
            for _ in range(5):
                self.assertEqual(await loop.run_in_executor(None, there.receive), "WATCHDOG=1")
            one.stopping()

        with receiver() as there:
            asyncio.run(scene(there))

    def test_blocked_loop_does_not_beat(self) -> None:
        """A beat goes out only when the loop calls, and asks for the next call."""
        with receiver() as there:
            one, loop = heartbeat(there, usec="3000000"), mock.Mock()
            one._beat_in(loop)
            loop.call_later.assert_called_once_with(1.0, one._beat_in, loop)
            self.assertEqual(there.waiting(), ["WATCHDOG=1"])

    def test_closed_loop_is_logged(self) -> None:
        loop = asyncio.new_event_loop()
        loop.close()
        with receiver() as there, self.assertLogs("leash", "ERROR") as logs:
            heartbeat(there).start(loop)
            for thread in threading.enumerate():
                if thread.name == "leash-heartbeat" and not logs.records:
                    thread.join(PATIENCE)

    def test_no_thread_to_be_had(self) -> None:
        with receiver() as there, self.assertLogs("leash", "ERROR"):
            with mock.patch.object(threading.Thread, "start", side_effect=RuntimeError):
                self.assertTrue(heartbeat(there).ready())

    def test_forks_lose_and_add_nothing(self) -> None:
        with receiver() as there:
            one = heartbeat(there, usec="")
            for _ in range(20):
                self.assertTrue(one.beat())
                child = os.fork()
                if child == 0:
                    silent = not (one.beat() or one.ready() or one.barrier(0) or one.stopping())
                    os._exit(0 if silent else 1)
                self.assertEqual(os.waitpid(child, 0)[1], 0)
                self.assertEqual(there.waiting(), ["WATCHDOG=1"])

    def test_cheap(self) -> None:
        """0.1 % of a beat every 1.3 s is 1.3 ms; 1 ms is what a request may lose."""
        with receiver() as there:
            one = heartbeat(there, usec="4000000", progress_within=60)
            one.progress()
            gc.collect()
            for name, call, limit in (("beat", one.beat, 1e-3), ("progress", one.progress, 1e-4)):
                before = time.thread_time()
                for _ in range(200):
                    for _ in range(5):
                        call()
                    there.waiting()
                cost = (time.thread_time() - before) / 1000  # with the receiver's own
                print(f"{name}: {cost * 1e6:.1f} us")
                self.assertLess(cost, limit)


class InAWorker(Scene):
    """Whole processes."""

    def test_silence_without_progress(self) -> None:
        """The worker's clock stands, but for the moment in which the time for progress runs out."""
        code = """
class Told(logging.Handler):
    def emit(self, record): say("LOG", record.getMessage())
logging.getLogger("leash").addHandler(Told())
now, asked = 100.0, threading.Semaphore(0)
def clock():
    asked.release()
    return now
one = leash.Heartbeat(progress_within=5, clock=clock)
one.ready()
sys.stdin.readline()
now = 105.1
sys.stdin.readline()
asked = threading.Semaphore(0)
for _ in range(5): asked.acquire()  # each would be a beat
one.status("still silent")
one.progress()
"""
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        with receiver() as there:
            env = {"NOTIFY_SOCKET": there.name, "WATCHDOG_USEC": "3000"}
            self.start(sys.executable, "-c", PRELUDE + code + FOREVER, stdin=reader, **env)
            os.close(reader)
            self.assertEqual([there.receive() for _ in range(4)], ["READY=1"] + ["WATCHDOG=1"] * 3)
            os.write(writer, b"go on\n")
            self.output.line("LOG no progress")
            self.assertLessEqual(set(there.waiting()), {"WATCHDOG=1"})
            os.write(writer, b"go on\n")
            self.assertEqual(there.receive(), "STATUS=still silent")
            self.assertEqual(there.receive(), "WATCHDOG=1")

    def test_beats_while_the_main_thread_is_stuck_and_forks(self) -> None:
        code = "leash.guard()\none = leash.Heartbeat()\none.ready()\nwhile True:\n    if os.fork() == 0: os._exit(0)\n    os.wait()\n"
        with receiver() as there:
            env = {"NOTIFY_SOCKET": there.name, "WATCHDOG_USEC": "3000", "PYTHONWARNINGS": "ignore"}
            worker = self.start(sys.executable, "-c", PRELUDE + code, **env)
            for _ in range(50):
                self.assertIn(there.receive(), ("READY=1", "WATCHDOG=1"))
                self.assertEqual(there.sender, worker)


if __name__ == "__main__":
    unittest.main()

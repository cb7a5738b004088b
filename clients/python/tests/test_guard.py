"""leash.guard(): the worker ends when its parent does, and never before."""

from __future__ import annotations

import errno
import os
import pathlib
import signal
import sys
import threading
import time
import unittest
from unittest import mock

import leash
from scene import FOREVER, PRELUDE, Scene, alive

TERM_IGNORED = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
GUARD = "watched = leash.guard(grace=0.1, poll_interval=0.01)\n"
READY = "say('READY', *[p.backend for p in watched])\n"

# What the main thread does, and how the worker has to end.
STUCK = {
    "asleep": (FOREVER, -signal.SIGTERM),
    "asleep and deaf": (TERM_IGNORED + FOREVER, 143),
    "deadlocked, its handler returns": (
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "lock = threading.Lock(); lock.acquire(); lock.acquire()\n",
        143,
    ),
    "spinning": (TERM_IGNORED + "while True: pass\n", 143),
    "in C without the GIL": (TERM_IGNORED + "ctypes.CDLL(None).sleep(1000000)\n", 143),
    "holding the lock of the log": (
        TERM_IGNORED + "logging.basicConfig(); logging.root.handlers[0].acquire()\n" + FOREVER,
        143,
    ),
    "SIGTERM blocked": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n" + FOREVER,
        143,
    ),
}
NO_PIDFD = """
def refuse(pid): raise OSError(38, "no such call")
leash._pidfd_open = refuse
"""


class ParentKilled(Scene):
    """The main job."""

    def ends(self, before: str, main: str, backend: str) -> int:
        """Kill the parent of a worker and return the worker's status."""
        setup, main = main.split("\n", 1) if main.startswith("signal.") else ("", main)
        family = self.orphan(before + GUARD + setup + "\n" + READY + main)
        self.assertEqual(self.output.line("READY "), backend)
        self.assertTrue(alive(family.worker))
        family.kill_parent()
        return family.status()

    def test_stuck_in_every_way(self) -> None:
        for backend, before in {"pidfd": "", "poll": NO_PIDFD}.items():
            for name, (main, want) in STUCK.items():
                with self.subTest(main=name, backend=backend):
                    self.assertEqual(self.ends(before, main, backend), want)

    def test_handlers_run_and_decide(self) -> None:
        main = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n" + FOREVER
        # READY comes before the handler is set: so say it once more.
        family = self.orphan("leash.guard(grace=1000)\n" + main.replace("\nwhile", "\nsay('SET')\nwhile", 1))
        self.output.line("SET")
        family.kill_parent()
        self.assertEqual(family.status(), 7)

    def test_without_guard_it_stays(self) -> None:
        """The control: the scene itself ends no process."""
        family = self.orphan("say('READY')\nsys.stdin.readline()\nsay('PARENT', os.getppid())\n" + FOREVER)
        self.output.line("READY")
        family.kill_parent()
        os.write(family.stdin, b"go on\n")
        self.assertEqual(self.output.line("PARENT "), str(os.getpid()))
        self.assertTrue(alive(family.worker))

    def test_gil_held_needs_a_watchdog(self) -> None:
        """No thread of Python runs while a C call holds the GIL; it ends right after."""
        reader, writer = os.pipe()
        fifo = f"/proc/{os.getpid()}/fd/{reader}"
        family = self.orphan(
            TERM_IGNORED + f"held = os.open({fifo!r}, os.O_RDONLY)\n" + GUARD + READY
            + "ctypes.PyDLL(None).read(held, ctypes.create_string_buffer(1), 1)\n" + FOREVER
        )
        self.output.line("READY")
        os.close(reader)
        self.await_read(family.worker)
        family.kill_parent()
        self.assertTrue(alive(family.worker))
        os.write(writer, b"x")
        os.close(writer)
        self.assertEqual(family.status(), 143)

    def await_read(self, pid: int) -> None:
        """Wait until the main thread is in its system call: read is number 0, sleep is not."""
        call = pathlib.Path(f"/proc/{pid}/syscall")
        while not call.read_text().startswith(("0 ", "63 ")):
            pass

    def test_guard_from_another_thread(self) -> None:
        code = "thread = threading.Thread(target=lambda: leash.guard(grace=0.1)); thread.start(); thread.join()\n"
        family = self.orphan(code + "say('READY')\n" + FOREVER)
        self.output.line("READY")
        family.kill_parent()
        self.assertEqual(family.status(), -signal.SIGTERM)

    def test_dead_between_import_and_call(self) -> None:
        code = "say('READY')\nwhile os.getppid() == leash._born_to: pass\nleash.guard(grace=0.1)\n"
        family = self.orphan(code + FOREVER)
        self.output.line("READY")
        family.kill_parent()
        self.assertEqual(family.status(), -signal.SIGTERM)


class Given(Scene):
    """parent_pid and LEASH_RUN_OWNER."""

    def other(self) -> int:
        return self.start("sleep", "1000000")

    def worker(self, code: str, **env: str) -> int:
        return self.start(sys.executable, "-c", PRELUDE + code, **env)

    def test_any_process_may_be_the_parent(self) -> None:
        for before in ("", NO_PIDFD):
            other = self.other()
            worker = self.worker(before + f"leash.guard({other}, grace=0.1, poll_interval=0.01)\nsay('READY')\n" + FOREVER)
            self.output.line("READY")
            self.assertTrue(alive(worker))
            self.kill(other)  # not reaped: under polling the zombie must be seen as dead
            self.assertEqual(self.reap(worker), -signal.SIGTERM)

    def test_another_users_parent_is_alive(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        other = self.other()
        worker = self.worker(
            NO_PIDFD + f"os.setgid(65534); os.setuid(65534)\nparent, = leash.guard({other}, poll_interval=0.01)\n"
            "try: os.kill(parent.pid, 0)\nexcept PermissionError: say('ALIVE', parent._alive())\n" + FOREVER
        )
        self.assertEqual(self.output.line("ALIVE "), "True")
        self.assertTrue(alive(worker))
        self.kill(other)
        self.assertEqual(self.reap(worker), -signal.SIGTERM)

    def test_dead_before_the_call(self) -> None:
        for before in ("", NO_PIDFD):
            zombie, gone = self.other(), self.other()
            self.kill(zombie)
            self.kill(gone)
            self.reap(gone)
            for pid in (zombie, gone):
                worker = self.worker(before + f"leash.guard({pid}, grace=0.1)\n" + FOREVER)
                self.assertEqual(self.reap(worker), -signal.SIGTERM)

    def test_run_owner(self) -> None:
        other = self.other()
        code = "say('WATCHES', *[p.pid for p in leash.guard(grace=0.1)])\n" + FOREVER
        worker = self.worker(code, LEASH_RUN_OWNER=owner(other))
        self.assertEqual(self.output.line("WATCHES "), f"{other} {os.getpid()}")
        self.kill(other)
        self.assertEqual(self.reap(worker), -signal.SIGTERM)

    def test_run_owner_whose_number_was_taken_anew(self) -> None:
        other = self.other()
        for change in (1, -1):
            worker = self.worker("leash.guard(grace=0.1)\n" + FOREVER, LEASH_RUN_OWNER=owner(other, change))
            self.assertEqual(self.reap(worker), -signal.SIGTERM)
        self.assertTrue(alive(other))

    def test_run_owner_of_elsewhere_says_nothing(self) -> None:
        pid, start, boot, space = owner(self.other()).split(":")
        for text in (
            f"{pid}:{start}:{boot}:{int(space) + 1}", f"{pid}:{start}:{boot[:-1]}:{space}", f"{pid}:{start}:{boot}",
            f"0{pid}:{start}:{boot}:{space}", f"{pid}:{start}:{boot}:{space}\n", f"{2**31}:{start}:{boot}:{space}", "",
            f"-{pid}:{start}:{boot}:{space}", f"\u0661:{start}:{boot}:{space}",
        ):
            self.assertIsNone(leash._run_owner(text), text)
        self.assertEqual(leash._run_owner(f"{pid}:{start}:{boot}:{space}"), (int(pid), int(start), False))


def owner(pid: int, change: int = 0) -> str:
    """LEASH_RUN_OWNER of a process; change makes it another process's."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{pid}:{int(stat[19]) + change}:{boot}:{os.stat('/proc/self/ns/pid').st_ino}"


class Forks(Scene):
    """Children follow the same parent, and outlive the worker if they want to."""

    def family(self, code: str) -> None:
        family = self.orphan("leash.guard(grace=0.1)\n" + code)
        child = int(self.output.line("CHILD "))
        self.assertTrue(alive(child))
        self.pids.append(child)
        family.kill_parent()
        family.status()
        self.assertEqual(self.reap(child), -signal.SIGTERM)

    def test_fork(self) -> None:
        self.family("if os.fork() == 0: say('CHILD', os.getpid())\n" + FOREVER)

    def test_daemon_outlives_its_parents_but_not_ours(self) -> None:
        self.family(
            "if os.fork() == 0:\n    os.setsid()\n    first = os.getpid()\n    if os.fork(): os._exit(0)\n"
            "    while os.getppid() == first: pass\n    say('CHILD', os.getpid())\n" + FOREVER
        )

    def test_descriptors_closed_behind_our_back(self) -> None:
        self.family("if os.fork() == 0:\n    os.closerange(3, 512)\n    os.open('/dev/zero', 0)\n    say('CHILD', os.getpid())\n" + FOREVER)

    def test_multiprocessing(self) -> None:
        for method in ("fork", "spawn", "forkserver"):
            with self.subTest(method=method):
                family = self.orphan(
                    "leash.guard(grace=0.1)\nimport multiprocessing\nimport child\n"
                    f"multiprocessing.get_context({method!r}).Process(target=child.main).start()\n" + FOREVER
                )
                child = int(self.output.line("CHILD "))
                self.assertTrue(alive(child))
                family.kill_parent()
                self.assertEqual(family.status(), -signal.SIGTERM)
                self.gone(child)  # which process reaps it depends on the method

    def test_fork_while_a_call_is_going_on(self) -> None:
        code = (
            "leash._lock.acquire()\n"
            "if os.fork() == 0:\n    say('CHILD', len(leash.guard(grace=0.1)))\n    os._exit(0)\nos.wait()\n"
        )
        self.orphan(code)
        self.assertEqual(self.output.line("CHILD "), "1")


class Identity(Scene):
    """What is taken for dead, and what is not."""

    def parent(self, pid: int) -> leash.Parent:
        return leash.Parent(pid, None, False, 1.0, 1.0)

    def test_younger_process_is_no_parent(self) -> None:
        with mock.patch.object(leash, "_start_of", side_effect=lambda pid, _: 5 if pid == os.getpid() else 6):
            self.assertTrue(self.parent(os.getppid())._dead)
        with mock.patch.object(leash, "_start_of", return_value=5):
            self.assertFalse(self.parent(os.getppid())._dead)

    def test_clock_set_back(self) -> None:
        """On Windows a start is a time of day. One of a time to come is of before the clock was set back."""
        now = int(time.time() * 1e7) + 116444736 * 10**9
        for later, dead in ((-1, True), (10**12, False)):
            parent = self.parent(os.getppid())
            parent._start = None
            starts = [now + later, now - 10]  # of the parent, and our own
            with mock.patch.object(leash, "_start_of", side_effect=starts), mock.patch.object(os, "name", "nt"):
                self.assertIs(parent._is_another(), dead, later)

    def test_unknown_is_not_dead(self) -> None:
        pid = self.start("sleep", "1000000")
        with mock.patch.object(leash, "_read_stat", return_value=None):
            parent = self.parent(pid)
            self.assertFalse(parent._dead)
            self.assertIsNone(parent._alive())
            with mock.patch("os.kill", side_effect=PermissionError):
                self.assertIsNone(parent._alive())
            with mock.patch("os.kill", side_effect=ProcessLookupError):
                self.assertIs(parent._alive(), False)

    def test_first_thread_ended_and_others_run(self) -> None:
        parent = self.parent(self.start("sleep", "1000000"))
        for state, threads, want in (("Z", 1, False), ("Z", 2, True), ("S", 1, True), ("T", 1, True)):
            with mock.patch.object(leash, "_read_stat", return_value=(state, threads, parent._start)):
                self.assertIs(parent._alive(), want, state)
        with mock.patch.object(leash, "_read_stat", return_value=("S", 1, 1)):
            self.assertIs(parent._alive(), False, "another start")

    def test_another_file_behind_the_descriptor(self) -> None:
        parent = self.parent(self.start("sleep", "1000000"))
        mine, parent._handle = parent._handle, os.open("/dev/zero", os.O_RDONLY)
        self.assertFalse(parent._wait())
        os.close(parent._handle)
        self.assertFalse(parent._wait())
        os.close(mine)

    def test_pidfd_by_number(self) -> None:
        """Python 3.8 has no os.pidfd_open."""
        with mock.patch.object(os, "pidfd_open", None, create=True):
            fd = leash._pidfd_open(os.getpid())
            os.close(fd)
            pid = self.start("true")
            self.reap(pid)
            with self.assertRaises(ProcessLookupError):
                leash._pidfd_open(pid)

    def test_no_descriptors_left(self) -> None:
        with mock.patch.object(leash, "_pidfd_open", side_effect=OSError(errno.EMFILE, "too many")):
            parent = self.parent(os.getppid())
        self.assertEqual((parent.backend, parent._dead), ("poll", False))


class Calls(unittest.TestCase):
    """Wrong calls, repeated calls, failures of our own."""

    def test_wrong_arguments(self) -> None:
        for name, values in {
            "parent_pid": ["1", 0, -1, 1.0, True, 2**31, 2**70, b"1", os.getpid()],
            "grace": ["1", None, -1, float("nan"), float("inf"), True, [3]],
            "poll_interval": ["1", None, 0, -1, float("nan"), False],
        }.items():
            for value in values:
                with self.assertRaisesRegex(ValueError, name, msg=repr(value)):
                    leash.guard(**{name: value})  # type: ignore[arg-type]
        self.assertEqual(leash._parents, {})

    def test_second_call_is_the_same(self) -> None:
        self.addCleanup(leash._parents.clear)
        with mock.patch("threading.Thread.start") as start:
            first, second = leash.guard(os.getppid()), leash.guard(os.getppid())
        self.assertEqual(start.call_count, 1)
        self.assertIs(first[0], second[0])

    def test_no_thread_to_be_had(self) -> None:
        self.addCleanup(leash._parents.clear)
        with mock.patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread")):
            with self.assertLogs("leash", "ERROR"):
                leash.guard(os.getppid())

    def test_anything_else_that_fails(self) -> None:
        with mock.patch.object(leash, "_default_parents", side_effect=ZeroDivisionError):
            with self.assertLogs("leash", "ERROR"):
                self.assertEqual(leash.guard(), ())

    def test_parent_outside_of_the_namespace(self) -> None:
        with mock.patch.object(leash, "_born_to", 0), self.assertLogs("leash", "INFO"):
            with mock.patch.dict(os.environ, {"LEASH_RUN_OWNER": ""}):
                self.assertEqual(leash.guard(), ())


if __name__ == "__main__":
    unittest.main()

"""What a worker does for itself: end with its parent, and show that it lives.

    import leash
    leash.guard()                # end when the parent is gone
    heartbeat = leash.Heartbeat()
    ...                          # load the model
    heartbeat.ready()            # from here on a hang is noticed

Standard library only, Python 3.8 or later; one file, to be installed or copied. What goes wrong in
here is told to the logger "leash" and never ends a healthy worker. See docs/python.md.
"""

from __future__ import annotations

import array
import contextlib
import inspect
import logging
import os
import re
import select
import signal
import socket
import sys
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Tuple

if TYPE_CHECKING:
    import asyncio

    from leash_pool import AsyncPool as AsyncPool, AsyncStream as AsyncStream, AsyncWorker as AsyncWorker
    from leash_pool import DeadlineExceeded as DeadlineExceeded, Exit as Exit, LeashError as LeashError
    from leash_pool import Pool as Pool, PoolDied as PoolDied, Stream as Stream, Worker as Worker
    from leash_pool import WorkerEnded as WorkerEnded

__version__ = "0.1.0"
__all__ = ["guard", "Parent", "Heartbeat", "drain_on_term", "quiet_output", "own_group"]

log = logging.getLogger("leash")
_lock, _born_to = threading.Lock(), os.getppid()
_parents: Dict[int, Parent] = {}
_NOTIFY = "LEASH_HEARTBEAT_PIPE" if sys.platform == "win32" else "NOTIFY_SOCKET"
_PARENTS_SIDE = frozenset(
    "AsyncPool AsyncStream AsyncWorker DeadlineExceeded Exit LeashError Pool PoolDied Stream Worker WorkerEnded".split()
)
_Name = Tuple[int, Optional[int], bool]  # PID, start in clock ticks if known, known to be dead


def __getattr__(name: str) -> Any:
    """The parent's side, which no worker has to load."""
    if name not in _PARENTS_SIDE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import leash_pool
    except ModuleNotFoundError:
        raise AttributeError(f"leash.{name} is in leash_pool.py, which must lie beside leash.py") from None
    return getattr(leash_pool, name)


def _seconds(name: str, value: object, least: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= 1e9:
        raise ValueError(f"{name} must be a number of seconds, {least:g} or more, not {value!r}")
    return float(value)


def _pid(name: str, value: object) -> int:
    if type(value) is not int or not 0 < value <= 0x7FFFFFFF or value == os.getpid():
        raise ValueError(f"{name} must be the PID of another process, not {value!r}")
    return value


def _thread(name: str, run: Callable[..., object], *args: object) -> None:
    def body() -> None:
        try:
            if sys.platform != "win32":  # signals are for the program's own threads: here they wake none
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            run(*args)
        except Exception:  # ours, and never the worker's end
            log.exception("%s failed", name)

    try:
        threading.Thread(target=body, name=name, daemon=True).start()
    except RuntimeError as error:
        log.error("%s does not run: %s", name, error)


def guard(parent_pid: Optional[int] = None, *, grace: float = 3.0, poll_interval: float = 1.0) -> Tuple[Parent, ...]:
    """End this process when its parent is gone; call it once, at the top.
    The parent: the process that started this one, and under ``watchdog run`` also the watchdog's
    (LEASH_RUN_OWNER); or parent_pid alone, which is older than this one. A daemon thread waits for
    its death, sends this process SIGTERM, and after the grace ends it with os._exit(143), whatever
    the main thread is stuck in. Forked children follow the same parent. A second call changes nothing."""
    grace, poll_interval = _seconds("grace", grace), _seconds("poll_interval", poll_interval, 0.001)
    given = None if parent_pid is None else [(_pid("parent_pid", parent_pid), None, False)]
    found: List[Parent] = []
    try:
        for pid, start, dead in given or _default_parents():
            with _lock:
                if pid not in _parents:
                    _parents[pid] = Parent(pid, start, dead, grace, poll_interval)
                    _thread(f"leash-guard-{pid}", _parents[pid].wait)
                found.append(_parents[pid])
    except Exception:  # an unguarded worker still works
        log.exception("this process is not guarded")
    return tuple(found)


def _default_parents() -> List[_Name]:
    names: List[_Name] = []
    owner = _run_owner(os.environ.get("LEASH_RUN_OWNER", ""))
    if owner is not None and owner[0] != os.getpid():
        names.append(owner)
    # A number that changed since the import proves that the first parent is dead.
    if _born_to > 0 and (owner is None or owner[0] != _born_to):
        names.append((_born_to, None, os.name == "posix" and os.getppid() != _born_to))
    if not names:
        log.info("no parent to watch: it is outside of this PID namespace")
    return names


def _run_owner(text: str) -> Optional[_Name]:
    """The process that LEASH_RUN_OWNER names, if it is of this boot and namespace."""
    parts = re.fullmatch(r"([1-9][0-9]{0,9}):(0|[1-9][0-9]{0,19}):([0-9a-f-]+):(0|[1-9][0-9]{0,19})", text)
    if parts is None or sys.platform not in ("linux", "win32"):
        return None
    here = ["0", "0"]  # where the start is a time of day
    try:
        if sys.platform == "linux":
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                here = [file.read().strip(), str(os.stat("/proc/self/ns/pid").st_ino)]
    except OSError:
        return None
    pid, start = int(parts[1]), int(parts[2])
    return (pid, start, False) if [parts[3], parts[4]] == here and pid <= 0x7FFFFFFF else None


class Parent:
    """A parent: this process ends with it. Made by guard()."""

    def __init__(self, pid: int, start: Optional[int], dead: bool, grace: float, poll_interval: float) -> None:
        self.pid, self._start, self._dead = pid, start, dead
        #: How its death is noticed: "pidfd", "kqueue", "handle" or "poll".
        self.backend = "poll"
        self._grace, self._interval, self._handle = grace, poll_interval, -1
        self._child = os.getpid() if os.getppid() == pid else 0
        try:
            if not self._dead:
                self._open()
        except Exception as error:  # it has exited (87: no process has the number); a filter, no descriptors left
            self._dead = isinstance(error, ProcessLookupError) or getattr(error, "winerror", 0) == 87
            log.info("parent %d is checked every %g s, because: %s", self.pid, poll_interval, error)
        self._dead = self._dead or self._is_another()

    def _open(self) -> None:
        """Open the handle first; the process behind it is verified afterwards."""
        if sys.platform == "linux":
            self._handle, self.backend = _pidfd_open(self.pid), "pidfd"
        elif sys.platform == "win32":
            self._handle = _winapi.OpenProcess(0x00101000, False, self.pid)  # SYNCHRONIZE, QUERY_LIMITED_INFORMATION
            self.backend = "handle"
        elif hasattr(select, "kqueue"):
            self.backend = "kqueue"

    def _is_another(self) -> bool:
        """Whether the number was reused: no parent is younger than its child (a time in the future proves nothing)."""
        start, own = _start_of(self.pid, self._handle), _start_of(os.getpid(), -1)
        if start is None or self._start is not None:
            return start not in (None, self._start)
        self._start = start
        return own is not None and own < start <= (time.time() * 1e7 + 116444736e9 if os.name == "nt" else start)

    def wait(self) -> None:
        """Wait for its death and end this process. In a thread of its own."""
        if not self._dead and not self._wait():
            while self._alive() is not False:
                time.sleep(self._interval)
        _end_myself(self.pid, self._grace)

    def _wait(self) -> bool:
        """Wait for the death; False if the handle is of no use."""
        try:
            if sys.platform == "win32":
                return self.backend == "handle" and _winapi.WaitForSingleObject(self._handle, 0xFFFFFFFF) == 0
            if self.backend == "pidfd":
                poller = select.poll()
                poller.register(self._handle, select.POLLIN)
                # The program may have closed every descriptor and opened others.
                return bool(poller.poll()[0][1] & select.POLLIN) and self._alive() is not True
            if sys.platform == "linux" or self.backend != "kqueue":
                return False
            with contextlib.closing(select.kqueue()) as events:  # here, since a fork closes it
                flags = select.KQ_EV_ADD | select.KQ_EV_ONESHOT
                event = select.kevent(self.pid, select.KQ_FILTER_PROC, flags, select.KQ_NOTE_EXIT)
                events.control([event], 0)
                return self._alive() is False or bool(events.control(None, 1, None))
        except OSError as error:
            log.info("parent %d is polled from now on: %s", self.pid, error)
            return False

    def _alive(self) -> Optional[bool]:
        """None if nothing tells: unknown is not dead."""
        if sys.platform == "win32":  # there os.kill(pid, 0) is no question
            return None
        if self._child == os.getpid() and os.getppid() != self.pid:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass  # not ours to signal, so it is there
        state, threads, start = _read_stat(self.pid) or ("", 0, 0)
        zombie = state in ("Z", "X") and threads <= 1  # with more threads it runs on
        return (not zombie and self._start in (None, start)) if state else None


def _after_fork() -> None:
    global _lock, _born_to
    _lock, _born_to = threading.Lock(), os.getppid()
    for parent in _parents.values():
        _thread(f"leash-guard-{parent.pid}", parent.wait)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _end_myself(parent: int, grace: float) -> None:
    try:
        # In a thread of its own: a thread that is stuck may hold the lock of the log.
        _thread("leash-last-word", log.warning, "parent %d is gone: SIGTERM, and %g s later the end", parent, grace)
        if sys.platform == "win32":  # there os.kill ends a process without its handler
            signal.raise_signal(signal.SIGTERM)
        else:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
    finally:
        os._exit(128 + signal.SIGTERM)


def _read_stat(pid: int) -> Optional[Tuple[str, int, int]]:
    """State, threads, start; None where there is no /proc, or one of another namespace."""
    try:
        if sys.platform != "linux" or os.readlink("/proc/self") != str(os.getpid()):
            return None
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return fields[0].decode("ascii"), int(fields[17]), int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _start_of(pid: int, handle: int) -> Optional[int]:
    if sys.platform != "win32":
        return (_read_stat(pid) or (0, 0, None))[2]
    created, *others = (wintypes.FILETIME() for _ in range(4))
    process = handle if handle != -1 or pid == os.getpid() else 0  # -1 stands for this one there
    told = _times(process, *map(ctypes.byref, [created, *others]))
    return int(created.dwHighDateTime) << 32 | int(created.dwLowDateTime) if told else None


def _pidfd_open(pid: int) -> int:
    call: Optional[Callable[[int], int]] = getattr(os, "pidfd_open", None)
    if call is not None:
        return call(pid)
    import ctypes  # before Python 3.9 only

    fd = int(ctypes.CDLL(None, use_errno=True).syscall(434, pid, 0))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


if sys.platform == "win32":
    import _winapi  # which multiprocessing and asyncio are made of
    import ctypes
    from ctypes import wintypes

    _times = ctypes.WinDLL("kernel32").GetProcessTimes
    _times.argtypes = [wintypes.HANDLE] + [ctypes.POINTER(wintypes.FILETIME)] * 4

    def _pipe_send(name: str, message: bytes, patience: float, answered: bool) -> None:
        """A connection for each message, as with sockets. Nothing waits longer than patience."""
        until = time.monotonic() + patience
        left: Callable[[], int] = lambda: max(0, int((until - time.monotonic()) * 1000))

        def finish(operation: Any, pending: int) -> None:
            if pending and _winapi.WaitForSingleObject(operation.event, left()):
                operation.cancel()
            if operation.GetOverlappedResult(True)[1]:  # ERROR_OPERATION_ABORTED
                raise TimeoutError("no process reads there in time")

        while True:
            try:  # to write (and read), overlapped; the listener may identify us, and not act as us
                pipe = _winapi.CreateFile(name, 0xC0000000 if answered else 0x40000000, 0, 0, 3, 0x40110000, 0)
                break
            except OSError as error:
                if error.winerror != 231 or not left():  # ERROR_PIPE_BUSY
                    raise
                _winapi.WaitNamedPipe(name, left() or 1)
        try:
            finish(*_winapi.WriteFile(pipe, message, True))
            if answered:
                finish(*_winapi.ReadFile(pipe, 64, True))
        finally:
            _winapi.CloseHandle(pipe)


class Heartbeat:
    """Tells the watchdog (or systemd) how this process is, by sd_notify.
    Without NOTIFY_SOCKET (on Windows LEASH_HEARTBEAT_PIPE) every method returns at once. A thread
    beats at a third of WATCHDOG_USEC: the process is alive; with progress_within only while progress()
    is called at least that often: the work is alive. With start(loop) that asyncio loop beats. Methods
    may be called from any thread, and tell whether they sent. In a forked child the object is silent."""

    def __init__(self, *, progress_within: Optional[float] = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._within = None if progress_within is None else _seconds("progress_within", progress_within, 0.001)
        self._clock, self._pid, self._due = clock, os.getpid(), 0.0
        self._address = _notify_address()
        #: Whether there is a watchdog to send to.
        self.enabled = self._address is not None
        #: Seconds between two beats; 0 if no beats are expected.
        self.interval = _beat_interval() if self._address else 0.0
        self._beating = self._stopped = self._late = self._unheard = False

    def start(self, loop: Optional[asyncio.AbstractEventLoop] = None) -> None:
        """Begin to beat. ready() does it too, and early enough: from the first beat on silence counts."""
        with _lock:
            if self._beating or not self.interval or os.getpid() != self._pid:
                return
            self._beating = True
        self.progress()
        if loop is None:
            _thread("leash-heartbeat", self._run)
        else:
            _thread("leash-heartbeat", loop.call_soon_threadsafe, self._beat_in, loop)

    def progress(self) -> None:
        """The work goes on. Cheap enough for every item of every request."""
        if self._within is not None:
            self._due = max(self._due, self._clock() + self._within)

    def ready(self, status: Optional[str] = None) -> bool:
        """Start-up is over; beats begin."""
        sent = self._send("READY=1" + ("" if status is None else "\n" + _status("status", status)))
        self.start()
        return sent

    def stopping(self) -> bool:
        """The end has begun: from here on silence is no hang, and beats cease."""
        self._stopped = True
        return self._send("STOPPING=1")

    def reloading(self) -> bool:
        """A new configuration is read; ready() says when that is done."""
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={int(time.monotonic() * 1e6)}")

    def status(self, text: str) -> bool:
        """One line for people about what this process is doing."""
        return self._send(_status("text", text))

    def extend(self, seconds: float) -> bool:
        """Ask for so much time from now; to be repeated if that is not enough."""
        seconds = _seconds("seconds", seconds, 0.000001)
        self._due = max(self._due, self._clock() + seconds)
        return self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def barrier(self, timeout: float = 5.0) -> bool:
        """Wait until all that was sent before has been handled; False if it was not."""
        timeout = _seconds("timeout", timeout)
        if sys.platform == "win32":  # the answer says it
            return self._send("BARRIER=1", timeout)
        try:
            reader, writer = os.pipe()
            with open(reader, "rb"):
                sent = self._send("BARRIER=1", descriptor=writer)
                os.close(writer)
                poller = select.poll()
                poller.register(reader, 0)  # the hang-up, which comes unasked
                return sent and bool(poller.poll(timeout * 1000))
        except OSError as error:
            log.warning("barrier: %s", error)
            return False

    def beat(self) -> bool:
        """One beat, if the work is alive. For loops of your own; start() does it for you."""
        late = self._within is not None and self._clock() > self._due
        if late and not self._late:
            log.warning("no progress within %s s: no more beats until it goes on", self._within)
        self._late = late
        return not late and self._send("WATCHDOG=1", patience=0.0)

    def _run(self) -> None:
        # time.sleep, because waits for a lock follow the wall clock in older Pythons.
        while not self._stopped:
            self.beat()
            time.sleep(self.interval)

    def _beat_in(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._stopped:
            self.beat()
            loop.call_later(self.interval, self._beat_in, loop)

    def _send(self, message: str, patience: float = 0.5, descriptor: int = -1) -> bool:
        """A socket for each: no fork, closed descriptor or new watchdog there can get in the way."""
        if self._address is None or os.getpid() != self._pid:
            return False
        data = message.encode("utf-8", "replace")
        try:
            if sys.platform == "win32":
                _pipe_send(os.fsdecode(self._address), data, patience, message == "BARRIER=1")
                return True
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(patience)
                sock.connect(self._address)
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
                sock.sendmsg([data], [rights] if descriptor >= 0 else [])
        except OSError as error:
            if not self._unheard:
                log.warning("%s does not hear this process: %s", _NOTIFY, error)
            self._unheard = True
            return False
        self._unheard = False
        return True


def _status(name: str, text: object) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{name} must be a string, not {text!r}")
    return "STATUS=" + " ".join(text[:1000].splitlines())


def _notify_address() -> Optional[bytes]:
    name, form, else_ = os.environ.get(_NOTIFY, ""), "[/@].", "neither a path nor @name"
    if sys.platform == "win32":
        form, else_ = r"\\\\\.\\pipe\\[^\\]", "no pipe of this machine"
    if not re.match(form, name, re.IGNORECASE | re.DOTALL):
        if name:
            log.warning("%s is %s: %r", _NOTIFY, else_, name)
        return None
    address = os.fsencode(name)
    return b"\0" + address[1:] if name[0] == "@" else address


def _beat_interval() -> float:
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not usec or pid not in ("", str(os.getpid())):  # not expected, or of another process
        return 0.0
    if not re.fullmatch("[0-9]{1,15}", usec) or int(usec) == 0:
        log.warning("WATCHDOG_USEC is no number of microseconds: %r", usec)
        return 0.0
    return int(usec) / 3e6


def drain_on_term(server: Any, deadline: float = 5.0, heartbeat: Optional[Heartbeat] = None) -> None:
    """On SIGTERM let a gRPC server finish its calls within the deadline, and stop; a second one stops at
    once. Call it in the main thread (grpc.aio: in the loop), then ``server.wait_for_termination()``."""
    graces = [0.0, _seconds("deadline", deadline)]
    if not callable(getattr(server, "stop", None)):
        raise ValueError(f"server must be a gRPC server, not {server!r}")

    def stop() -> Any:
        if heartbeat is not None:
            heartbeat.stopping()
        return server.stop(graces.pop() if len(graces) > 1 else 0.0)

    try:
        if inspect.iscoroutinefunction(server.stop):
            from asyncio import get_running_loop  # slow to load, and most do without

            loop, tasks = get_running_loop(), []  # the loop itself holds its tasks only weakly
            drain: Callable[[], object] = lambda: tasks.append(loop.create_task(stop()))
            signal.signal(signal.SIGTERM, lambda *_: loop.is_closed() or loop.call_soon_threadsafe(drain))
        else:
            # Not in the handler itself: the main thread may hold any lock just now.
            asked: SimpleQueue[None] = SimpleQueue()
            signal.signal(signal.SIGTERM, lambda *_: asked.put(None))
            _thread("leash-drain", lambda: [stop() for _ in iter(asked.get, "never")])
    except (RuntimeError, ValueError) as error:
        log.error("SIGTERM will not drain the server: %s", error)


@contextlib.contextmanager
def quiet_output() -> Iterator[None]:
    """Around main(), or its decorator: when the reader of the standard output is gone, the program ends
    with status 0 and no traceback. A broken pipe of anything else is raised as ever."""
    try:
        yield
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except BaseException as error:
        if not _is_broken(1):
            raise
        with open(os.devnull, "wb") as null:
            for descriptor in filter(_is_broken, (1, 2)):  # or the interpreter complains at its end
                os.dup2(null.fileno(), descriptor)
        if not isinstance(error, BrokenPipeError):
            raise
        sys.exit(0)


def _is_broken(descriptor: int) -> bool:
    if sys.platform == "win32":
        return descriptor == 1  # nothing tells, and standard output is the likely one
    poller = select.poll()
    poller.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poller.poll(0))


def own_group() -> bool:
    """Lead a process group of one's own, so that ``watchdog guard`` may signal it whole. Control-C
    at a terminal no longer reaches it. Tells whether this process leads its group now."""
    if sys.platform == "win32":
        return False
    with contextlib.suppress(OSError):  # a session leader leads its group anyway
        os.setpgid(0, 0)
    return os.getpgrp() == os.getpid()

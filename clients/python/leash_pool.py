"""A parent's side of Leash: workers under one ``watchdog pool``, from threads or from asyncio.

    import leash
    with leash.Pool() as pool:
        worker = pool.run(["python3", "worker.py"], heartbeat="notify")
        worker.ready(timeout=60)
        print(worker.stop().cause)

Standard library only, Python 3.8 or later. AsyncPool is the same for asyncio. See docs/python.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import weakref
from collections import deque
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import (
    Any,
    AsyncIterator,
    Callable,
    Deque,
    Dict,
    Generic,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
)

__all__ = [
    "AsyncPool",
    "AsyncStream",
    "AsyncWorker",
    "DeadlineExceeded",
    "Exit",
    "LeashError",
    "Pool",
    "PoolDied",
    "Stream",
    "Worker",
    "WorkerEnded",
    "find_program",
]

log = logging.getLogger("leash")
Record = Dict[str, Any]
_T = TypeVar("_T")
_LONGEST = 1 << 20  # a request of the protocol
_NO_SUCH_WORKER, _TAKEN = -32001, -32002
_DURATIONS = ("grace", "poll_interval", "heartbeat_interval", "heartbeat_timeout", "startup_timeout")


class LeashError(Exception):
    """What the pool refused (with JSON-RPC's code and its data), or a program that failed."""

    def __init__(self, message: str, code: Optional[int] = None, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.data = code, data


class DeadlineExceeded(LeashError, TimeoutError):
    """A call was not answered within its deadline."""


class PoolDied(LeashError):
    """The pool has ended, and with it every worker that it started."""


class WorkerEnded(LeashError):
    """The worker ended before it was ready."""

    def __init__(self, message: str, ended: Exit) -> None:
        super().__init__(message)
        self.exit = ended


class Exit(NamedTuple):
    """How a worker ended."""

    #: "exited", "signal", "core_dumped", "oom_killed", "memory_max", "hung", "not_ready", "asked", …
    cause: str
    exit_code: Optional[int]
    signal: Optional[str]
    #: As in watchdog.stopped; "released" of a guarded worker that was.
    outcome: str
    survivors: Optional[int]
    verified: Optional[bool]
    #: cpu_user_ms, cpu_system_ms, memory_peak_bytes, scope, where the system tells.
    usage: Dict[str, Any]


_CAUSES = {
    "heartbeat_timeout": "hung",
    "startup_timeout": "not_ready",
    "parent_died": "parent_died",
    "signalled": "asked",
}


def _exit_of(told: Record) -> Exit:
    code, by = told.get("exit_code", told.get("process.exit.code")), told.get("signal")
    outcome = told.get("outcome", "unknown")
    itself = "signal" if by is not None else "exited" if code is not None else "unknown"
    usage = {key[6:]: value for key, value in told.items() if key.startswith("usage.")}
    cause = told.get("cause") or _CAUSES.get(outcome, itself)
    return Exit(cause, code, by, outcome, told.get("survivors"), told.get("verified"), usage)


def find_program(name: str, given: Optional[str] = None, env: Optional[Mapping[str, str]] = None) -> str:
    """The path of "watchdog" or "reaper": as given, by its variable, beside this module, in PATH."""
    env = os.environ if env is None else env
    variable = f"LEASH_{name.upper()}"
    for path, source in ((given, f"the argument {name}"), (env.get(variable), variable)):
        if path:
            if _is_program(Path(path)):
                return str(path)
            raise LeashError(f"{source} names {path}, which is no program that can be executed")
    suffix = ".exe" if sys.platform == "win32" else ""
    search = [Path(folder) for folder in env.get("PATH", "").split(os.pathsep) if folder]
    for folders in (_beside(), search):
        # Debian has other programs of the short names, so the long ones go first.
        for file in (f"leash-{name}{suffix}", f"{name}{suffix}"):
            for folder in folders:
                if _is_program(folder / file):
                    return str(folder / file)
    raise LeashError(
        f"leash-{name} is neither beside this module nor in PATH: install it, or set {variable} to its path"
    )


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(str(path), os.X_OK)


def _beside() -> List[Path]:
    here = Path(__file__).resolve().parent
    folders = [here / "bin"]
    for scheme in (None, f"{os.name}_user"):
        with contextlib.suppress(KeyError):
            folders.append(Path(sysconfig.get_path("scripts", scheme) if scheme else sysconfig.get_path("scripts")))
    if here.name == "leash_pool":  # installed with pip --target
        folders.append(here.parent / "bin")
    checkout = here.parent.parent
    if (checkout / "cmd" / "watchdog").is_dir():
        folders.append(checkout / "bin")
    return folders


def _reap(program: str, env: Mapping[str, str], timeout: float) -> None:
    try:
        done = subprocess.run(
            [program], env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(f"{program} did not end within {timeout:g} s") from None
    except OSError as error:
        raise LeashError(f"{program} cannot be executed: {error}") from error
    said = (done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"status {done.returncode}"])[-1]
    if done.returncode == 1:
        log.warning("reaper: something survived: %s", said)
    elif done.returncode != 0:
        raise LeashError(f"{program} failed: {said}")


def _positive(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e9:
        raise ValueError(f"{name} must be a number of seconds above 0, not {value!r}")
    return float(value)


def _duration(seconds: float) -> str:
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _value(name: str, value: object) -> object:
    """A flag's value as the protocol has it: for durations seconds will do."""
    if isinstance(value, timedelta):
        return _duration(value.total_seconds())
    if name in _DURATIONS and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _duration(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _flags(given: Mapping[str, object]) -> Record:
    return {name: _value(name, value) for name, value in given.items() if value is not None}


def _seconds(text: object) -> Optional[float]:
    """The seconds of a duration as on the command line; None if it is none."""
    units = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
    parts = r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)"
    if not isinstance(text, str) or not re.fullmatch(f"(?:{parts})+", text):
        return None
    return sum(float(number) * units[unit] for number, unit in re.findall(parts, text))


def _settle(future: Future[Any], result: Any = None, error: Optional[BaseException] = None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _wait(future: Future[_T], timeout: Optional[float], what: str) -> _T:
    try:
        return future.result(timeout)
    except LeashError as error:
        raise error.with_traceback(None)
    except TimeoutError:
        raise DeadlineExceeded(f"{what} within {timeout:g} s") from None
    except Exception as error:
        if type(error).__name__ != "TimeoutError":  # before Python 3.11 it is another class
            raise
        raise DeadlineExceeded(f"{what} within {timeout:g} s") from None


async def _await(future: Future[_T], timeout: Optional[float], what: str) -> _T:
    """As _wait. A cancelled caller does not cancel the future, which others may wait for."""
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()

    def wake(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: woken.done() or woken.set_result(None))

    future.add_done_callback(wake)
    await asyncio.wait({woken}, timeout=timeout)
    if not future.done():
        raise DeadlineExceeded(f"{what} within {timeout:g} s")
    return _wait(future, 0, what)


class _Kept(Generic[_T]):
    """What a worker told, until it is read: bounded, the oldest are dropped and counted."""

    def __init__(self, limit: int, size: Callable[[_T], int]) -> None:
        self.lost = 0
        self._limit, self._size, self._held = limit, size, 0
        self._lock = threading.Lock()
        self._kept: Deque[_T] = deque()
        self._waiting: Deque[Future[_T]] = deque()
        self._end: Optional[BaseException] = None

    def push(self, item: _T) -> None:
        with self._lock:
            while self._waiting:
                reader = self._waiting.popleft()
                if reader.set_running_or_notify_cancel():
                    break
            else:
                self._kept.append(item)
                self._held += self._size(item)
                while self._held > self._limit and len(self._kept) > 1:
                    self._held -= self._size(self._kept.popleft())
                    self.lost += 1
                return
        _settle(reader, item)

    def end(self, error: Optional[BaseException]) -> None:
        with self._lock:
            if self._end is not None:
                return
            self._end = error or EOFError()
            waiting = [reader for reader in self._waiting if reader.set_running_or_notify_cancel()]
            self._waiting.clear()
        for reader in waiting:
            _settle(reader, error=self._end)

    def next(self) -> Future[_T]:
        reader: Future[_T] = Future()
        with self._lock:
            if self._kept:
                item = self._kept.popleft()
                self._held -= self._size(item)
                reader.set_result(item)
            elif self._end is not None:
                reader.set_exception(self._end)
            else:
                self._waiting.append(reader)
        return reader

    def give_up(self, reader: Future[_T]) -> Tuple[bool, Optional[_T]]:
        """For a reader that waits no more; what came at the same moment is still its own."""
        if reader.cancel() or reader.cancelled():
            return False, None
        try:
            return True, reader.result()  # push() is about to settle it
        except (EOFError, LeashError):
            return False, None


class _Tree:
    """What is known of one worker, for Worker and AsyncWorker."""

    def __init__(self, link: _Link, worker_id: str, keep: int) -> None:
        self.link, self.id = link, worker_id
        self.pid, self.containment, self.restarts = 0, "", 0
        self.exit: Optional[Exit] = None
        self.ready: Future[None] = Future()
        self.exited: Future[Exit] = Future()
        self.stdout: _Kept[str] = _Kept(keep, len)
        self.stderr: _Kept[str] = _Kept(keep, len)
        self.events: _Kept[Record] = _Kept(1000, lambda _: 1)
        self._told: Record = {}
        self._lock = threading.Lock()
        self._ended = False

    def record(self, record: Record) -> None:
        name = record.get("event")
        self.events.push(record)
        if name == "process.started":
            self.pid, self._told = record.get("process.pid", self.pid), {}
        elif name == "process.ready":
            _settle(self.ready)
        elif name == "process.restarting":
            self.restarts = record.get("attempt", self.restarts)
        elif name in ("process.terminated", "process.cleanup_completed"):
            self._told = {**self._told, **record}
        elif name == "watchdog.stopped":
            if record.get("outcome") == "signalled" and "survivors" not in self._told:
                record = {"outcome": "released"}  # without a cleanup nothing was ended
            self.finish(record)

    def finish(self, last: Optional[Record], error: Optional[BaseException] = None) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self.link.forget(self)
        if error is None:
            self.exit = _exit_of({**self._told, **(last or {})})
            early: BaseException = WorkerEnded(f"worker {self.id} ended before it was ready: {self.exit.cause}", self.exit)
        else:
            early = error
        _settle(self.exited, self.exit, error)
        _settle(self.ready, error=early)
        for kept in (self.stdout, self.stderr, self.events):
            kept.end(error)


class _Link:
    """The pool's process, a thread that reads from it, one that writes, one that waits for its end.
    Calls wait for their answers alone, so that no pipe can hold one up."""

    def __init__(
        self,
        watchdog: Optional[str] = None,
        *,
        reaper: Union[bool, str] = False,
        run_id: Optional[str] = None,
        parent_pids: Iterable[int] = (),
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
        timeout: float = 30.0,
        start_timeout: float = 30.0,
        keep: int = 8 << 20,
        on_event: Optional[Callable[[Record], object]] = None,
        **flags: object,
    ) -> None:
        self.timeout, self._start_timeout = _positive("timeout", timeout), _positive("start_timeout", start_timeout)
        self._watchdog, self._reaper, self._cwd, self._keep = watchdog, reaper, cwd, keep
        self._env = {**os.environ, **(env or {})}
        self._on_event = on_event
        self._grace = _seconds(_value("grace", flags.get("grace")))
        self._args = ["pool"]
        for pid in (os.getpid(), *parent_pids):
            self._args += ["--parent-pid", str(pid)]
        if run_id is not None:
            self._args += ["--run-id", run_id]
        for name, value in _flags(flags).items():
            self._args.append(f"--{name.replace('_', '-')}={value}")
        self._lock = threading.RLock()
        self._calls: Dict[int, Future[Any]] = {}
        self._trees: Dict[str, _Tree] = {}
        self._number = 0
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._queue: SimpleQueue[Optional[bytes]] = SimpleQueue()
        self._dead: Optional[LeashError] = None
        self._closing = False
        self.started: Future[Record] = Future()
        self.ended: Future[bool] = Future()

    # Starting

    def start(self) -> None:
        """Start the pool, if it has not been. Blocks for the reaper, and until the pool has spoken."""
        with self._lock:
            if self._process is None and self._dead is None:
                try:
                    self._start()
                except BaseException as error:
                    self._dead = error if isinstance(error, LeashError) else LeashError(str(error))
                    _settle(self.started, error=self._dead)
                    raise
        try:
            _wait(self.started, self._start_timeout, "the watchdog did not start a pool")
        except DeadlineExceeded:
            self.kill()
            raise

    def _start(self) -> None:
        program = find_program("watchdog", self._watchdog, self._env)
        if self._reaper:
            given = None if self._reaper is True else self._reaper
            _reap(find_program("reaper", given, self._env), self._env, self.timeout)
        try:
            self._process = subprocess.Popen(
                [program, *self._args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                bufsize=0, env=self._env, cwd=self._cwd,
            )  # fmt: skip
        except OSError as error:
            raise LeashError(f"{program} cannot be executed: {error}") from error
        _links.add(self)
        reader = self._thread("read", self._read_all)
        self._thread("write", self._write_all)
        self._thread("wait", self._wait_for_end, reader)

    def _thread(self, name: str, run: Callable[..., object], *args: object) -> threading.Thread:
        def body() -> None:
            if sys.platform != "win32":  # signals are for the program's own threads
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                run(*args)
            except Exception:
                log.exception("leash-pool-%s failed", name)

        thread = threading.Thread(target=body, name=f"leash-pool-{name}", daemon=True)
        thread.start()
        return thread

    @property
    def pid(self) -> Optional[int]:
        return self._process.pid if self._process else None

    # The threads

    def _write_all(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # its end is told by the process
            for line in iter(self._queue.get, None):
                rest = memoryview(line)
                while rest:
                    rest = rest[self._process.stdin.write(rest) or 0 :]
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _read_all(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        pieces: List[bytes] = []
        while True:
            try:
                data = self._process.stdout.read(1 << 16)
            except (OSError, ValueError):
                data = b""
            if not data:
                break
            *lines, last = data.split(b"\n")
            for line in lines:
                self._handle(b"".join([*pieces, line]))
                pieces.clear()
            if last:
                pieces.append(last)
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()  # it lives, and says nothing any more

    def _wait_for_end(self, reader: threading.Thread) -> None:
        assert self._process is not None
        status = self._process.wait()
        reader.join(1.0)  # its sentinel may hold the pipe a little longer
        self._queue.put(None)
        if self._closing and status in (0, 1):
            self._die(PoolDied("the pool was closed"), survivors=status == 1)
            return
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        self._die(PoolDied(f"watchdog pool {how}; a new one can be started: pool.renew()", data={"status": status}))

    def _die(self, error: LeashError, survivors: Optional[bool] = None) -> None:
        with self._lock:
            self._dead = self._dead or error
            calls, trees = list(self._calls.values()), list(self._trees.values())
            self._calls.clear()
            self._trees.clear()
        _settle(self.started, error=error)
        for call in calls:
            _settle(call, error=error)
        for tree in trees:
            tree.finish(None, error)
        if survivors is None:
            _settle(self.ended, error=error)
        else:
            _settle(self.ended, survivors)

    def _handle(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            method, params, number = message.get("method"), message.get("params"), message.get("id")
        except (ValueError, AttributeError, RecursionError):
            self._die(PoolDied(f"the watchdog wrote what is no message: {line[:200]!r}"))
            self.terminate()
            return
        if method == "output":
            tree = self._trees.get(params["worker_id"])
            if tree is not None:
                (tree.stderr if params["stream"] == "stderr" else tree.stdout).push(params["line"])
        elif method == "event":
            self._record(params)
        elif number is not None:
            with self._lock:
                call = self._calls.pop(number, None)
            if call is not None:
                told = message.get("error")
                error = told and LeashError(told["message"], told["code"], told.get("data"))
                _settle(call, message.get("result"), error)
        elif message.get("error"):
            log.warning("watchdog pool: %s", message["error"].get("message"))

    def _record(self, record: Record) -> None:
        if record.get("event") == "pool.started":
            _settle(self.started, record)
        tree = self._trees.get(record.get("leash.worker_id", ""))
        if tree is not None:
            tree.record(record)
        if self._on_event is not None:
            try:
                self._on_event(record)
            except Exception:
                log.exception("on_event failed")
        if record.get("lost_records"):
            self._compare()

    def _compare(self) -> None:
        """An end may be among the records that were lost: the pool's table tells."""
        with self._lock:
            before = [tree for tree in self._trees.values() if tree.pid]

        def compare(answer: Future[Any]) -> None:
            if answer.exception() is None:
                living = {worker["worker_id"] for worker in answer.result()["workers"]}
                for tree in before:
                    if tree.id not in living:
                        tree.finish({})

        self.send("list", {}).add_done_callback(compare)

    # Calls

    def send(self, method: str, params: Record) -> Future[Any]:
        """Ask the pool; the answer comes into the future."""
        answer: Future[Any] = Future()
        with self._lock:
            if self._dead is not None:
                answer.set_exception(self._dead)
                return answer
            self._number += 1
            request = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
            line = json.dumps(request, separators=(",", ":")).encode() + b"\n"
            if len(line) > _LONGEST:
                raise ValueError(f"{method}: the request is longer than 1 MiB")
            self._calls[self._number] = answer
            self._queue.put(line)
        return answer

    def begin(self, method: str, params: Record, worker_id: Optional[str]) -> Tuple[_Tree, Future[Any]]:
        """Ask for a worker. Its records may come before the answer, so it is known from here on."""
        with self._lock:
            if self._closing:
                raise self._dead or PoolDied("the pool was closed")
            if worker_id is None:
                worker_id = next(w for w in (f"w{n}" for n in range(self._number + 1, 1 << 62)) if w not in self._trees)
            if worker_id in self._trees:
                raise LeashError(f"the worker ID {worker_id} is taken: its worker has not ended", _TAKEN)
            tree = _Tree(self, worker_id, self._keep)
            answer = self.send(method, {"worker_id": worker_id, **params})
            self._trees[worker_id] = tree
        return tree, answer

    def begun(self, tree: _Tree, answer: Record) -> _Tree:
        tree.pid, tree.containment = tree.pid or answer["pid"], answer["containment"]
        return tree

    def not_begun(self, tree: _Tree, answer: Future[Any], error: BaseException) -> None:
        """What is started all the same, later, is ended."""
        known = error if isinstance(error, LeashError) else LeashError(f"worker {tree.id} was given up: {error!r}")
        tree.finish(None, known)
        end: Callable[[Future[Any]], object] = lambda a: a.exception() or self.send("stop", {"worker_id": tree.id})
        answer.add_done_callback(end)

    def stopped(self, tree: _Tree, answer: Future[Any]) -> None:
        """From the answer to a stop; one that had ended by itself has told already."""
        error = answer.exception()
        if error is None:
            tree.finish(answer.result())
        elif getattr(error, "code", None) == _NO_SUCH_WORKER:
            tree.finish({})

    def forget(self, tree: _Tree) -> None:
        with self._lock:
            if self._trees.get(tree.id) is tree:
                del self._trees[tree.id]

    def trees(self) -> List[_Tree]:
        with self._lock:
            return list(self._trees.values())

    def patience(self, grace: object, timeout: Optional[float]) -> float:
        """A stop takes its grace period, and the pool's own time after it."""
        if timeout is not None:
            return _positive("timeout", timeout)
        given = _seconds(_value("grace", grace))
        return self.timeout + (given if given is not None else self._grace if self._grace is not None else 3.0)

    def ask_to_end(self, grace: object) -> bool:
        """Whether there is an end to wait for."""
        with self._lock:
            first, self._closing = not self._closing, True
            if self._process is None or self._dead is not None:
                self._dead = self._dead or PoolDied("the pool was closed")
                return False
            if first:
                self.send("shutdown", _flags({"grace": grace}))
            return True

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """The end of the pool is the end of all that it started."""
        if self._process is not None:
            self._process.kill()

    def child_forgets(self) -> None:
        """In a forked child: the pool is the parent's, and its pipe must close with the parent."""
        self._lock, self._dead = threading.RLock(), PoolDied("the pool belongs to the process that started it")
        self._calls, self._trees, self._closing = {}, {}, True
        process, self._process = self._process, None
        if process is not None:
            process.returncode = 0  # it is no child of this process
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError, AttributeError):
                    pipe.close()  # type: ignore[union-attr]


_links: weakref.WeakSet[_Link] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: [link.child_forgets() for link in list(_links)])


def _parameters(argv: Sequence[str], env: object, cwd: object, stdout: object, stderr: object, flags: Mapping[str, object]) -> Record:
    if isinstance(argv, (str, bytes)) or not argv:
        raise ValueError("argv must be a list of strings, the command first")
    params: Record = {"argv": [os.fspath(word) for word in argv]}
    for name, value in (("env", env), ("cwd", cwd), ("stdout", stdout), ("stderr", stderr)):
        if value is not None:
            params[name] = os.fspath(value) if isinstance(value, os.PathLike) else value
    return {**params, **_flags(flags)}


class Stream(Generic[_T]):
    """Lines or records of a worker. Iterating ends with the worker, and raises PoolDied with the pool."""

    def __init__(self, kept: _Kept[_T]) -> None:
        self._kept = kept

    @property
    def lost(self) -> int:
        """How many were dropped because nobody read them in time."""
        return self._kept.lost

    def read(self, timeout: float) -> Optional[_T]:
        """The next one; None once the worker has ended and all are read."""
        reader = self._kept.next()
        try:
            return _wait(reader, _positive("timeout", timeout), "nothing came")
        except EOFError:
            return None
        except BaseException:
            if not reader.done():
                came, item = self._kept.give_up(reader)
                if came:
                    return item
            raise

    def __iter__(self) -> Iterator[_T]:
        while True:
            item = self.read(1e9)
            if item is None:
                return
            yield item


class AsyncStream(Generic[_T]):
    """As Stream, for asyncio."""

    def __init__(self, kept: _Kept[_T]) -> None:
        self._kept = kept

    @property
    def lost(self) -> int:
        """How many were dropped because nobody read them in time."""
        return self._kept.lost

    async def read(self, timeout: float) -> Optional[_T]:
        """The next one; None once the worker has ended and all are read."""
        reader = self._kept.next()
        try:
            return await _await(reader, _positive("timeout", timeout), "nothing came")
        except EOFError:
            return None
        except BaseException:
            if not reader.done():
                came, item = self._kept.give_up(reader)
                if came:
                    return item
            raise

    async def __aiter__(self) -> AsyncIterator[_T]:
        while True:
            item = await self.read(1e9)
            if item is None:
                return
            yield item


class _Facts:
    """What both kinds of worker tell at once."""

    def __init__(self, tree: _Tree) -> None:
        self._tree = tree

    @property
    def id(self) -> str:
        """Its worker ID."""
        return self._tree.id

    @property
    def pid(self) -> int:
        """The process ID of its present life."""
        return self._tree.pid

    @property
    def containment(self) -> str:
        """What holds its process tree together."""
        return self._tree.containment

    @property
    def restarts(self) -> int:
        """How often it was restarted."""
        return self._tree.restarts

    @property
    def exit(self) -> Optional[Exit]:
        """How it ended; None as long as it has not."""
        return self._tree.exit

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} pid={self.pid} exit={self.exit!r}>"


class Worker(_Facts):
    """A process tree of a pool. As a context manager it is stopped at the end."""

    @property
    def stdout(self) -> Stream[str]:
        """The lines of its standard output."""
        return Stream(self._tree.stdout)

    @property
    def stderr(self) -> Stream[str]:
        """The lines of its standard error."""
        return Stream(self._tree.stderr)

    @property
    def events(self) -> Stream[Record]:
        """The watchdog's records of it."""
        return Stream(self._tree.events)

    def ready(self, timeout: float = 60.0) -> None:
        """Wait until it says READY=1; WorkerEnded if it ends before."""
        hint = f'worker {self.id} did not say READY=1 (run it with heartbeat="notify")'
        _wait(self._tree.ready, _positive("timeout", timeout), hint)

    def wait(self, timeout: float) -> Exit:
        """Wait for its end."""
        return _wait(self._tree.exited, _positive("timeout", timeout), f"worker {self.id} did not end")

    def stop(self, grace: object = None, stop_signal: Optional[str] = None, timeout: Optional[float] = None) -> Exit:
        """End it politely; returns once nothing of it is left."""
        tree, link = self._tree, self._tree.link
        if not tree.exited.done():
            params = {"worker_id": tree.id, **_flags({"grace": grace, "stop_signal": stop_signal})}
            answer, patience = link.send("stop", params), link.patience(grace, timeout)
            answer.add_done_callback(lambda a: link.stopped(tree, a))
            return _wait(tree.exited, patience, f"worker {tree.id} did not stop")
        return self.wait(1)

    def send_signal(self, name: str, timeout: Optional[float] = None) -> None:
        """Send a signal ("HUP") to its process group."""
        link = self._tree.link
        answer = link.send("signal", {"worker_id": self.id, "signal": name})
        _wait(answer, _positive("timeout", timeout or link.timeout), f"worker {self.id}: the signal was not sent")

    def release(self, timeout: Optional[float] = None) -> None:
        """Let a guarded worker live on, unguarded."""
        link = self._tree.link
        answer = link.send("release", {"worker_id": self.id})
        _wait(answer, _positive("timeout", timeout or link.timeout), f"worker {self.id} was not released")
        self._tree.finish({"outcome": "released"})

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(PoolDied):  # and the worker with it
            self.stop()


class AsyncWorker(_Facts):
    """As Worker, for asyncio."""

    @property
    def stdout(self) -> AsyncStream[str]:
        """The lines of its standard output."""
        return AsyncStream(self._tree.stdout)

    @property
    def stderr(self) -> AsyncStream[str]:
        """The lines of its standard error."""
        return AsyncStream(self._tree.stderr)

    @property
    def events(self) -> AsyncStream[Record]:
        """The watchdog's records of it."""
        return AsyncStream(self._tree.events)

    async def ready(self, timeout: float = 60.0) -> None:
        """Wait until it says READY=1; WorkerEnded if it ends before."""
        hint = f'worker {self.id} did not say READY=1 (run it with heartbeat="notify")'
        await _await(self._tree.ready, _positive("timeout", timeout), hint)

    async def wait(self, timeout: float) -> Exit:
        """Wait for its end."""
        return await _await(self._tree.exited, _positive("timeout", timeout), f"worker {self.id} did not end")

    async def stop(
        self, grace: object = None, stop_signal: Optional[str] = None, timeout: Optional[float] = None
    ) -> Exit:
        """End it politely; returns once nothing of it is left."""
        tree, link = self._tree, self._tree.link
        if not tree.exited.done():
            params = {"worker_id": tree.id, **_flags({"grace": grace, "stop_signal": stop_signal})}
            answer, patience = link.send("stop", params), link.patience(grace, timeout)
            answer.add_done_callback(lambda a: link.stopped(tree, a))
            return await _await(tree.exited, patience, f"worker {tree.id} did not stop")
        return await self.wait(1)

    async def send_signal(self, name: str, timeout: Optional[float] = None) -> None:
        """Send a signal ("HUP") to its process group."""
        link = self._tree.link
        answer = link.send("signal", {"worker_id": self.id, "signal": name})
        await _await(answer, _positive("timeout", timeout or link.timeout), f"worker {self.id}: the signal was not sent")

    async def release(self, timeout: Optional[float] = None) -> None:
        """Let a guarded worker live on, unguarded."""
        link = self._tree.link
        answer = link.send("release", {"worker_id": self.id})
        await _await(answer, _positive("timeout", timeout or link.timeout), f"worker {self.id} was not released")
        self._tree.finish({"outcome": "released"})

    async def __aenter__(self) -> AsyncWorker:
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(PoolDied):  # and the worker with it
            await self.stop()


class _Pool:
    """What both kinds of pool tell at once."""

    def __init__(self, watchdog: Optional[str] = None, **options: Any) -> None:
        self._given = {"watchdog": watchdog, **options}
        self._link = _Link(**self._given)

    @property
    def pid(self) -> Optional[int]:
        """The process ID of the watchdog, once it was started."""
        return self._link.pid

    @property
    def run_id(self) -> Optional[str]:
        """The run's ID, once the pool has started."""
        return self._fact("leash.run_id")

    @property
    def version(self) -> Optional[str]:
        """The version of the watchdog, once the pool has started."""
        return self._fact("version")

    def _fact(self, name: str) -> Optional[str]:
        started = self._link.started
        return started.result().get(name) if started.done() and started.exception() is None else None


class Pool(_Pool):
    """One ``watchdog pool``, for any number of threads.
    watchdog: the program's path; else LEASH_WATCHDOG, beside this module, PATH. reaper: call the reaper
    first (True, or its path). run_id, parent_pids, env, cwd: the pool's. timeout: the deadline of each
    call. keep: how many characters of each stream are kept until they are read. on_event: is called with
    each record, in a thread of the pool's. Any other argument is a flag for all workers (grace=5,
    heartbeat="notify"); durations are seconds, or strings as on the command line."""

    def start(self) -> Pool:
        """Start the watchdog; every call does so by itself."""
        self._link.start()
        return self

    def run(
        self,
        argv: Sequence[str],
        *,
        worker_id: Optional[str] = None,
        env: Optional[Mapping[str, Optional[str]]] = None,
        cwd: object = None,
        stdout: object = None,
        stderr: object = None,
        timeout: Optional[float] = None,
        **flags: object,
    ) -> Worker:
        """Start a worker and guard it. Flags are those of ``watchdog run``, in snake case."""
        return self._begin("run", _parameters(argv, env, cwd, stdout, stderr, flags), worker_id, timeout)

    def guard(
        self, pid: int, *, worker_id: Optional[str] = None, timeout: Optional[float] = None, **flags: object
    ) -> Worker:
        """Guard a process that runs already."""
        return self._begin("guard", {"pid": pid, **_flags(flags)}, worker_id, timeout)

    def _begin(self, method: str, params: Record, worker_id: Optional[str], timeout: Optional[float]) -> Worker:
        patience = self._link.timeout if timeout is None else _positive("timeout", timeout)
        self._link.start()
        tree, answer = self._link.begin(method, params, worker_id)
        try:
            told = _wait(answer, patience, f"{method} of worker {tree.id} was not answered")
        except BaseException as error:
            self._link.not_begun(tree, answer, error)
            raise
        return Worker(self._link.begun(tree, told))

    @property
    def workers(self) -> List[Worker]:
        """Those that have not ended."""
        return [Worker(tree) for tree in self._link.trees()]

    def list(self, timeout: Optional[float] = None) -> List[Record]:
        """The pool's own table of its workers."""
        self._link.start()
        patience = self._link.timeout if timeout is None else _positive("timeout", timeout)
        told: Record = _wait(self._link.send("list", {}), patience, "list was not answered")
        found: List[Record] = told["workers"]
        return found

    def stop_all(self, grace: object = None, timeout: Optional[float] = None) -> Record:
        """End every worker; the pool goes on."""
        self._link.start()
        answer = self._link.send("stop_all", _flags({"grace": grace}))
        told: Record = _wait(answer, self._link.patience(grace, timeout), "stop_all was not answered")
        return told

    def close(self, grace: object = None, timeout: Optional[float] = None) -> bool:
        """End every worker and the pool; whether nothing survived. At the deadline the pool is killed."""
        patience = self._link.patience(grace, timeout)
        if not self._link.ask_to_end(grace):
            return True
        try:
            return not _wait(self._link.ended, patience, "the pool did not end and was killed:")
        except DeadlineExceeded:
            self._link.kill()
            raise

    def renew(self) -> Pool:
        """A new pool with the arguments of this one."""
        return Pool(**self._given)

    def __enter__(self) -> Pool:
        return self.start()

    def __exit__(self, kind: Optional[Type[BaseException]], *_: object) -> None:
        try:
            self.close()
        except LeashError:
            if kind is None:  # else the program's own error counts
                raise


class AsyncPool(_Pool):
    """As Pool, for asyncio. on_event is called in a thread of the pool's."""

    async def start(self) -> AsyncPool:
        """Start the watchdog; every call does so by itself."""
        if not self._link.started.done() or self._link.started.exception() is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._link.start)
        return self

    async def run(
        self,
        argv: Sequence[str],
        *,
        worker_id: Optional[str] = None,
        env: Optional[Mapping[str, Optional[str]]] = None,
        cwd: object = None,
        stdout: object = None,
        stderr: object = None,
        timeout: Optional[float] = None,
        **flags: object,
    ) -> AsyncWorker:
        """Start a worker and guard it. Flags are those of ``watchdog run``, in snake case."""
        return await self._begin("run", _parameters(argv, env, cwd, stdout, stderr, flags), worker_id, timeout)

    async def guard(
        self, pid: int, *, worker_id: Optional[str] = None, timeout: Optional[float] = None, **flags: object
    ) -> AsyncWorker:
        """Guard a process that runs already."""
        return await self._begin("guard", {"pid": pid, **_flags(flags)}, worker_id, timeout)

    async def _begin(
        self, method: str, params: Record, worker_id: Optional[str], timeout: Optional[float]
    ) -> AsyncWorker:
        patience = self._link.timeout if timeout is None else _positive("timeout", timeout)
        await self.start()
        tree, answer = self._link.begin(method, params, worker_id)
        try:
            told = await _await(answer, patience, f"{method} of worker {tree.id} was not answered")
        except BaseException as error:
            self._link.not_begun(tree, answer, error)
            raise
        return AsyncWorker(self._link.begun(tree, told))

    @property
    def workers(self) -> List[AsyncWorker]:
        """Those that have not ended."""
        return [AsyncWorker(tree) for tree in self._link.trees()]

    async def list(self, timeout: Optional[float] = None) -> List[Record]:
        """The pool's own table of its workers."""
        await self.start()
        patience = self._link.timeout if timeout is None else _positive("timeout", timeout)
        told: Record = await _await(self._link.send("list", {}), patience, "list was not answered")
        found: List[Record] = told["workers"]
        return found

    async def stop_all(self, grace: object = None, timeout: Optional[float] = None) -> Record:
        """End every worker; the pool goes on."""
        await self.start()
        answer = self._link.send("stop_all", _flags({"grace": grace}))
        told: Record = await _await(answer, self._link.patience(grace, timeout), "stop_all was not answered")
        return told

    async def close(self, grace: object = None, timeout: Optional[float] = None) -> bool:
        """End every worker and the pool; whether nothing survived. At the deadline the pool is killed."""
        patience = self._link.patience(grace, timeout)
        if not self._link.ask_to_end(grace):
            return True
        try:
            return not await _await(self._link.ended, patience, "the pool did not end and was killed:")
        except DeadlineExceeded:
            self._link.kill()
            raise

    def renew(self) -> AsyncPool:
        """A new pool with the arguments of this one."""
        return AsyncPool(**self._given)

    async def __aenter__(self) -> AsyncPool:
        return await self.start()

    async def __aexit__(self, kind: Optional[Type[BaseException]], *_: object) -> None:
        try:
            await self.close()
        except LeashError:
            if kind is None:  # else the program's own error counts
                raise

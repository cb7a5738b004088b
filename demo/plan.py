"""What one scene of the demo is made of."""

from __future__ import annotations

from dataclasses import dataclass

WORKERS = range(1, 9)  # each of them has one child
UNDER_RUN = range(1, 5)  # started by "watchdog run"; the others get a "watchdog guard"
WITH_DAEMON = (2, 6)  # these also start a daemon: setsid and a double fork
WITH_DEAF_CHILD = (8,)  # the child of these ignores SIGTERM
GRACE = "1s"  # from SIGTERM to SIGKILL


@dataclass(frozen=True)
class Member:
    """One process of a scene: what it is, and the number of its worker."""

    role: str  # "worker", "child", "daemon", "watchdog" or "sentinel"
    number: int


def members(leash: bool) -> set[Member]:
    """Every process that must run before the parent is killed.

    The sentinels of "watchdog run" are not among them: a watchdog may do without.
    They are counted where they run, since each worker reports its own first.
    """
    found = {Member(role, n) for n in WORKERS for role in ("worker", "child")}
    found |= {Member("daemon", n) for n in WITH_DAEMON}
    if leash:
        found |= {Member("watchdog", n) for n in WORKERS}
    return found


def mode(number: int) -> str:
    """How a worker is guarded in the scene with Leash."""
    return "run" if number in UNDER_RUN else "guard"


def describe(member: Member) -> str:
    """One process, in words."""
    n = member.number
    if member.role == "watchdog":
        return f'"watchdog {mode(n)}" of worker {n}'
    if member.role == "sentinel":
        return f"sentinel of worker {n}"
    if member.role == "worker":
        return f"worker {n}"
    if member.role == "daemon":
        return f"daemon of worker {n} (setsid, double fork)"
    deaf = " (ignores SIGTERM)" if n in WITH_DEAF_CHILD else ""
    return f"child of worker {n}{deaf}"

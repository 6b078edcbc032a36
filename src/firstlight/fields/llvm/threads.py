"""Several threads on one list of jobs: torch's own OpenMP team where there is one, Python threads elsewhere.

Native code shares the work out: every thread calls ``run`` on the same counters. What remains is to wake threads.
After an operation, torch's OpenMP threads spin for a while in wait of the next and keep their cores busy; threads of
our own would fight them (measured: a million normals right after a torch operation take twice as long). So the team
that torch uses is asked first, through the entry that compilers call, ``GOMP_parallel``. OpenMP does not survive a
fork; a forked child, and a torch without OpenMP, use Python threads that wait in a queue.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final

Run = Callable[[bytes, int, Any], int]


class _Shared(ctypes.Structure):
    """What every thread of a team is given: the arguments of ``run``."""

    _fields_ = (("jobs", ctypes.c_char_p), ("n", ctypes.c_int64), ("counters", ctypes.c_void_p))


class _Pool:
    """Python threads waiting for tickets; a forked child starts without any."""

    def __init__(self) -> None:
        self.forked = False
        self.reset()

    def reset(self) -> None:
        self.lock = threading.Lock()
        self.tickets: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self.threads = 0

    def after_fork(self) -> None:
        self.forked = True
        self.reset()

    def start(self, needed: int) -> None:
        """Make sure that ``needed`` threads wait for tickets."""
        with self.lock:
            while self.threads < needed:
                name = f"firstlight-fields-{self.threads}"
                threading.Thread(target=_serve, args=(self.tickets,), name=name, daemon=True).start()
                self.threads += 1


_POOL: Final = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.after_fork)


def find_openmp() -> Callable[[int, Any, int, int], None] | None:
    """``GOMP_parallel(function, data, threads, flags)`` of the OpenMP library in this process, which is torch's."""
    try:
        function = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):  # TypeError: Windows has no "this process"
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    function.restype = None
    return function


_OPENMP: Final = find_openmp()


def share(run: Run, member: int, jobs: bytes, n: int, pieces: int, threads: int, keep: object) -> None:
    """Do all pieces of packed jobs on ``threads`` threads, the caller's among them.

    Args:
        run: the native entry.
        member: the address of the native function that calls it with what ``_Shared`` holds.
        jobs: packed records.
        n: their number.
        pieces: the number of pieces they make together.
        threads: how many threads may work, at least 2.
        keep: what must stay alive as long as any thread works, the tensors.
    """
    counters = (ctypes.c_int64 * 2)()
    if _OPENMP is not None and not _POOL.forked:
        shared = _Shared(jobs, n, ctypes.addressof(counters))
        _OPENMP(member, ctypes.byref(shared), threads, 0)
        return
    ready: SimpleQueue[None] = SimpleQueue()
    _POOL.start(threads - 1)
    for _ in range(threads - 1):
        _POOL.tickets.put((run, jobs, n, counters, ready, keep))
    # A thread that wakes late finds no piece left and is not waited for. One still at work signals when it is done.
    while run(jobs, n, counters) < pieces:
        ready.get()


def _serve(tickets: SimpleQueue[tuple[Any, ...]]) -> None:
    """Take tickets for ever."""
    while True:
        run, jobs, n, counters, ready, keep = tickets.get()
        run(jobs, n, counters)
        ready.put(None)
        del run, jobs, n, counters, ready, keep  # let go of the tensors before waiting

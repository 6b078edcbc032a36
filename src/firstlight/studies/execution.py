"""Trials side by side on the cores there are; a worker that dies costs its own trial and no other.

``compare`` hands in the work and takes results as they finish. Workers are processes of loky; ``workers=0`` runs
everything in the caller's process.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from pickle import PicklingError

import loky
import torch
from loky.process_executor import BrokenProcessPool, TerminatedWorkerError
from torch import nn

from ..errors import FirstlightError, ModelError
from ..plans import Rules
from .design import Recipe
from .interrupts import held
from .records import Result
from .task_files import open_task
from .tasks import Task
from .training import Work, failed, run_trial

_LISTEN = 0.1  # seconds after which a wait looks for an interrupt
Build = Callable[[], nn.Module]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all trials of a stage share: where the task lies, how to build the model, how to train it."""

    task: Path
    build: Build
    recipe: Recipe
    rules: Rules | None


def available_workers() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(works: Sequence[Work], bench: Bench, workers: int) -> Iterator[Result]:
    """Every trial's result, as it finishes. Closing the iterator early stops the workers."""
    if workers == 0:
        yield from _run_here(works, bench)
        return
    waiting = list(reversed(works))
    suspects: list[Work] = []
    while waiting:
        yield from _run_pooled(waiting, suspects, bench, min(workers, len(waiting)))
    # A worker died under one of these; alone in a process of its own, each shows whether it is the one.
    for work in suspects:
        dead: list[Work] = []
        yield from _run_pooled([work], dead, bench, 1)
        if dead:
            yield failed(work.trial, "the worker process died twice under this trial (out of memory, or killed)")


def _run_pooled(waiting: list[Work], suspects: list[Work], bench: Bench, workers: int) -> Iterator[Result]:
    """Results from one pool, taking work off the end of ``waiting``.

    Ends when nothing is left, or when a worker dies: what was under way then goes to ``suspects``, the rest is still in
    ``waiting`` for another pool.
    """
    running: dict[Future[Result], Work] = {}
    with held() as interrupts, _pool(workers) as pool:
        while waiting or running:
            interrupts.check()
            # Two for each worker: enough to keep them busy, few enough to know who was there when one dies.
            try:
                while waiting and len(running) < 2 * workers:
                    running[pool.submit(_work, waiting[-1], bench)] = waiting[-1]
                    waiting.pop()
            except BrokenProcessPool:
                suspects.extend(running.values())
                return
            done, _ = wait(running, _LISTEN, FIRST_COMPLETED)
            for future in done:
                if isinstance(future.exception(), BrokenProcessPool):
                    _refuse_unsendable(future.exception())
                    suspects.extend(running.values())
                    return
                yield _outcome(future, running.pop(future))


def _outcome(future: Future[Result], work: Work) -> Result:
    """What the worker sent back; what could not be sent back is a failed trial, as in ``run_trial``."""
    error = future.exception()
    _refuse_unsendable(error)
    if isinstance(error, FirstlightError):
        raise error
    return future.result() if error is None else failed(work.trial, repr(error))


def _refuse_unsendable(error: BaseException | None) -> None:
    """A model that cannot get to a worker is the question's fault, not a trial's.

    Where the pool breaks although no worker died, the task could not be read there.
    """
    died = isinstance(error, TerminatedWorkerError)
    if isinstance(error, PicklingError) or (isinstance(error, BrokenProcessPool) and not died):
        last = str(error.__cause__ or error).strip().strip("'\"\n").splitlines()[-1]
        raise ModelError(
            f"the model cannot be sent to a worker process ({last}): define it at the top of a module that can be "
            "imported, or in the notebook itself, and let it hold nothing that is tied to this process (a lock, an "
            "open file); or train in this process with workers=0 (--workers 0)"
        ) from error


@contextmanager
def _pool(workers: int) -> Iterator[loky.ProcessPoolExecutor]:
    pool = loky.ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(os.getpid(),))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _start_worker(parent: int) -> None:
    """Settle a worker: one thread, no denormals, deaf to Ctrl-C (the parent decides), gone when the parent is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _work(work: Work, bench: Bench) -> Result:
    return run_trial(work, _task(bench.task), bench.build, bench.recipe, bench.rules)


@lru_cache(maxsize=4)
def _task(folder: Path) -> Task:
    """A worker maps each task once."""
    return open_task(folder)


def _run_here(works: Sequence[Work], bench: Bench) -> Iterator[Result]:
    task = open_task(bench.task)
    for work in works:
        with _one_thread_without_denormals():
            result = run_trial(work, task, bench.build, bench.recipe, bench.rules)
        yield result


@contextmanager
def _one_thread_without_denormals() -> Iterator[None]:
    threads, flushing = torch.get_num_threads(), _flushes_denormals()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushing)


def _flushes_denormals() -> bool:
    return bool(torch.tensor([1e-310], dtype=torch.float64).mul(0.5).item() == 0.0)

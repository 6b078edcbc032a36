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

import loky
import torch
from loky.process_executor import BrokenProcessPool
from torch import nn

from ..plans import Rules
from .design import Recipe
from .records import Result
from .tasks import Task, open_task
from .training import Work, failed, run_trial

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
    if workers == 0 or len(works) <= 1:
        yield from _run_here(works, bench)
        return
    suspects = yield from _run_pooled(works, bench, min(workers, len(works)))
    # A worker died under one of these; alone in a process of its own, each shows whether it is the one.
    for work in suspects:
        again = yield from _run_pooled([work], bench, 1)
        if again:
            yield failed(work.trial, "the worker process died twice under this trial (out of memory, or killed)")


def _run_pooled(works: Sequence[Work], bench: Bench, workers: int) -> Iterator[Result]:
    """Results from a pool; returns the trials that were under way or waiting when a worker died."""
    with _pool(workers) as pool:
        waiting = list(reversed(works))
        running: dict[Future[Result], Work] = {}
        while waiting or running:
            # Two for each worker: enough to keep them busy, few enough to know who was there when one dies.
            while waiting and len(running) < 2 * workers:
                work = waiting.pop()
                running[pool.submit(_work, work, bench)] = work
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                work = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    lost = [work, *running.values()]
                    break
            else:
                continue
            break
        else:
            return []
    if not waiting:
        return lost
    rest = yield from _run_pooled(list(reversed(waiting)), bench, workers)
    return [*lost, *rest]


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

"""Ctrl-C while a pool of processes works: noted when it comes, raised where it is safe.

A ``KeyboardInterrupt`` can fall into a callback of the pool's that swallows it, or leave a worker half started. While
``held`` lasts, it waits for the next ``check``, of which the last is at its end.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """What came in while interrupts are held."""

    def __init__(self) -> None:
        """None so far."""
        self._came = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler: the first interrupt waits, a second one does not."""
        if self._came:
            signal.default_int_handler(number, frame)
        self._came = True

    def check(self) -> None:
        """KeyboardInterrupt, if one came."""
        if self._came:
            raise KeyboardInterrupt


@contextmanager
def held() -> Iterator[Interrupts]:
    """Hold the interrupts that would raise ``KeyboardInterrupt``; other handlers, and other threads, are left alone."""
    interrupts = Interrupts()
    taken = []
    if threading.current_thread() is threading.main_thread():
        numbers = (signal.SIGINT, signal.SIGTERM)
        taken = [n for n in numbers if signal.getsignal(n) is signal.default_int_handler]
    for number in taken:
        signal.signal(number, interrupts.note)
    try:
        yield interrupts
    finally:
        for number in taken:
            signal.signal(number, signal.default_int_handler)
    interrupts.check()

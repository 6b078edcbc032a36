"""Writes that a failure or an interrupt half-way undoes: the model has its old weights, or all of its new ones.

``load_`` writes within ``undoing``. By then everything that can be wrong has been looked at; what is left is Ctrl-C and
the unforeseen.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import torch

# Old values are kept up to this many bytes. A larger model has no room to spare: there an interrupt waits for the end.
MOST_KEPT = 256 * 2**20


@contextmanager
def undoing(tensors: Sequence[torch.Tensor], on: bool) -> Iterator[None]:
    """Writes to ``tensors`` within the block: where it does not end well, they hold what they held.

    While it runs, Ctrl-C waits. Of tensors of more than ``MOST_KEPT`` bytes no copy is kept: an interrupt is then
    raised once everything is written.

    Args:
        tensors: all that the block writes.
        on: ``False`` does nothing.
    """
    if not on:
        yield
        return
    small = sum(t.nbytes for t in tensors) <= MOST_KEPT
    old = [t.detach().clone() for t in tensors] if small else []
    with _interrupts_wait() as waiting:
        try:
            yield
            if waiting and old:
                raise KeyboardInterrupt
        except BaseException:
            with torch.no_grad():
                for tensor, values in zip(tensors, old, strict=bool(old)):
                    tensor.copy_(values)
            raise
        if waiting:
            raise KeyboardInterrupt


@contextmanager
def _interrupts_wait() -> Iterator[list[int]]:
    """Hold SIGINT back; the list says whether one came. Only the main thread is ever interrupted."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread() or not callable(signal.getsignal(signal.SIGINT)):
        yield came
        return

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's form
        came.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)

"""Small values of one shape wait for one another and are looked at together: a call of torch costs as much as its work.

``observing`` and ``weighing`` hand in tensors as they come, and tell how they are looked at. Large ones do not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch

# The bytes that wait in one place: what a core's cache holds; a GPU's calls are worth more.
ROOM, ROOM_ON_GPU = 1 << 20, 1 << 25
_MOST = 64

Look = TypeVar("Look")
Statistics = TypeVar("Statistics")


@dataclass(slots=True)
class _Waiting(Generic[Look, Statistics]):
    """Copies of values, what else is known of them, and where their statistics go."""

    values: torch.Tensor
    places: tuple[torch.Tensor, ...]
    looks: list[Look] = field(default_factory=list)
    puts: list[Callable[[Statistics], None]] = field(default_factory=list)


class Together(Generic[Look, Statistics]):
    """Takes values one by one and their statistics by the batch; ``settle`` takes those of the last."""

    def __init__(self, measure: Callable[[torch.Tensor, Sequence[Look], bool], Sequence[Statistics]]) -> None:
        """None waits yet; ``measure`` gives the statistics of values (values, …), and may write over them if told."""
        self._measure = measure
        self._waiting: dict[tuple[torch.Size, torch.dtype, torch.device], _Waiting[Look, Statistics]] = {}

    def add(self, x: torch.Tensor, look: Look, put: Callable[[Statistics], None]) -> None:
        """Look at a value now or soon; it may change behind this call. ``put`` is told the statistics."""
        size = x.numel() * x.element_size()
        many = min(_MOST, (ROOM_ON_GPU if x.is_cuda else ROOM) // max(size, 1))
        if many < 2 or not size or type(x) is not torch.Tensor or _is_aside(x):
            put(self._measure(x[None], (look,), False)[0])
            return
        key = (x.shape, x.dtype, x.device)
        waiting = self._waiting.get(key)
        if waiting is None:
            with torch.inference_mode(False):
                values = torch.empty((many, *x.shape), dtype=x.dtype, device=x.device)
            waiting = self._waiting[key] = _Waiting(values, values.unbind())
        waiting.places[len(waiting.looks)].copy_(x)
        waiting.looks.append(look)
        waiting.puts.append(put)
        if len(waiting.looks) == len(waiting.places):
            self._read(waiting)

    def settle(self) -> None:
        """Look at all that still wait."""
        for waiting in self._waiting.values():
            if waiting.looks:
                self._read(waiting)
        self._waiting.clear()

    def _read(self, waiting: _Waiting[Look, Statistics]) -> None:
        found = self._measure(waiting.values[: len(waiting.looks)], waiting.looks, True)
        for put, statistics in zip(waiting.puts, found, strict=True):
            put(statistics)
        waiting.looks.clear()
        waiting.puts.clear()


def _is_aside(x: torch.Tensor) -> bool:
    """Whether a GPU works on it beside the stream in which those that wait are looked at."""
    return x.is_cuda and torch.cuda.current_stream(x.device) != torch.cuda.default_stream(x.device)

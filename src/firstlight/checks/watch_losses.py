"""The losses of a training of any length in bounded memory, and what a constant prediction would reach.

The first losses stay as they are; of the rest, neighbours are averaged whenever there are too many. A loss on a device
waits there, so that no step waits for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from .curves import Curve

KEPT, RAW = 2048, 64
WAITING, FRESH = 50, 4096  # losses that wait on their device; that wait to be put in their places


@dataclass(slots=True)
class Losses:
    """Losses by step; those of one step (accumulated gradients) are averaged. ``size`` is that of the first."""

    steps: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    stride: int = 1
    open_step: int = 0
    open_values: list[float] = field(default_factory=list)
    bunch: list[tuple[int, float]] = field(default_factory=list)
    validation: list[tuple[float, float]] = field(default_factory=list)
    waiting: list[tuple[int, torch.Tensor]] = field(default_factory=list)
    first_bad: tuple[int, float] | None = None
    size: float = math.nan
    latest: float = math.nan
    fresh: list[tuple[int, float]] = field(default_factory=list)

    def add(self, step: int, value: float) -> None:
        """One loss of a step; it is put in its place later, with others."""
        if self.latest != self.latest:
            self.size = abs(value)
        self.latest = value
        if not math.isfinite(value) and self.first_bad is None:
            self.first_bad = (step, value)
        self.fresh.append((step, value))
        if len(self.fresh) > FRESH:
            self._fold()

    def _fold(self) -> None:
        """Put the fresh losses in their places."""
        for step, value in self.fresh:
            if step != self.open_step:
                self._close()
                self.open_step = step
            self.open_values.append(value)
        self.fresh.clear()

    def hold(self, step: int, value: torch.Tensor) -> None:
        """One loss of a step that is still on its device."""
        self.waiting.append((step, value))

    def flush(self) -> None:
        """Fetch the losses that wait, in one transfer."""
        if self.waiting:
            numbers = torch.stack([v.float() for _, v in self.waiting]).tolist()
            steps = [s for s, _ in self.waiting]
            self.waiting.clear()
            for step, number in zip(steps, numbers, strict=True):
                self.add(step, number)

    def curve(self, trivial: float | None) -> Curve:
        """What there is so far."""
        self._fold()
        steps, values = [*self.steps], [*self.values]
        if self.bunch:
            steps.append(self.bunch[-1][0])
            values.append(sum(v for _, v in self.bunch) / len(self.bunch))
        if self.open_values:
            steps.append(self.open_step)
            values.append(sum(self.open_values) / len(self.open_values))
        validation = np.array(self.validation, dtype=np.float64).reshape(-1, 2)
        return Curve(np.array(steps, float), np.array(values, float), validation[:, 0], validation[:, 1], trivial)

    def _close(self) -> None:
        """The open step is complete: into the bunch, and the bunch into the list."""
        if not self.open_values:
            return
        values, self.open_values = self.open_values, []
        mean = values[0] if len(values) == 1 else sum(values) / len(values)
        if len(self.values) < RAW:
            self.steps.append(self.open_step)
            self.values.append(mean)
            return
        self.bunch.append((self.open_step, mean))
        if len(self.bunch) >= self.stride:
            self.steps.append(self.bunch[-1][0])
            self.values.append(sum(v for _, v in self.bunch) / len(self.bunch))
            self.bunch = []
        if len(self.values) >= KEPT:
            self._halve()

    def _halve(self) -> None:
        end = RAW + (len(self.values) - RAW) // 2 * 2
        tail, steps = self.values[RAW:end], self.steps[RAW:end]
        self.bunch = [(int(s), v) for s, v in zip(self.steps[end:], self.values[end:], strict=True)]
        self.values[RAW:] = [(a + b) / 2 for a, b in zip(tail[::2], tail[1::2], strict=True)]
        self.steps[RAW:] = steps[1::2]
        self.stride *= 2

    def state(self) -> dict[str, Any]:
        """As plain numbers."""
        self.flush()
        self._fold()
        return {
            "steps": [*self.steps],
            "values": [*self.values],
            "stride": self.stride,
            "open_step": self.open_step,
            "open_values": [*self.open_values],
            "bunch": [list(b) for b in self.bunch],
            "validation": [list(v) for v in self.validation],
            "first_bad": list(self.first_bad) if self.first_bad else None,
            "size": self.size,
            "latest": self.latest,
        }

    @classmethod
    def of(cls, state: dict[str, Any]) -> Losses:
        """What ``state`` gave."""
        bad = state["first_bad"]
        return cls(
            steps=[*state["steps"]],
            values=[*state["values"]],
            stride=state["stride"],
            open_step=state["open_step"],
            open_values=[*state["open_values"]],
            bunch=[(int(s), float(v)) for s, v in state["bunch"]],
            validation=[(float(s), float(v)) for s, v in state["validation"]],
            first_bad=(int(bad[0]), float(bad[1])) if bad else None,
            size=state["size"],
            latest=state["latest"],
        )

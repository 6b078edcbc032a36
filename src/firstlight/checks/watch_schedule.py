"""Which steps are measured: the first few, and then as many as a share of the time allows.

A measured step costs what it costs; k steps apart that is cost / (k · step). The schedule takes the k for which this,
with what rules and the steps in between take, is the budget. Every rank of a sharded model must come to the same k, so
what it is made of is agreed on first.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

EARLY = 6  # steps at the start that are all measured
RECENT = 9  # durations of which the median is taken
ALLOWANCE = 0.1  # seconds that may be spent beyond the budget in all, so that short runs are seen too
CHECKING = 0.003  # of the time for rules, once they have had as much beyond it
# Seconds of each step for hooks and the loss, and what a sample costs for each second that it takes, for it leaves the
# processor's caches cold: measured by ``benchmarks/watch.py parts``, since no clock of the watch's own sees them.
PASSING, COLD = 14e-6, 1.2
LEAST = 0.2  # of the budget is for samples, also where steps are so short that hooks take it all
DENSE = 20  # while they last, each so-many-th part of the steps so far is measured

# What measuring costs is processor time, which other processes do not add to; where that clock is fine enough.
spent = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-5 else time.perf_counter


@dataclass(slots=True)
class Schedule:
    """The steps to measure.

    Args:
        every: measure each k-th step; ``None`` to keep to the budget.
        budget: the share of the time that watching may take, on average: samples, rules, and hooks on all steps.
    """

    every: int | None
    budget: float
    next: int = 1
    allowance: float = ALLOWANCE
    checks: float = ALLOWANCE
    steps: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    costs: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def due(self, step: int) -> bool:
        """Whether this step is to be measured."""
        return step >= self.next

    def cost(self) -> tuple[float, float]:
        """What measuring a step costs, in seconds and in steps; zeros where nothing is known yet."""
        if not self.steps or not self.costs or median(self.steps) <= 0:
            return 0.0, 0.0
        return fmean(self.costs), fmean(self.costs) / median(self.steps)

    def measured(self, step: int, cost: tuple[float, float]) -> None:
        """A step was measured at this cost: choose the next one."""
        seconds, share = cost
        passing = PASSING * share / seconds if seconds > 0 else 0.0
        within = max(1, math.ceil(COLD * share / max(self.budget - CHECKING - passing, LEAST * self.budget)))
        dense = max(1, step // DENSE)
        if self.every is not None:
            self.next = step + self.every
        elif step < EARLY:
            self.next = step + 1
        elif dense < within and self.allowance > 0:
            self.allowance -= seconds
            self.next = step + dense
        else:
            self.next = step + within

    def checked(self, step: int, cost: float) -> int:
        """Rules took so many seconds at a step: the first one at which they may be asked again."""
        self.checks -= cost
        if self.every is not None or self.checks > 0 or not self.steps:
            return 0
        return step + math.ceil(cost / (CHECKING * median(self.steps)))

    def state(self) -> dict[str, Any]:
        """As plain numbers."""
        return {
            "next": self.next,
            "allowance": self.allowance,
            "checks": self.checks,
            "steps": [*self.steps],
            "costs": [*self.costs],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        self.next, self.allowance, self.checks = int(state["next"]), float(state["allowance"]), float(state["checks"])
        self.steps = deque(state["steps"], maxlen=RECENT)
        self.costs = deque(state["costs"], maxlen=RECENT)

"""A new head: the output layer of another task starts anew, by the plan; its bias at the class prior on request.

With p the classes' shares in the training data, a bias of log p makes the untrained head predict them whatever it
sees, so that the first steps need not learn it (Lin et al. 2017, Focal Loss, arXiv 1708.02002, section 3.3, for the
binary case).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from ...errors import ArgumentError
from ...fields import Key
from ...initializers.base import Initializer
from ...initializers.draws import Built, Draw
from ...initializers.layout import Layout
from .base import Adaptation, Answer, Case, Fresh

REFERENCE = "Lin et al. 2017, arXiv 1708.02002"


@final
@dataclass(frozen=True, slots=True)
class ClassPrior(Initializer):
    """A head's bias at the logarithms of the classes' shares: b_i = log(p_i / Σ p).

    Args:
        shares: for each class its share or count, positive; two classes' single logit (a bias of one element) takes
            the pair (negative, positive) and gets log(p₁ / p₀).

    >>> ClassPrior((3.0, 1.0)).draw(Layout.vector((2,))).build(Key(0, 0), torch.device("cpu"))
    tensor([-0.2877, -1.3863])
    """

    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.shares) < 2 or not all(math.isfinite(s) and s > 0 for s in self.shares):
            raise ArgumentError(f"a class prior {self.shares!r} should be a positive share for each class")

    def draw(self, layout: Layout) -> Draw:
        """The logarithms; ArgumentError where their number is not the bias's."""
        total = sum(self.shares)
        logs = [math.log(s / total) for s in self.shares]
        if layout.shape == (1,) and len(logs) == 2:
            logs = [logs[1] - logs[0]]
        if layout.shape != (len(logs),):
            raise ArgumentError(f"a class prior of {len(logs)} shares does not fit a bias of shape {layout.shape}")
        values = torch.tensor(logs, dtype=torch.float64).float()

        def build(key: Key, device: torch.device) -> torch.Tensor:  # noqa: ARG001 - given, not drawn
            return values.to(device)

        mean = sum(logs) / len(logs)
        return Built(build, mean, math.sqrt(sum((v - mean) ** 2 for v in logs) / len(logs)), random=False)


def prior_of(option: object) -> ClassPrior | None:
    """The class prior that the option of ``adapt={"head": ...}`` asks for; ``None`` for the plan's own bias."""
    if option is True:
        return None
    if isinstance(option, torch.Tensor):
        option = option.tolist()
    if isinstance(option, Sequence) and not isinstance(option, str):
        return ClassPrior(tuple(float(v) for v in option))
    raise ArgumentError(f"adapt={{'head': {option!r}}}: give True, or the classes' shares for the bias")


def adapt_head(case: Case) -> Answer:
    """The head of a model with another number of outputs starts anew."""
    prior_of(case.option)
    inside = case.model.head and case.target.parameter.module == case.model.head
    if not inside or len(case.given) != len(case.wanted):
        return None
    axis = case.target.parameter.layout.out_axis or 0
    if axis not in case.differing:
        return None
    return Fresh(f"a new head: {case.wanted[axis]} outputs, the source has {case.given[axis]}")


HEAD = Adaptation("head", adapt_head, REFERENCE)

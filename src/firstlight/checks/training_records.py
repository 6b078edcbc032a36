"""What the watch knows of a training: samples of gradients and updates, layer by layer, and the loss so far.

``watch_meter`` measures samples, ``watch_losses`` keeps the losses; ``training`` makes findings of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .curves import Curve, Values

NDBool = NDArray[np.bool_]

FIRST, LAST = 16, 64  # samples that are kept: of the start, and of now


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One step, measured. Arrays have one value for each parameter, NaN where there is none.

    Args:
        step: which; the first is 1.
        gradient: rms of the gradient, as the optimizer gets it (unscaled).
        weight: rms of the parameter before the step.
        update: rms of what the step added.
        dead: the share of units whose gradient was exactly zero in the last few samples, this one among them.
        rate: the learning rate of the parameter's group.
        norm: the norm of the whole gradient.
        held: whether the parameter had a gradient.
        overshoot: g(t+1)·u / |g(t)·u| along the update u: -1 where the step changed nothing of the slope, 0 where it
            reached the minimum along its way, 1 where it went as far beyond. NaN until the next step has shown it.
        slope: g·u, what the step was to change of the loss: below zero where it goes downhill.
    """

    step: int
    gradient: Values
    weight: Values
    update: Values
    dead: Values
    rate: Values
    norm: float
    held: NDBool
    overshoot: float = float("nan")
    slope: float = float("nan")

    @property
    def ratio(self) -> Values:
        """update / weight, NaN where the weight is zero."""
        with np.errstate(invalid="ignore"):
            return np.divide(self.update, self.weight, out=np.full_like(self.update, np.nan), where=self.weight > 0)

    def state(self) -> dict[str, Any]:
        """As plain numbers and lists."""
        fields = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Sample:
        """What ``state`` gave."""
        arrays = {k: np.array(v, np.bool_ if k == "held" else np.float64) for k, v in state.items() if type(v) is list}
        return cls(**{**state, **arrays})


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """The trained parameters: names, how many values, which are weights (matrices), and their units (0: none)."""

    names: tuple[str, ...]
    sizes: Values
    weights: NDBool
    units: Values


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A training as far as it has come.

    Args:
        layers: its parameters.
        samples: the first ``FIRST`` and the last ``LAST``.
        curve: the loss.
        sharpness: the largest eigenvalue of the Hessian at the first step; ``None`` where it was not measured.
        momentum: of plain SGD; ``None`` for another optimizer.
        suspect: codes of warnings and errors that the first step's probe found; ``None`` without a probe.
        unzeroed: steps in a row, from the first on, whose backward found the gradient of the step before.
    """

    layers: Layers
    samples: tuple[Sample, ...]
    curve: Curve
    sharpness: float | None = None
    momentum: float | None = None
    suspect: tuple[str, ...] | None = None
    unzeroed: int = 0


def at_zero(training: Training) -> NDBool:
    """Which parameters start at zero or next to it, as the last weight of a branch or of a policy may.

    Any update is large beside them. Bound: a fiftieth of the usual weight (policies' heads start at a hundredth).
    """
    weight = training.samples[0].weight
    return np.asarray(weight <= 0.02 * np.nanmedian(weight[training.layers.weights]), dtype=np.bool_)

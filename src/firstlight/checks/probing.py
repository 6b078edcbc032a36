"""``probe``: measure how the signal travels, and say what is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, final

import torch
from torch import nn

from ..plans import Plan
from ..probes.comparing import compare
from ..probes.measuring import measure
from ..probes.records import Light, LossFunction
from .diagnosis import diagnose


@final
class Probe:
    """How a signal travels through a model at step 0: ``fl.probe(model, inputs)``, ``fl.probe.compare({...})``.

    ``fl.probe(model, inputs, targets, loss_fn)`` measures one model and names what is wrong; ``fl.probe.compare`` lays
    several records, or several models on one batch, over one another.
    """

    compare = staticmethod(compare)

    def __call__(
        self,
        model: nn.Module,
        inputs: Any,
        targets: Any = None,
        loss_fn: LossFunction | None = None,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        lr: float | None = None,
        jacobian: bool = False,
        max_samples: int = 256,
        max_positions: int = 256,
        seed: int = 0,
        plan: Plan | None = None,
    ) -> Light:
        """Measure how the signal travels through a model at step 0, forward and backward, and name what is wrong.

        One forward and one backward pass in the mode the model is in; the model comes back as it was, bit for bit, also
        when something raises.

        Args:
            model: any module with parameters.
            inputs: one batch, as the model is called: a tensor, a tuple of positional or a dict of keyword arguments.
            targets: what the loss compares with.
            loss_fn: called with (outputs, targets), gives a scalar. Without it: the output's own ``loss``,
                cross-entropy for whole numbers, squared error for real ones, or without targets a random projection
                of the outputs.
            optimizer: the one that will train the model: its first update is set beside each weight, and parameters
                that it lacks are found.
            lr: the same for plain SGD of this learning rate.
            jacobian: whether to measure the spectrum of ∂ output / ∂ input, which costs more than the rest.
            max_samples, max_positions: how much of each value is looked at.
            seed: of the random state in which the forward runs.
            plan: what the parameters will be: the signal is then predicted from it, and nothing is run. A model on
                the meta device is predicted in any case.

        Returns:
            What was measured, with ``findings``: named faults, each with place, evidence, cause and fix.

        Raises:
            ModelError: the model has no parameters, or its forward or backward raised.
            ArgumentError: inputs, targets, the loss or an option do not fit.
            DataError: inputs or targets hold NaN.

        >>> model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        >>> print(probe(model, torch.randn(64, 16), torch.arange(64) % 4).findings)
        nothing found: the signal gets through
        """
        light = measure(
            model,
            inputs,
            targets,
            loss_fn,
            optimizer=optimizer,
            lr=lr,
            jacobian=jacobian,
            max_samples=max_samples,
            max_positions=max_positions,
            seed=seed,
            plan=plan,
        )
        return replace(light, findings=diagnose(light))


probe = Probe()

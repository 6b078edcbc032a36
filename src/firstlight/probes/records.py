"""What a probe measured, as plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signal:
    """Second moments at every weight layer in execution order, at step 0 on one batch.

    ``activations[i]`` is the mean square of layer ``i``'s output (before its nonlinearity), ``gradients[i]`` the
    mean square of the loss's gradient to that output.
    """

    layers: tuple[str, ...]
    activations: tuple[float, ...]
    gradients: tuple[float, ...]

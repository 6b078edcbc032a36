"""What the signal at step 0 says in words: does it get through, forward and backward.

``analysis`` attaches a reading to each arm, and the page sets it beside what training then did. The thresholds are
those of a first calibration on 23 healthy and 37 faulty runs: a forward chain that changes by more than a thousand,
or a layer whose gradients average below 1e-7 where Adam's eps is 1e-8.
"""

from __future__ import annotations

import math

from .records import SignalSummary

_FORWARD = 1e3
_SMALL_GRADIENT = 1e-7


def read_signal(signal: SignalSummary) -> str:
    """One or two sentences on what is wrong, or nothing where the signal gets through.

    Second moments are compared, so a factor of 1e3 in amplitude is 1e6 here.
    """
    if len(signal.layers) < 2:
        return ""
    return " ".join(filter(None, (_forward(signal), _backward(signal))))


def _forward(signal: SignalSummary) -> str:
    first, last = signal.activations[0], signal.activations[-1]
    depth = len(signal.layers) - 1
    if not math.isfinite(last):
        return "Forward, the activations overflow before the last layer."
    if last == 0 or first == 0:
        return "Forward, the signal is exactly zero at the last layer: outputs do not depend on inputs."
    ratio = math.sqrt(last / first)
    per_layer = (last / first) ** (1 / depth)
    if ratio < 1 / _FORWARD:
        return (
            f"Forward, activations shrink {_times(1 / ratio)} from the first to the last layer "
            f"(second moment × {per_layer:.2g} a layer): outputs barely depend on inputs."
        )
    if ratio > _FORWARD:
        return (
            f"Forward, activations grow {_times(ratio)} from the first to the last layer "
            f"(second moment × {per_layer:.2g} a layer)."
        )
    return ""


def _backward(signal: SignalSummary) -> str:
    first, last = signal.gradients[0], signal.gradients[-1]
    smallest = min(signal.gradients)
    if not all(math.isfinite(g) for g in signal.gradients):
        return "Backward, gradients overflow."
    if first == 0 and last > 0:
        return "Backward, no gradient reaches the first layer at all."
    if last > 0 and math.sqrt(first / last) < 1 / _FORWARD:
        return (
            f"Backward, the gradient is {_times(math.sqrt(last / first))} smaller at the first layer than at the last: "
            "early layers hardly learn."
        )
    if last > 0 and math.sqrt(first / last) > _FORWARD:
        return f"Backward, the gradient grows {_times(math.sqrt(first / last))} on its way to the first layer."
    if math.sqrt(smallest) < _SMALL_GRADIENT:
        return f"Backward, gradients are as small as {math.sqrt(smallest):.0e}: updates are too small to matter."
    return ""


def _times(factor: float) -> str:
    """A factor a person can take in: 4,100-fold, 10¹²-fold."""
    if factor < 1e5:
        return f"{factor:,.2g}-fold" if factor < 100 else f"{round(factor, -int(math.log10(factor)) + 1):,.0f}-fold"
    exponent = str(round(math.log10(factor))).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"about 10{exponent}-fold"

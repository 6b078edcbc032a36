"""What is said of a weight's scale, and what mends it: the words and the cure that several families share."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..plans import Plan
from ..probes.records import Weight
from .looking import Look
from .repairs import TO_TANH, replanned


def described(weight: Weight | None) -> str:
    """A weight's scale as σ² · fan_in, and whose rule that is."""
    if weight is None or weight.fan_in <= 0:
        return "of a scale that does not fit"
    own = weight.gain
    met = f" before {weight.meets}" if weight.meets else ""
    rules = ((1 / 3, "torch's default"), (2.0, "He's rule"), (1.0, "LeCun's rule"))
    known = next((name for value, name in rules if abs(own / value - 1) < 0.1), "")
    glorot = 2 * weight.fan_in / (weight.fan_in + weight.fan_out)
    if not known and abs(own / glorot - 1) < 0.1:
        known = "Glorot's rule"
    return f"its weights have σ² · fan_in = {own:.3g}{f' ({known})' if known else ''}{met}"


def cure(look: Look, weight: Weight | None, names: Collection[str]) -> tuple[str, Callable[[], Plan] | str]:
    """The remedy for weights of the wrong scale, and what carries it out.

    No scale mends a stack of sigmoids: their common ½ is the same for all samples and outweighs what differs, and
    their slope is at most ¼.
    """
    sigmoids = sum(p.op == "sigmoid" for p in look.trunk if look.head is None or p.index < look.head.index)
    if weight is not None and weight.meets == "sigmoid" and sigmoids > 1:
        return "use tanh in place of the sigmoid: σ(2z) = (1 + tanh z)/2, without the common ½", TO_TANH
    return f"draw the weights for what they meet: {advice(weight)}", replanned(look.light, names)


def advice(weight: Weight | None) -> str:
    """What to draw a weight from."""
    met = "" if weight is None else weight.meets
    named = {"relu": "He's rule, σ² · fan_in = 2", "selu": "LeCun's rule, σ² · fan_in = 1"}
    return f"fl.init_(model, 'auto', inputs=x){f' or {named[met]}' if met in named else ''}"

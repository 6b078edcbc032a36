"""Inputs and targets out of scale."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..probes.records import Kind, Place
from .looking import REGRESSIONS, TABLES, Look, rms
from .records import Evidence, Finding, Severity

LARGE, HUGE = 10.0, 100.0
SMALL, TINY = 1e-2, 1e-4
TARGETS, FAR_TARGETS = 30.0, 1e3
_LECUN = "LeCun et al. 1998, Efficient BackProp: zero mean, unit variance"
# A column that is constant but for rounding stays as it is.
_STANDARDIZE = """mean, std, largest = {name}.mean(0), {name}.std(0), {name}.abs().amax(0)
{name} = ({name} - mean) / torch.where(std > 1e-5 * largest, std, 1.0)"""


def rules(look: Look) -> Iterator[Finding]:
    """Findings about the batch."""
    yield from _inputs(look)
    yield from _targets(look)


def _inputs(look: Look) -> Iterator[Finding]:
    """The scale of float inputs that reach a weight as they are.

    A first layer made for unit inputs gives arguments of their rms, and a gradient of their size. Bounds: an rms of 10
    or 1/100 is a warning (a tanh is then saturated nearly everywhere, its gradient 10 times too large for the same
    learning rate), 100 or 10⁻⁴ an error. What a norm meets first may be of any scale.
    """
    for place in look.light.of(Kind.INPUT):
        seen = place.forward
        if seen is None or seen.second == 0 or _normalized_first(look, place):
            continue
        size = rms(place)
        if SMALL <= size <= LARGE or not _arrives(look, size):
            continue
        offset = f", mean {seen.mean:.3g}" if abs(seen.mean) > seen.std else ""
        yield Finding(
            "unnormalized-inputs",
            Severity.ERROR if size > HUGE or size < TINY else Severity.WARNING,
            place.op if place.op.startswith("input") else "input",
            0.0,
            (
                Evidence("rms of the inputs", size, LARGE if size > 1 else SMALL, 1.0, _LECUN),
                Evidence("largest value", seen.largest, HUGE, None, ""),
            ),
            f"inputs reach the first layer with rms {size:.3g}{offset}; its weights are made for about 1",
            "subtract each feature's mean and divide by its standard deviation, from the training data",
            _STANDARDIZE.format(name="inputs"),
        )
        return


def _normalized_first(look: Look, place: Place) -> bool:
    """Whether a norm is the first thing on the trunk behind the inputs."""
    after = next((p for p in look.trunk if p.index > place.index), None)
    return after is not None and after.kind is Kind.NORM


def _arrives(look: Look, size: float) -> bool:
    """Whether the inputs reach the first weight at about this size: the model may scale them itself."""
    deepest = 1
    for place in look.light.of(Kind.WEIGHT):
        weight = look.weight_of(place)
        if weight is not None and weight.role in TABLES:
            deepest = 2  # looked up beside columns that are read as they are
            continue
        if weight is None or place.forward is None or weight.second == 0 or place.depth > deepest:
            continue
        if weight.fan_in <= 0 or "recurrent" in weight.role:
            return True
        # What varies with the sample came from the inputs: a bias does not.
        varying = place.forward.second * (place.forward.sample_spread or 0.0)
        expected = weight.fan_in * weight.second * size**2
        return place.forward.second > 1e-3 * expected if size > 1 else varying < 1e3 * expected
    return True


def _targets(look: Look) -> Iterator[Finding]:
    """The scale of a regression's targets.

    With squared error the gradient is twice the residual, so targets of rms T make it T times larger than outputs of
    unit scale would, and the outputs must travel as far. Bounds: an rms of 30 (warning), 1000 (error).
    """
    loss = look.light.loss
    if loss is None or loss.targets is None or loss.predictions is None or loss.op not in (*REGRESSIONS, ""):
        return
    targets = loss.targets
    size = math.hypot(targets.mean, targets.std)
    own = math.hypot(loss.predictions.mean, loss.predictions.std)
    if size <= TARGETS or size < 3 * own:
        return
    yield Finding(
        "unscaled-targets",
        Severity.ERROR if size > FAR_TARGETS else Severity.WARNING,
        "targets",
        1.0,
        (
            Evidence("rms of the targets", size, TARGETS, 1.0, _LECUN),
            Evidence("mean of the targets", targets.mean, TARGETS, 0.0, ""),
            Evidence("rms of the outputs", own, TARGETS, 1.0, ""),
        ),
        f"the targets have mean {targets.mean:.3g} and standard deviation {targets.std:.3g}, the outputs start at "
        f"rms {own:.3g}",
        "train on (targets − mean) / std and undo it when predicting",
        _STANDARDIZE.format(name="targets"),
    )

"""What a probe measured, as plain frozen data: the parts of a ``Light``, which stands in ``records``.

A number that could not be measured is ``None``, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Signal:
    """Second moments at every weight layer in execution order, at step 0 on one batch.

    ``activations[i]`` is the mean square of layer ``i``'s output (before its nonlinearity), ``gradients[i]`` the
    mean square of the loss's gradient to that output.
    """

    layers: tuple[str, ...]
    activations: tuple[float, ...]
    gradients: tuple[float, ...]


class Kind(StrEnum):
    """What is measured at a place."""

    INPUT = "input"
    WEIGHT = "weight"  # a map by a weight: linear, conv, embedding, recurrent, x @ w
    ACTIVATION = "activation"
    NORM = "norm"
    SOFTMAX = "softmax"
    ATTENTION = "attention"  # a fused attention: its output
    JOIN = "join"  # where a residual branch is added to its stream
    POOL = "pool"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Forward:
    """The values at a place. Rows are (sample, position) pairs, units the channels or features.

    Args:
        mean, second: E[x] and E[x²] over what was looked at.
        largest: max |x|.
        zeros: the share of exact zeros.
        dead: the share of units that are exactly zero in every row looked at.
        constant: the share of units that have the same value in every row; ``None`` with one row.
        rows, units: how many were looked at, after ``max_samples`` and ``max_positions``.
        nonfinite: how many values are NaN or infinite, of all ``count`` values.
        count: how many values the whole tensor has.
        saturated: the share of values where |φ'| is below 5 % of its maximum; ``None`` where φ does not saturate.
        entropy: of a softmax, H / log T, the mean over its rows; ``None`` elsewhere.
        logits: the standard deviation of its argument over a row, where the entropy is below ½; ``None`` elsewhere.
        effective_rank: (tr G)² / tr G² of the Gram matrix G of up to 64 rows: 1 where all rows point one way.
        ranked: of how many rows that is (its upper bound, with the units).
        cosine: the mean cosine between two samples; ``None`` with one sample.
        position_cosine: the mean cosine between two positions of one sample; ``None`` with one position.
        sample_spread: the mean over units of Var over samples / E[x²]: 0 where the value does not depend on the input.
    """

    mean: float
    second: float
    largest: float
    zeros: float
    dead: float
    constant: float | None
    rows: int
    units: int
    nonfinite: int
    count: int
    saturated: float | None = None
    entropy: float | None = None
    logits: float | None = None
    effective_rank: float | None = None
    ranked: int = 0
    cosine: float | None = None
    position_cosine: float | None = None
    sample_spread: float | None = None

    @property
    def std(self) -> float:
        """√(E[x²] − E[x]²)."""
        return float(max(self.second - self.mean**2, 0.0) ** 0.5)


@dataclass(frozen=True, slots=True)
class Backward:
    """The loss's gradient to the value at a place: over all of it.

    Args:
        mean, second, mean_abs: E[g], E[g²], E[|g|].
        zeros: the share of exact zeros.
        nonfinite, count: NaN or infinite values, of how many.
    """

    mean: float
    second: float
    mean_abs: float
    zeros: float
    nonfinite: int
    count: int

    @property
    def squared_norm(self) -> float:
        """Σ g²."""
        return self.second * self.count


@dataclass(frozen=True, slots=True)
class Place:
    """One call of the forward, in execution order.

    Args:
        index: its number among the places.
        module: the path of the module it ran in, canonical; ``module_type`` that module's class.
        op, kind: the call's plain name (``linear``, ``relu``), and what kind it is.
        parameters: the canonical names of the parameters it read, the weight first.
        node: the call on the graph's tape; ``None`` where the model was not traced or the call was not found on it.
        position: its depth, 0 at the first place and 1 at the last.
        depth: how many weight calls lie on the longest way to it from the inputs, itself counted.
        shape: of the whole value.
        dtype: of the value, as torch writes it ("float32").
        forward: the values; ``None`` where there is nothing to measure (integers).
        backward: the gradient to them; ``None`` where none arrived: no loss, or nothing depends on it.
        branch: of a join, (stream, index, total): it takes up the index-th of total branches, counted from 1.
        calls: how often the module ran this call (a shared layer, a loop); the first is measured where > 1,
            and the last: ``last_forward`` and ``last_backward``.
    """

    index: int
    module: str
    module_type: str
    op: str
    kind: Kind
    parameters: tuple[str, ...]
    node: int | None
    position: float
    depth: int
    shape: tuple[int, ...]
    dtype: str
    forward: Forward | None = None
    backward: Backward | None = None
    branch: tuple[int, int, int] | None = None
    calls: int = 1
    last_forward: Forward | None = None
    last_backward: Backward | None = None

    @property
    def weight(self) -> str:
        """The canonical name of the weight it reads; "" where it reads none."""
        return self.parameters[0] if self.parameters else ""

    @property
    def label(self) -> str:
        """What it is called in tables: the module's path, or the call where the module is the model itself."""
        return self.module or self.weight or self.op


@dataclass(frozen=True, slots=True)
class Weight:
    """One parameter, each tensor once, in module order.

    Args:
        name, aliases: its canonical names; more than one where it is tied.
        module_type, local_name: the class of the module that holds it, and its name there.
        shape, dtype, trainable, role: what it is (``graphs.Role`` as text).
        fan_in, fan_out: from its declared axes; ``meets`` the nonlinearity that its output meets, "" for none known.
        blocks: how many independent maps it stacks (groups, gates, experts).
        mean, second, largest: E[w], E[w²], max |w|; ``zeros`` the share of exact zeros.
        constant: whether all values are the same number.
        nonfinite, count: NaN or infinite values, of how many: a NaN says that nobody wrote it.
        reached: whether the loss's gradient reaches it; ``None`` without a backward pass.
        grad_mean_abs, grad_second, grad_zeros, grad_nonfinite: of that gradient; ``None`` where none arrives.
        gradient_ratio: rms of the gradient / rms of the value; ``None`` where the value is zero.
        update_ratio: rms of the first update / rms of the value, with the given optimizer; ``None`` without one.
        in_optimizer: whether the given optimizer holds it; ``None`` without one. ``lr``: its learning rate there.
        units: how many output units it has; ``twins`` how many of them equal another one in all their weights;
            ``gradient_twins`` how many of those have equal gradients too: they stay equal for ever.
        twin_blocks: how many of its blocks (experts, stacked maps) equal another one.
        duplicate_of: an earlier parameter with exactly these values, not tied to it; "" for none; constants do not
            count.
        head: whether its output leaves the model without another weight; ``normalized`` whether a norm follows before
            the next weight; ``branch`` (stream, index, total) of the residual branch that it closes.
        used: whether the traced forward reads it; ``None`` where the model was not traced.
        packaged: whether the module that holds it is of an installed package, torch's own layers aside.
    """

    name: str
    aliases: tuple[str, ...]
    module_type: str
    local_name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    role: str
    fan_in: float
    fan_out: float
    blocks: int
    mean: float
    second: float
    largest: float
    zeros: float
    constant: bool
    nonfinite: int
    count: int
    meets: str = ""
    head: bool = False
    normalized: bool = False
    branch: tuple[int, int, int] | None = None
    used: bool | None = None
    reached: bool | None = None
    grad_mean_abs: float | None = None
    grad_second: float | None = None
    grad_zeros: float | None = None
    grad_nonfinite: int | None = None
    gradient_ratio: float | None = None
    update_ratio: float | None = None
    in_optimizer: bool | None = None
    lr: float | None = None
    units: int = 0
    twins: int = 0
    gradient_twins: int = 0
    twin_blocks: int = 0
    duplicate_of: str = ""
    packaged: bool = False

    @property
    def std(self) -> float:
        """√(E[w²] − E[w]²)."""
        return float(max(self.second - self.mean**2, 0.0) ** 0.5)

    @property
    def gain(self) -> float:
        """E[w²] · fan_in, σ² · fan_in of a centred draw: what E[y²] is to E[x²] for independent inputs."""
        return self.second * self.fan_in


@dataclass(frozen=True, slots=True)
class Values:
    """What one argument of the loss holds: its moments and range; ``rows_sum_to_one`` of rows ≥ 0 over classes."""

    shape: tuple[int, ...]
    dtype: str
    mean: float
    std: float
    smallest: float
    largest: float
    nonfinite: int
    rows_sum_to_one: bool = False


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss at step 0 beside its theory.

    Args:
        value: as measured; ``op`` the call that made it (``cross_entropy``), "" where it is none that is known.
        reduction: ``mean``, ``sum`` or ``none`` as that call was told; "" where unknown.
        expected: what an untrained network of independent logits of the measured spread gives, by ``formula``:
            cross-entropy log C + s²/2, BCE log 2 + s²/8, MSE Var y + (E y)² + q; ``None`` where no formula is known.
        trivial: what the best constant prediction gives: the entropy of the targets' classes, Var y; ``None`` where
            it is not known.
        classes: how many the loss tells apart, 0 for a regression.
        predictions, targets: what the call was given.
        class_shares: the share of each class in the targets, up to 1000 classes; () for a regression.
        called: what that call itself gave, where it gave one number, before the user's own factors and terms.
        agreement: of a loss written by hand that is a score from 0 to 1, its value where the outputs say the targets
            less that where they say the contrary; ``None`` for what is no score.
        fall: of a loss written by hand, the power of the distance with which it falls along its own gradient without
            end, the lowest of some samples; ``None`` where it ends, as it should, or is linear in the outputs.
    """

    value: float
    op: str = ""
    reduction: str = ""
    expected: float | None = None
    trivial: float | None = None
    formula: str = ""
    classes: int = 0
    predictions: Values | None = None
    targets: Values | None = None
    class_shares: tuple[float, ...] = ()
    fall: float | None = None
    called: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """A residual stream: E[x²] behind each of its joins.

    Args:
        stream: its number; ``places`` the indices of its joins; ``seconds`` the stream's E[x²] there.
        growth: the mean factor of E[x²] from join to join (geometric); ``None`` with fewer than two joins.
    """

    stream: int
    places: tuple[int, ...]
    seconds: tuple[float, ...]
    growth: float | None


@dataclass(frozen=True, slots=True)
class Jacobian:
    """The spectrum of J = ∂ output / ∂ input, of one sample each.

    Args:
        inputs, outputs: its width and height; ``samples`` how many inputs were looked at.
        mean_square: the mean of the squared singular values over min(inputs, outputs): ‖J‖² / min(inputs, outputs).
        mean_square_error: its standard error, over probes and samples; 0 where J was formed.
        largest, smallest, condition: the extreme singular values and their quotient; ``None`` where not found.
        values: all singular values of the first sample, descending, where J was formed; () where it was not.
        method: "exact" or "matrix-free".
        smallest_at_most, condition_at_least: what products with J alone prove of the first sample; ``None`` where J was
            formed.
    """

    inputs: int
    outputs: int
    samples: int
    mean_square: float
    mean_square_error: float
    largest: float | None
    smallest: float | None
    condition: float | None
    values: tuple[float, ...] = ()
    method: str = "exact"
    smallest_at_most: float | None = None
    condition_at_least: float | None = None


@dataclass(frozen=True, slots=True)
class DepthScale:
    """How fast something decays (or grows) with depth: y_l ∝ exp(slope · l), ξ = 1/|slope|.

    Args:
        of: "gradient" (squared norm at the weight layers) or "correlation" (1 − cosine of two samples, where that
            shrinks).
        xi: the depth scale in weight layers; infinite on the critical line.
        slope: per weight layer, negative where y shrinks from the inputs on.
        error: the slope's standard error; ``layers`` how many entered the fit.
    """

    of: str
    xi: float
    slope: float
    error: float
    layers: int


@dataclass(frozen=True, slots=True)
class Origin:
    """The first thing that was not finite.

    Args:
        what: "input", "parameter", "forward", "loss" or "backward".
        module, op, name: the call, or the parameter's name; ``place`` its index among the places, if it is one.
        value: "nan" or "inf".
        given: the calls' inputs in words (range), to see why: log of 0, exp of 800.
    """

    what: str
    module: str
    op: str
    name: str = ""
    place: int | None = None
    value: str = "nan"
    given: str = ""


LossFunction = Callable[..., Any]

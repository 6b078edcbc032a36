"""Values with a given signal, and the signal of calls that are run on such: where no formula is known.

A call is run with what lies between it and the last norms or the inputs, weights drawn as they were decided, all on one
draw, so that what depends on each other still does: the steps of a scan, a quotient of two sums over the same keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch.utils import _pytree as pytree

from ..graphs.ops import JOINS, NORMS
from ..graphs.tape import PARAMETER, Flow, Node, Ref, Tape
from ..graphs.walks import divided_by_spread, is_weight_call
from .calls import run
from .signal import Signal, measured, mixed

LARGEST = 4_000_000
_LARGEST_VALUE = 1e30
_MOST_HELD = 64_000_000
_DRAWS, _VALUES = 16, 400_000  # draws, and values that they may have together
Weight = Callable[[str, int], torch.Tensor | None]
_DEEPEST = 400  # calls between a sampled one and the last norms


class Sampler:
    """Several draws along a tape, and the mean of what they give.

    Args:
        tape: what a forward did.
        signal: the signal that a call reads.
        value: its real value, where that is known.
        weight: a parameter's values for a seed, where it is known how they are drawn; else they are Gaussian.
    """

    def __init__(
        self,
        tape: Tape,
        signal: Callable[[Ref], Signal],
        value: Callable[[Ref], torch.Tensor | None],
        weight: Weight | None = None,
    ) -> None:
        """Nothing drawn yet."""
        starts = frozenset(_normed(tape))
        self._draws = [_Draw(tape, starts, signal, value, weight, seed) for seed in range(_DRAWS)]

    def sampled(self, node: Node) -> Signal:
        """The signal of a call's output, measured on what Gaussian values with the right signals give.

        Raises:
            ArithmeticError: the call is too large, or cannot be run.
        """
        size = math.prod(node.shape) + sum(math.prod(o.ref.shape) for o in node.operands)
        draws = self._draws[: max(1, _VALUES // max(1, size))]
        found = [draw.measured(node) for draw in draws]
        return replace(mixed(found, [1.0] * len(found)), known=False)


class _Draw:
    """Values along a tape, each drawn or computed once."""

    def __init__(
        self,
        tape: Tape,
        starts: frozenset[int],
        signal: Callable[[Ref], Signal],
        value: Callable[[Ref], torch.Tensor | None],
        weight: Weight | None,
        seed: int,
    ) -> None:
        self.tape, self.starts, self.signal, self.value, self.seed = tape, starts, signal, value, seed
        self.weight = weight
        self._drawn: dict[int, list[torch.Tensor]] = {}
        self._held = 0

    def measured(self, node: Node) -> Signal:
        """The signal of what the call gives in this draw."""
        if self._held > _MOST_HELD:
            self._drawn, self._held = {}, 0
        try:
            for place in self._behind(node):
                self._run(self.tape[place], self._together)
            found = self._run(node, self._together)
        except ArithmeticError:
            self._drawn.pop(node.id, None)
            found = self._run(node, self._alone)
        out = next(iter(found), None)
        if out is None or not out.is_floating_point() or out.numel() == 0:
            raise ArithmeticError(f"{node.op} gives no numbers")
        return measured(torch.nan_to_num(out.double(), 0.0, 0.0, 0.0))

    def value_at(self, ref: Ref) -> torch.Tensor:
        """The value in this draw."""
        for place in self._behind(self.tape[ref.node]):
            self._run(self.tape[place], self._together)
        made = self._run(self.tape[ref.node], self._together)
        if ref.output >= len(made) or tuple(made[ref.output].shape) != ref.shape:
            raise ArithmeticError(f"{self.tape[ref.node].op} gives another shape")
        return made[ref.output]

    def _behind(self, node: Node) -> list[int]:
        """The calls between the last norms and this one, in order."""
        waiting, found = list(node.inputs), set[int]()
        while waiting:
            before = self.tape[waiting.pop()]
            if before.id in found or before.id in self._drawn or self._is_start(before):
                continue
            found.add(before.id)
            waiting += before.inputs
            if len(found) > _DEEPEST:
                raise ArithmeticError(f"more than {_DEEPEST} calls lie between the last norm and {node.op}")
        return sorted(found)

    def _is_start(self, node: Node) -> bool:
        """Whether a value is drawn, or known, instead of being computed."""
        if node.is_source or node.flow is Flow.FIXED:
            return True
        return node.id in self.starts

    def _run(self, node: Node, lookup: Callable[[Ref], torch.Tensor]) -> list[torch.Tensor]:
        """A call on what ``lookup`` finds, kept where it was drawn together with the rest."""
        if node.id in self._drawn and lookup == self._together:
            return self._drawn[node.id]
        if sum(math.prod(o.ref.shape) for o in node.operands) + math.prod(node.shape) > LARGEST:
            raise ArithmeticError(f"{node.op} is too large to be sampled")
        given: list[torch.Tensor] = []

        def found(ref: Ref) -> torch.Tensor:
            given.append(lookup(ref).clone())  # the call may write in place
            return given[-1]

        made = [t for t in pytree.tree_leaves(run(node, found)) if isinstance(t, torch.Tensor)]
        made = made or given[:1]
        if lookup == self._together:
            self._keep(node, made)
        return made

    def _together(self, ref: Ref) -> torch.Tensor:
        """What was drawn or computed for this value; else a draw that every reader shares."""
        if ref.node in self._drawn:
            outputs = self._drawn[ref.node]
            return outputs[min(ref.output, len(outputs) - 1)]
        value = self._alone(ref)
        if len(self.tape[ref.node].shapes) == 1 and self.tape[ref.node].flow is not Flow.FIXED:
            self._keep(self.tape[ref.node], [value])
        return value

    def _alone(self, ref: Ref) -> torch.Tensor:
        """The real value, or a draw with the value's signal."""
        node, real = self.tape[ref.node], self.value(ref)
        if real is None and node.op == PARAMETER and self.weight is not None:
            real = self.weight(node.name, self.seed)
        if real is None and node.op == PARAMETER and node.value is not None:
            # A parameter that the plan keeps has the statistics of what it holds.
            held = measured(node.value.float()).plain()
            real = node.value if held == self.signal(ref) else None
        return real if real is not None else drawn(self.signal(ref), ref.shape, self._generator(ref.node))

    def _generator(self, place: int) -> torch.Generator:
        return torch.Generator().manual_seed(place * _DRAWS + self.seed)

    def _keep(self, node: Node, values: list[torch.Tensor]) -> None:
        self._drawn[node.id] = values
        self._held += sum(v.numel() for v in values)


def simulated(
    tape: Tape, ref: Ref, signal: Callable[[Ref], Signal], value: Callable[[Ref], torch.Tensor | None], seed: int = 0
) -> torch.Tensor:
    """A draw of a value by its signal, made as the calls since the last weights and norms make it.

    Raises:
        ArithmeticError: it is too large, or a call cannot be run.
    """
    starts = frozenset(n.id for n in tape if is_weight_call(tape, n) or n.op in JOINS) | frozenset(_normed(tape))
    if ref.node in starts:
        return drawn(signal(ref), ref.shape, torch.Generator().manual_seed(seed))
    return _Draw(tape, starts, signal, value, None, seed).value_at(ref)


def _normed(tape: Tape) -> Iterator[int]:
    """The values that a norm reads: beyond it nothing is left of how they came about but their spread."""
    for node in tape:
        if node.flow is Flow.DATA:
            value = node.inputs[0] if node.op in NORMS and node.inputs else divided_by_spread(tape, node)
            if value is not None:
                yield value


def drawn(x: Signal, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Gaussian values of this shape and signal: parts common to all, to positions, to samples, and each one's own.

    Raises:
        ArithmeticError: they would overflow.
    """
    shape = tuple(shape)
    if max(abs(x.mean), x.second) > _LARGEST_VALUE:
        raise ArithmeticError("too large to be drawn in single precision")
    common = max(0.0, min(x.shared, x.local)) if len(shape) > 2 else 0.0
    shared, local = max(0.0, x.shared - common), max(0.0, x.local - common)
    own = max(0.0, x.variance - shared - (local if len(shape) > 2 else 0.0) - common)
    values = torch.full(shape, x.mean) + math.sqrt(own) * torch.randn(shape, generator=generator)
    for part, kept in ((common, _units(shape)), (shared, (1, *shape[1:])), (local, _samples(shape))):
        if part > 0 and len(shape) > 1:
            values = values + math.sqrt(part) * torch.randn(kept, generator=generator)
    return values


def _units(shape: tuple[int, ...]) -> tuple[int, ...]:
    axis = 1 if len(shape) >= 4 else len(shape) - 1
    return tuple(n if a == axis else 1 for a, n in enumerate(shape))


def _samples(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) < 3:
        return tuple(1 for _ in shape)
    axis = 1 if len(shape) >= 4 else len(shape) - 1
    return tuple(n if a in (0, axis) else 1 for a, n in enumerate(shape))

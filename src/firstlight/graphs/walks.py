"""Walks along a tape that its readers share: what a value was made from, and where it goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence

from .ops import CONVS, MATMULS, NORMS, PRODUCTS, SUMS, TRANSPOSED_CONVS, VIEWS, WEIGHT_CALLS, words
from .tape import Flow, Node, Operand, Tape

Readers = Sequence[Sequence[tuple[Node, Operand]]]


def is_weight_call(tape: Tape, node: Node) -> bool:
    """Whether a call maps units to units through a weight: one of its operands was made from parameters alone.

    In a matrix product of two values such an operand may also be a value that parameters alone decide, as the queries
    that learned latents make: what a layer has made is no weight.
    """
    if node.op not in WEIGHT_CALLS:
        return False
    if modulated(tape, node) is not None:
        return True
    made = [o.ref.node for o in node.operands if tape[o.ref.node].flow is Flow.WEIGHTS]
    return any(node.op not in MATMULS or not _is_a_layers(tape, n) for n in made)


_MODULATED = CONVS | TRANSPOSED_CONVS | {"linear"}


def modulated(tape: Tape, node: Node) -> int | None:
    """The product of a matrix or filters with data that gives a map its weight, sample by sample; else ``None``.

    A style scales the filters of a convolution, and each sample then has its own.
    """
    weight = node.tensor("weight", 1) if node.op in _MODULATED else None
    while weight is not None and tape[weight.node].flow is Flow.DATA:
        behind = tape[weight.node]
        made = [o.ref for o in behind.operands if tape[o.ref.node].flow is Flow.WEIGHTS]
        if behind.op in PRODUCTS and any(sum(n != 1 for n in ref.shape) > 1 for ref in made):
            return behind.id
        data = [o.ref for o in behind.operands if tape[o.ref.node].flow is Flow.DATA]
        if behind.op not in VIEWS | PRODUCTS or not data:
            return None
        weight = data[0]
    return None


def _is_a_layers(tape: Tape, place: int) -> bool:
    """Whether a value of parameters alone is what a layer made of them."""
    node = tape[place]
    while node.inputs and node.flow is Flow.WEIGHTS:
        if node.op in WEIGHT_CALLS - MATMULS:
            return True
        node = tape[node.inputs[0]]
    return False


def data_of(tape: Tape, node: Node) -> list[int]:
    """The data that a call reads, in order."""
    return [i for i in node.inputs if tape[i].flow is Flow.DATA]


def downstream(tape: Tape, starts: Collection[int]) -> set[int]:
    """The data that is made of some values, without these but where they read each other."""
    found: set[int] = set()
    for node in tape:
        if node.flow is Flow.DATA and any(i in found or i in starts for i in node.inputs):
            found.add(node.id)
    return found


def backward(tape: Tape, start: int, through: Callable[[Node], bool], limit: int = 200) -> Iterator[Node]:
    """The data behind a value, itself first; it goes on behind the calls that ``through`` lets pass."""
    waiting, seen = [start], {start}
    while waiting and len(seen) < limit:
        node = tape[waiting.pop()]
        yield node
        if through(node):
            fresh = [i for i in data_of(tape, node) if i not in seen]
            seen.update(fresh)
            waiting += fresh


def meets_softmax(readers: Readers, start: int) -> bool:
    """Whether a value is part of attention logits: it meets a softmax before any weight."""
    waiting, seen = [(start, 0)], {start}
    while waiting:
        place, steps = waiting.pop()
        for reader, _ in readers[place]:
            if reader.op == "softmax":
                return True
            if reader.id not in seen and steps < 8 and reader.op in _LOGIT_CALLS:
                seen.add(reader.id)
                waiting.append((reader.id, steps + 1))
    return False


_LOGIT_CALLS = VIEWS | SUMS | {"mul", "div", "clamp", "max", "maximum", "tanh"}


def is_normalized(tape: Tape, place: int) -> bool:
    """Whether a value was just normalized: by a norm's call, or by division through its own spread.

    Python-written norms end in x · rsqrt(mean x²) or (x - mean) / sqrt(var + ε), then perhaps a cast or a scale.
    """
    node = tape[place]
    for _ in range(12):
        if node.op in NORMS or divided_by_spread(tape, node) is not None:
            return True
        data = data_of(tape, node)
        if len(data) != 1 or not (node.op in VIEWS or node.op in ("mul", "div", "add")):
            return False
        node = tape[data[0]]
    return False


_SPREADS = words("rsqrt sqrt std norm vector_norm linalg_norm linalg_vector_norm")


def divided_by_spread(tape: Tape, node: Node) -> int | None:
    """The value that a call divides by a mean spread that was measured on it; ``None`` where it does nothing of it."""
    if node.op not in ("mul", "div"):
        return None
    data = data_of(tape, node)
    if len(data) != 2:
        return None
    pairs = (data, data[::-1]) if node.op == "mul" else (data,)
    inverse = _INVERSES if node.op == "mul" else _SPREADS
    return next((v for v, spread in pairs if _is_spread(tape, v, spread, inverse)), None)


def _is_spread(tape: Tape, value: int, spread: int, ends: frozenset[str]) -> bool:
    """Whether ``spread`` is a root of a mean of squares, one number for many of ``value``."""
    if not _smaller(tape[spread].shape, tape[value].shape):
        return False
    found = [n.op for n in backward(tape, spread, lambda n: n.op in _SPREAD_CALLS and n.id != value, limit=12)]
    roots = any(op in ends or op == "pow" for op in found[:4])
    return roots and any(op in ("mean", "var", "sum", "std", "norm") for op in found)


_INVERSES = words("rsqrt reciprocal")
_SPREAD_CALLS = VIEWS | _SPREADS | words("add mean var sum pow reciprocal clamp clamp_min square mul div")


def spread_count(tape: Tape, value: int, spread: int) -> int:
    """How many squares a spread adds up: one where it is their mean, as many as there are where it is their sum."""
    behind = backward(tape, spread, lambda n: n.op in _SPREAD_CALLS and n.id != value, limit=12)
    found = [n.op for n in behind if n.id != value]
    summed = any(op in ("sum", "norm", "vector_norm", "linalg_norm", "linalg_vector_norm") for op in found)
    whole, parts = math.prod(tape[value].shape), math.prod(tape[spread].shape)
    scaled = any(op in ("mean", "div", "mul") for op in found)  # a sum over a count is a mean
    return whole // max(1, parts) if summed and not scaled else 1


def _smaller(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether a value of shape ``a`` is one number for many of shape ``b``."""
    return len(a) <= len(b) and a != b and all(x in (1, y) for x, y in zip(reversed(a), reversed(b), strict=False))

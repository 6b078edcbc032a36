"""Attention on a tape: which weights make its queries, keys and values, and which take up its output."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from .ops import ATTENTION, JOINS, MATMULS, NORMS, SUMS, VIEWS
from .records import Role
from .tape import Flow, Node, Tape
from .walks import Readers, backward, data_of, is_weight_call

_SLOTS = {0: "q", "query": "q", 1: "k", "key": "k", 2: "v", "value": "v"}
_PARTS = {"q": Role.QUERY, "k": Role.KEY, "v": Role.VALUE, "o": Role.OUT}
_BETWEEN = VIEWS | SUMS | NORMS | JOINS | {"mul", "div", "neg", "rsqrt", "mean", "pow"}


def attention_roles(tape: Tape, readers: Readers) -> Mapping[int, tuple[Role, int]]:
    """For each weight call that serves an attention: the role of its weight, and how many of q, k, v it makes.

    An attention is ``scaled_dot_product_attention``, or a softmax of a product of two values that is itself multiplied
    with a third.
    """
    tags: dict[int, set[str]] = defaultdict(set)
    for node in tape:
        if node.flow is not Flow.DATA:
            continue
        if node.op in ATTENTION:
            _tag_call(tape, node, tags)
            _tag_output(tape, readers, node, tags)
        elif node.op == "softmax":
            _tag_written_out(tape, readers, node, tags)
    return {call: _role(tagged) for call, tagged in tags.items()}


def _role(tagged: set[str]) -> tuple[Role, int]:
    made = tagged - {"o"} or tagged
    if len(made) == 1:
        return _PARTS[next(iter(made))], 1
    return Role.ATTENTION, len(made)


def _tag_call(tape: Tape, node: Node, tags: dict[int, set[str]]) -> None:
    for operand in node.operands:
        if operand.slot in _SLOTS:
            for call in _weights_behind(tape, operand.ref.node):
                tags[call].add(_SLOTS[operand.slot])


def _tag_written_out(tape: Tape, readers: Readers, softmax: Node, tags: dict[int, set[str]]) -> None:
    logits = _product_behind(tape, softmax)
    if logits is None:
        return
    products = _products_after(tape, readers, softmax)
    if not products:
        return
    sides = [o for o in logits.operands if tape[o.ref.node].flow is Flow.DATA]
    for letter, operand in zip("qk", sides, strict=False):
        for call in _weights_behind(tape, operand.ref.node):
            tags[call].add(letter)
    for product, weights_side in products:
        for operand in product.operands:
            if operand.ref.node != weights_side:
                for call in _weights_behind(tape, operand.ref.node):
                    tags[call].add("v")
        _tag_output(tape, readers, product, tags)


def _product_behind(tape: Tape, softmax: Node) -> Node | None:
    """The product of two values that the softmax's argument is."""
    data = data_of(tape, softmax)
    for node in backward(tape, data[0], _is_between, limit=24) if data else ():
        if node.op in MATMULS and len(data_of(tape, node)) == 2:
            return node
    return None


def _is_between(node: Node) -> bool:
    return node.op in _BETWEEN | {"tanh", "clamp", "max", "maximum"}


def _products_after(tape: Tape, readers: Readers, softmax: Node) -> list[tuple[Node, int]]:
    """The products that the softmax's output enters, and the operand by which it does."""
    found, waiting, seen = [], [(softmax.id, 0)], {softmax.id}
    while waiting:
        place, steps = waiting.pop()
        for reader, _ in readers[place]:
            if reader.op in MATMULS and len(data_of(tape, reader)) == 2:
                found.append((reader, place))
            elif reader.op in VIEWS | {"mul", "add", "div"} and steps < 8 and reader.id not in seen:
                seen.add(reader.id)
                waiting.append((reader.id, steps + 1))
    return found


def _weights_behind(tape: Tape, place: int) -> list[int]:
    """The weight calls a value comes from, through views, rotations and norms, but no other weight or attention."""
    nodes = backward(tape, place, lambda n: n.op in _BETWEEN and not is_weight_call(tape, n), limit=80)
    return [n.id for n in nodes if is_weight_call(tape, n)]


def _tag_output(tape: Tape, readers: Readers, attention: Node, tags: dict[int, set[str]]) -> None:
    """The weights that read an attention's output next."""
    waiting, seen = [attention.id], {attention.id}
    while waiting:
        for reader, _ in readers[waiting.pop()]:
            if reader.id in seen:
                continue
            seen.add(reader.id)
            if is_weight_call(tape, reader):
                tags[reader.id].add("o")
            elif reader.op in VIEWS | NORMS | {"mul", "sigmoid", "cat"}:
                waiting.append(reader.id)

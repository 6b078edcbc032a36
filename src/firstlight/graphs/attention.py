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
_TO_OUTPUT = VIEWS | NORMS | {"mul", "div", "sub", "sigmoid", "cat"}
_BETWEEN = VIEWS | SUMS | NORMS | JOINS | {"mul", "div", "neg", "rsqrt", "mean", "pow"}


def attention_roles(tape: Tape, readers: Readers) -> Mapping[int, tuple[Role, int]]:
    """For each weight call that serves an attention: its weight's role, and how many equal ones of q, k, v it makes.

    An attention is ``scaled_dot_product_attention``, or a softmax of a product of two values that is itself multiplied
    with a third.
    """
    tags: dict[int, set[str]] = defaultdict(set)
    widths: dict[int, int] = {}
    for node in tape:
        if node.flow is not Flow.DATA:
            continue
        if node.op in ATTENTION:
            _tag_call(tape, node, tags, widths)
            _tag_output(tape, readers, node, tags)
        elif node.op == "softmax":
            _tag_written_out(tape, readers, node, tags, widths)
    return {call: _role(tape[call], tagged, widths.get(call, 0)) for call, tagged in tags.items()}


def _role(call: Node, tagged: set[str], width: int) -> tuple[Role, int]:
    made = tagged - {"o"} or tagged
    if len(made) == 1:
        return _PARTS[next(iter(made))], 1
    # Where keys and values have fewer heads than queries, the parts are not equal.
    equal = not width or call.shape[-1] == width * len(made)
    return Role.ATTENTION, len(made) if equal else 1


def _tag_call(tape: Tape, node: Node, tags: dict[int, set[str]], widths: dict[int, int]) -> None:
    for operand in node.operands:
        if operand.slot in _SLOTS:
            letter = _SLOTS[operand.slot]
            for call in _weights_behind(tape, operand.ref.node):
                tags[call].add(letter)
                if letter == "q":
                    widths[call] = _width(operand.ref.shape)


def _width(query: tuple[int, ...]) -> int:
    """Heads times their width, of queries (batch, heads, positions, width); 0 where heads are within the batch."""
    return query[1] * query[3] if len(query) == 4 else 0


def _tag_written_out(
    tape: Tape, readers: Readers, softmax: Node, tags: dict[int, set[str]], widths: dict[int, int]
) -> None:
    products, behind = products_after(tape, readers, softmax), _products_behind(tape, softmax)
    if not (products and behind):
        return
    for logits in behind:
        sides = [o for o in logits.operands if tape[o.ref.node].flow is not Flow.FIXED]
        for letter, operand in zip("qk", sides, strict=False):
            for call in _weights_behind(tape, operand.ref.node):
                tags[call].add(letter)
                if letter == "q":
                    widths[call] = _width(operand.ref.shape)
    for product, weights_side in products:
        for operand in product.operands:
            if operand.ref.node != weights_side:
                for call in _weights_behind(tape, operand.ref.node):
                    tags[call].add("v")
        _tag_output(tape, readers, product, tags)


def _products_behind(tape: Tape, softmax: Node) -> list[Node]:
    """The products of two values that the softmax's argument is a sum of."""
    data = data_of(tape, softmax)
    if not data:
        return []
    behind = backward(tape, data[0], lambda n: _is_between(n) and not is_weight_call(tape, n), limit=60)
    products = [n for n in behind if n.op in MATMULS and not is_weight_call(tape, n)]
    # Beside products of queries and keys, those with learned positions say nothing of which is which.
    return [n for n in products if len(data_of(tape, n)) == 2] or products


def _is_between(node: Node) -> bool:
    return node.op in _BETWEEN | {"tanh", "clamp", "max", "maximum"}


def products_after(tape: Tape, readers: Readers, softmax: Node) -> list[tuple[Node, int]]:
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
            elif reader.op in _TO_OUTPUT or (reader.op == "add" and len(data_of(tape, reader)) == 1):
                waiting.append(reader.id)

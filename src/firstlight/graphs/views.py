"""Which axes of a parameter the axes of a value made from it are: followed through transposes, reshapes and slices.

``uses`` follows a parameter with it from where it stands on the tape to the call that uses it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .ops import words
from .tape import Node, Operand, Ref

# For each axis of a value, the parameter's axes that lie in it; empty for an axis that the parameter does not have.
Axes = tuple[frozenset[int], ...]

_NONE: frozenset[int] = frozenset()


def own(shape: Sequence[int]) -> Axes:
    """A parameter's own axes."""
    return tuple(frozenset({a}) for a in range(len(shape)))


def follow(axes: Axes, node: Node, operand: Operand) -> Axes | None:
    """The axes of ``node``'s output, where ``axes`` are those of one operand; ``None`` where they cannot be told."""
    shape, out = operand.ref.shape, node.shape
    rank = len(shape)
    if rank != len(axes):
        return None
    first = node.args[0] if node.args else None
    if node.op in _PERMUTATIONS and isinstance(first, Ref):
        return _permuted(axes, node, rank)
    if node.op in ("getitem", "select", "unbind") and operand.slot in (0, "input"):
        return _indexed(axes, node)
    if node.op in ("stack",):
        axis = _axis(node.argument("dim", 1, 0), rank + 1)
        return (*axes[:axis], _NONE, *axes[axis:])
    if out == shape:
        return axes
    if node.op in ("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "ravel"):
        return _reshaped(axes, shape, out)
    if len(out) == rank and all(o == s or s == 1 or node.op in _CUTS for o, s in zip(out, shape, strict=True)):
        return axes
    if len(out) > rank and all(s in (o, 1) for s, o in zip(reversed(shape), reversed(out), strict=False)):
        return (*(_NONE,) * (len(out) - rank), *axes)  # broadcast against a value of more axes
    return None


_PERMUTATIONS = words("t T mT H transpose swapaxes swapdims permute movedim moveaxis")
_CUTS = words("chunk split tensor_split split_with_sizes narrow slice cat concat index_select pad")


def _axis(value: object, rank: int) -> int:
    return value % rank if isinstance(value, int) and rank else 0


def _permuted(axes: Axes, node: Node, rank: int) -> Axes | None:
    numbers = [a for a in (*node.args[1:], *node.kwargs.values()) if isinstance(a, int | tuple | list)]
    match node.op:
        case "t" | "T" | "H":
            return axes[::-1]
        case "mT":
            return (*axes[:-2], axes[-1], axes[-2])
        case "permute":
            given = numbers[0] if numbers and isinstance(numbers[0], tuple | list) else numbers
            order = [_axis(a, rank) for a in given]
            return tuple(axes[a] for a in order) if sorted(order) == list(range(rank)) else None
        case "movedim" | "moveaxis":
            return None if rank > 2 else axes[::-1]
        case _:
            if len(numbers) != 2:
                return None
            a, b = (_axis(n, rank) for n in numbers)
            swapped = list(axes)
            swapped[a], swapped[b] = swapped[b], swapped[a]
            return tuple(swapped)


def _indexed(axes: Axes, node: Node) -> Axes | None:
    if node.op in ("select", "unbind"):
        axis = _axis(node.argument("dim", 1, 0), len(axes))
        return (*axes[:axis], *axes[axis + 1 :])
    index = node.args[1] if len(node.args) > 1 else None
    parts = list(index) if isinstance(index, tuple | list) else [index]
    taken = sum(isinstance(p, int | slice | Ref) for p in parts)
    if Ellipsis in [p for p in parts if not isinstance(p, Ref)]:
        place = next(i for i, p in enumerate(parts) if p is Ellipsis)
        parts[place : place + 1] = [slice(None)] * (len(axes) - taken)
    found: list[frozenset[int]] = []
    left = list(axes)
    for part in parts:
        if part is None:
            found.append(_NONE)
        elif isinstance(part, slice) and left:
            found.append(left.pop(0))
        elif isinstance(part, int) and left:
            left.pop(0)
        elif isinstance(part, Ref) and left:  # a gather along this axis, in the index's shape
            gathered = left.pop(0)
            found += [gathered] * max(1, len(part.shape))
        else:
            return None
    found += left
    return tuple(found) if len(found) == len(node.shape) else None


def _reshaped(axes: Axes, shape: tuple[int, ...], out: tuple[int, ...]) -> Axes | None:
    """Axes through a reshape: runs of old and new axes of one product go together; axes of size 1 come and go."""
    old = [(n, axes[a]) for a, n in enumerate(shape) if n != 1]
    found: list[frozenset[int]] = [_NONE] * len(out)
    new = [(n, a) for a, n in enumerate(out) if n != 1]
    while old or new:
        if not (old and new):
            return None
        size, merged = old.pop(0)
        wanted, place = new.pop(0)
        places = [place]
        while size != wanted:
            if size < wanted and old:
                more, others = old.pop(0)
                size, merged = size * more, merged | others
            elif wanted < size and new:
                more, place = new.pop(0)
                wanted, places = wanted * more, [*places, place]
            else:
                return None
        for place in places:
            found[place] = merged
    return tuple(found)

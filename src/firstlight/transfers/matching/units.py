"""Names read as modules: which tensors belong together, of what kind they are, and what numbers their paths hold.

The same reading serves both sides, a model's parameters and the names in a file, so that they can be laid side by
side; ``structure`` does that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..records import Shape

_LOCAL = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_OLD = {"gamma": "weight", "beta": "bias"}
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Unit:
    """One module's own tensors, or a parameter that stands alone.

    Args:
        path: the module's path, in segments; of a lone parameter its whole name.
        names: its tensors' full names by their part (``"weight"``, ``"bias"``; ``""`` for a lone parameter's).
        shapes: theirs.
        order: the place of its first tensor on its side.
        known: the role the graph gives it, "" where only names are known.
        meets, depth: what its output meets and how deep it lies, where a forward was traced.
        out_axis: the weight's output axis where it is declared.
        table: whether its weight is looked up, and no map.
    """

    path: tuple[str, ...]
    names: Mapping[str, str]
    shapes: Mapping[str, Shape]
    order: int
    known: str = ""
    meets: str = ""
    depth: int = -1
    out_axis: int | None = None
    table: bool = False

    @property
    def main(self) -> Shape:
        """The shape of its first tensor, the weight where there is one."""
        return self.shapes["weight"] if "weight" in self.shapes else self.shapes[min(self.shapes)]

    @property
    def kind(self) -> str:
        """``map`` (a weight of two or more axes), ``batch norm``, ``norm`` or ``lone``."""
        if "running_mean" in self.shapes:
            return "batch norm"
        if "weight" not in self.shapes:
            return "lone"
        return "map" if len(wide(self.shapes["weight"])) > 1 or len(self.shapes["weight"]) > 1 else "norm"

    @property
    def turned(self) -> bool:
        """Whether a matrix lies as (in, out): its bias then has the size of the second axis."""
        bias, shape = self.shapes.get("bias"), self.main
        return bias is not None and len(shape) == 2 and bias == (shape[1],) != (shape[0],)

    @property
    def form(self) -> tuple[str, tuple[int, ...]]:
        """What has to agree with another unit's: the kind, and the sizes but for ones, outputs first."""
        sizes = wide(self.main)
        return self.kind, sizes[::-1] if self.turned else sizes


def wide(shape: Shape) -> tuple[int, ...]:
    """A shape without its axes of size one."""
    return tuple(n for n in shape if n != 1)


def units(tensors: Iterable[tuple[str, Shape]]) -> list[Unit]:
    """The units of a list of tensors, in the order of their first ones.

    >>> named = [("a.fc.weight", (4, 3)), ("a.fc.bias", (4,)), ("a.pos", (1, 9, 4))]
    >>> [(".".join(u.path), u.kind) for u in units(named)]
    [('a.fc', 'map'), ('a.pos', 'lone')]
    """
    held: dict[tuple[tuple[str, ...], bool], tuple[dict[str, str], dict[str, Shape], int]] = {}
    listed = list(tensors)
    names = {name for name, _ in listed}
    for order, (name, shape) in enumerate(listed):
        path, local = split(name, names)
        found = held.setdefault((path, local == ""), ({}, {}, order))
        found[0][local], found[1][local] = name, shape
    return [Unit(path, names_, shapes, order) for (path, _), (names_, shapes, order) in held.items()]


def split(name: str, names: Iterable[str] = ()) -> tuple[tuple[str, ...], str]:
    """A tensor's name as its module's path and its part in it."""
    parts = name.split(".")
    last = parts[-1]
    if last in _LOCAL:
        return tuple(parts[:-1]), last
    if last in _OLD and ".".join([*parts[:-1], "beta" if last == "gamma" else "gamma"]) in names:
        return tuple(parts[:-1]), _OLD[last]
    joined = re.fullmatch(r"(.+)_(weight|bias)", last)
    if joined:
        return (*parts[:-1], joined[1]), joined[2]
    return tuple(parts), ""


def template(path: tuple[str, ...]) -> tuple[str, ...]:
    """A path with every number replaced by ``#``."""
    return tuple(_DIGITS.sub("#", s) for s in path)


def numbers(path: tuple[str, ...]) -> tuple[int, ...]:
    """The numbers in a path, in order."""
    return tuple(int(n) for s in path for n in _DIGITS.findall(s))


def weight_of(found: Iterable[Unit]) -> tuple[int, int, int]:
    """How many values maps, vectors and statistics hold: equal whether maps are fused, split, turned or reshaped."""
    maps = vectors = statistics = 0
    for unit in found:
        for local, shape in unit.shapes.items():
            size = math.prod(shape)
            if local.startswith("running"):
                statistics += size
            elif local == "num_batches_tracked":
                continue
            elif len(wide(shape)) > 1:
                maps += size
            else:
                vectors += size
    return maps, vectors, statistics

"""Learned position embeddings for another length or resolution, by interpolation.

Where the model sees (a convolution over two axes), positions are a square grid after 0, 1 or 2 class tokens, and are
resampled bicubically in both directions while the tokens' rows stay (Dosovitskiy et al. 2021, section 3.2). Else they
are a line. Rotary embeddings have no table and need none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ...errors import ArgumentError
from ...fields import Key
from ...graphs.records import Role
from ..matching.words import role as claimed
from ..records import Reader, Shape, Step
from .base import Adaptation, Answer, Case, sizes
from .grids import resized, square_after_tokens

_MODES = ("bicubic", "bilinear")


@dataclass(frozen=True, slots=True)
class _Options:
    mode: str = "bicubic"
    old: tuple[int, int] | None = None
    new: tuple[int, int] | None = None


def adapt_positions(case: Case) -> Answer:
    """The table at another number of positions."""
    options = _options(case.option)
    if not _is_positions(case) or len(case.given) != len(case.wanted):
        return None
    if len(case.wanted) == 4:
        return _map(case, options)
    axis = len(case.wanted) - 2
    if len(case.wanted) not in (2, 3) or case.differing != (axis,):
        return None
    old, new = case.given[axis], case.wanted[axis]
    grids = _grids(case, options, old, new)
    before: Shape
    after: Shape
    if grids is None:
        words = f"{old} → {new} positions, linear"
        tokens = 0
        before, after = (old,), (new,)
    else:
        tokens, before, after = grids
        words = f"positions {sizes(before)} → {sizes(after)}, {options.mode}"
        words += f", {tokens} token row{'s' * (tokens != 1)} kept" if tokens else ""

    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - nothing is drawn
        table = values.reshape(old, -1)
        rows = table[tokens:].T.reshape(-1, *before)
        mode = options.mode if grids is not None else "linear"
        made = resized(rows, after, mode).reshape(table.shape[1], -1).T.to(values.dtype)
        return torch.cat([table[:tokens], made]).reshape(case.wanted)

    return Step("positions", words, case.wanted, apply, POSITIONS.reference)


def _is_positions(case: Case) -> bool:
    parameter = case.target.parameter
    if parameter.role is Role.POSITIONAL:
        return True
    known = parameter.role not in (Role.UNKNOWN, Role.EMBEDDING)
    return not known and claimed(parameter.name.removesuffix(".weight").split("."), "lone") == "positions"


def _grids(case: Case, options: _Options, old: int, new: int) -> tuple[int, Shape, Shape] | None:
    """Class tokens and both grids; ``None`` for a line."""
    if options.old is not None and options.new is not None:
        tokens = old - options.old[0] * options.old[1]
        if tokens < 0 or new - options.new[0] * options.new[1] != tokens:
            raise ArgumentError(
                f"positions of {old} and {new} rows are not the grids {options.old} and {options.new} after equally "
                "many class tokens"
            )
        return tokens, options.old, options.new
    if not case.model.sees:
        return None
    found = square_after_tokens(old, new)
    if found is None:
        return None
    tokens, before, after = found
    return tokens, (before, before), (after, after)


def _map(case: Case, options: _Options) -> Answer:
    """Positions held as a picture: (1, channels, height, width) or (1, height, width, channels)."""
    given, wanted = case.given, case.wanted
    changed = set(case.differing)
    # Which axes are the picture's: those that changed, and a third that did not is the channels'.
    channels_first = changed <= {2, 3}
    if given[0] != 1 or not changed or not (channels_first or changed <= {1, 2}) or changed == {2}:
        return None

    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - nothing is drawn
        grid = values[0] if channels_first else values[0].permute(2, 0, 1)
        made = resized(grid, wanted[2:] if channels_first else wanted[1:3], options.mode).to(values.dtype)
        return (made if channels_first else made.permute(1, 2, 0))[None]

    before, after = (given[2:], wanted[2:]) if channels_first else (given[1:3], wanted[1:3])
    words = f"positions {sizes(before)} → {sizes(after)}, {options.mode}"
    return Step("positions", words, wanted, apply, POSITIONS.reference)


def _options(option: object) -> _Options:
    if option is True:
        return _Options()
    if option in _MODES:
        return _Options(str(option))
    if isinstance(option, Mapping) and set(option) in ({"mode"}, {"old", "new"}, {"mode", "old", "new"}):
        mode = str(option.get("mode", "bicubic"))
        if mode in _MODES:
            return _Options(mode, _grid(option.get("old")), _grid(option.get("new")))
    raise ArgumentError(
        f"adapt={{'positions': {option!r}}}: give True, 'bicubic', 'bilinear', or a dict with the grids "
        "{'old': (rows, columns), 'new': (rows, columns)}"
    )


def _grid(sizes_: object) -> tuple[int, int] | None:
    if sizes_ is None:
        return None
    if isinstance(sizes_, Sequence) and len(sizes_) == 2 and all(isinstance(n, int) and n > 0 for n in sizes_):
        return int(sizes_[0]), int(sizes_[1])
    raise ArgumentError(f"a grid of positions is a pair of whole numbers (rows, columns), and not {sizes_!r}")


POSITIONS = Adaptation("positions", adapt_positions, "Dosovitskiy et al. 2021, arXiv 2010.11929")

"""What a transfer is made of: steps that change values, and matches of a model's tensor with a source's.

``matching`` makes matches from names and shapes alone, ``adapting`` adds the steps that change a shape, ``Loaded``
reads and carries them out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from ..fields import Key
from ..graphs.records import Parameter

Shape = tuple[int, ...]
Reader = Callable[[str], torch.Tensor]
Change = Callable[[torch.Tensor, Key, Reader], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the values on their way into the model.

    Args:
        rule: whose step it is: ``"transposed"``, or an adaptation's name.
        words: what it does, for people: ``"positions 14×14 → 16×16, bicubic"``.
        shape: of the values it gives.
        apply: the change; it gets the values, the parameter's key for what is drawn, and a reader of other tensors.
        reference: the work it is from.
        exact: whether the values are only laid out anew, none computed.
        random: whether some values are drawn, so that it waits for the parameter's key.
        reads: the source's other tensors that it reads.
    """

    rule: str
    words: str
    shape: Shape
    apply: Change
    reference: str = ""
    exact: bool = False
    random: bool = False
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor of the source, or some of its rows.

    Args:
        tensor: its name.
        shape: of what is taken.
        rows: first row and the one after the last; ``None`` for all.
    """

    tensor: str
    shape: Shape
    rows: tuple[int, int] | None = None

    def __str__(self) -> str:
        return self.tensor if self.rows is None else f"{self.tensor}[{self.rows[0]}:{self.rows[1]}]"


@dataclass(frozen=True, slots=True)
class Match:
    """Where the values of one parameter come from.

    Args:
        target: the parameter's canonical name.
        pieces: what is read, joined along axis 0 where there are several.
        rule: how it was found: ``"exact"``, ``"prefix"``, ``"rename"`` or ``"structure"``.
        evidence: what speaks for it, for people.
        steps: what is then done to the values, in order.
    """

    target: str
    pieces: tuple[Piece, ...]
    rule: str
    evidence: str
    steps: tuple[Step, ...] = ()

    @property
    def shape(self) -> Shape:
        """The shape of the values after all steps."""
        if self.steps:
            return self.steps[-1].shape
        first = self.pieces[0].shape
        return first if len(self.pieces) == 1 else (sum(p.shape[0] for p in self.pieces), *first[1:])

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names that are read, each once."""
        others = (name for step in self.steps for name in step.reads)
        return tuple(dict.fromkeys([*(p.tensor for p in self.pieces), *others]))

    def then(self, *steps: Step) -> Match:
        """The match with more steps."""
        return replace(self, steps=(*self.steps, *steps))


@dataclass(frozen=True, slots=True)
class Matching:
    """What was found.

    Args:
        matches: by target name.
        reasons: why a target has none, where more can be said than that no tensor fits.
        notes: what a person should know besides: rules that did nothing more, prefixes that were dropped.
    """

    matches: Mapping[str, Match]
    reasons: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A tensor of the model that may be loaded: its record, and whether it is a buffer."""

    parameter: Parameter
    buffer: bool = False

    @property
    def name(self) -> str:
        """Its canonical name."""
        return self.parameter.name

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return self.parameter.layout.shape

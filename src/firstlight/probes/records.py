"""``Light``: how the signal travels through a model at step 0.

``measuring`` makes it, or ``predicting`` where a model has no values; ``checks`` reads it and adds findings. What its
methods do stands in files of functions; it only offers them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..graphs import Graph
from ..plans import Plan
from .columns import columns_of, frame_of
from .page import figure_of, light_page
from .parts import (
    Backward,
    DepthScale,
    Forward,
    Jacobian,
    Kind,
    Loss,
    LossFunction,
    Origin,
    Place,
    Signal,
    Stream,
    Values,
    Weight,
)
from .predicted import Against, against
from .saving import dumped, loaded
from .text import rendered

__all__ = [
    "Backward",
    "DepthScale",
    "Forward",
    "Jacobian",
    "Kind",
    "Light",
    "Loss",
    "LossFunction",
    "Origin",
    "Place",
    "Signal",
    "Stream",
    "Values",
    "Weight",
]


@dataclass(frozen=True, slots=True)
class Light:
    """How the signal travels through a model at step 0, forward and backward.

    Args:
        model: the model's class; ``training`` whether it was measured in training mode; ``device`` and ``dtype`` where.
        places: the calls in execution order; ``weights`` the parameters in module order.
        loss: beside its theory; ``None`` where none was given: the gradients are then those of a random projection
            of the outputs of unit variance (``projected``).
        streams: the residual streams; ``depth_scales`` the fitted ξ; ``jacobian`` where it was asked for.
        origin: the first value that was not finite, ``None`` where all are.
        batch: samples in the batch.
        ranks: the processes over which the numbers were reduced.
        analytic: whether the numbers are predicted from a plan (model on meta) instead of measured.
        optimizer: its class, where one was given; "" otherwise.
        notes: what could not be done and why, in words.
        findings: filled by the public verb; not part of the JSON, ``fl.diagnose`` makes them again.
        graph: what the trace knows; ``None`` where the model could not be traced, or behind ``from_json``.
    """

    model: str
    training: bool
    device: str
    dtype: str
    places: tuple[Place, ...]
    weights: tuple[Weight, ...]
    batch: int
    loss: Loss | None = None
    streams: tuple[Stream, ...] = ()
    depth_scales: tuple[DepthScale, ...] = ()
    jacobian: Jacobian | None = None
    origin: Origin | None = None
    projected: bool = False
    ranks: int = 1
    analytic: bool = False
    optimizer: str = ""
    notes: tuple[str, ...] = ()
    findings: tuple[Any, ...] = field(default=(), compare=False)
    graph: Graph | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.table()

    def __iter__(self) -> Iterator[Place]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def of(self, kind: Kind) -> tuple[Place, ...]:
        """The places of one kind, in order."""
        return tuple(p for p in self.places if p.kind is kind)

    def weight(self, name: str) -> Weight | None:
        """The parameter of this canonical name, also under an alias; ``None`` where there is none."""
        return next((w for w in self.weights if name == w.name or name in w.aliases), None)

    def table(self, width: int | None = None, *, collapse: bool | None = None) -> str:
        """What was measured as text: the loss beside its theory, every place, the profile by depth, the findings.

        Args:
            width: columns to keep to; 100 where none is given.
            collapse: whether places that differ only in a layer's number share a row; by default where there are many.
        """
        return rendered(self, width or 100, collapse=collapse)

    def bare(self) -> Light:
        """The numbers alone: without findings and graph."""
        return replace(self, findings=(), graph=None)

    def columns(self) -> dict[str, list[Any]]:
        """The places as columns of equal length, one entry for each place; ``None`` where nothing was measured."""
        return columns_of(self)

    def to_frame(self) -> Any:
        """The places as a pandas ``DataFrame``.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return frame_of(self)

    def plot(self) -> Any:
        """E[x²] and E[g²] by depth as a plotly ``Figure``."""
        return figure_of({self.model: self})

    def html(self) -> str:
        """The record as one HTML page that opens offline."""
        return light_page(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """The record as JSON, exactly; written to ``path`` where one is given. Findings are made again from it."""
        return dumped(self, path)

    @classmethod
    def from_json(cls, source: str | Path) -> Light:
        """The record from its JSON: a text, or a ``Path`` to one.

        Raises:
            ArgumentError: it is no record's JSON, or of another version.
        """
        return loaded(source, cls)

    def against(self, plan: Plan) -> Against:
        """What a plan predicts for each weight's output, beside what was measured.

        Args:
            plan: of the model that was measured, as ``fl.plan`` makes it.

        Raises:
            ArgumentError: the model was not traced, or the plan is of another one.
        """
        return against(self, plan)

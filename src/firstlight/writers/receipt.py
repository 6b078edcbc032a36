"""The receipt: what was written into each parameter, so that it can be checked and repeated.

``apply_`` makes it from what it wrote; a run's log keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..plans.records import Entry
from ..reports.files import into
from . import saving
from .digests import named
from .placements import Held
from .summaries import summarized


@dataclass(frozen=True, slots=True)
class Written:
    """One parameter as it was left.

    Args:
        name: its canonical name; ``aliases`` are the other names of the same tensor.
        decision: the initializer in the words that make it again, or ``Keep(...)``.
        reason: why this decision.
        stream: the 64-bit stream its values were drawn from, ``None`` where nothing was drawn.
        mean, std: of the values it now holds (std over n, not n - 1), NaN where there are none or they are not real.
        digest: of dtype, shape and values, in hex, the same on any number of ranks (``digests.py`` has the formula);
            empty where digests were not asked for.
    """

    name: str
    aliases: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    decision: str
    reason: str
    stream: int | None
    mean: float
    std: float
    digest: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What ``init_`` or ``apply_`` did: the scheme, the seed, and every parameter and statistic once.

    ``field_format`` is the version of the random field; equal format, seed and names give equal bits.
    """

    scheme: str
    seed: int
    field_format: int
    written: tuple[Written, ...]
    kept: tuple[Written, ...]

    def __getitem__(self, name: str) -> Written:
        """The record of the parameter ``name``, under any of its names; KeyError where there is none."""
        for record in self:
            if name == record.name or name in record.aliases:
                return record
        raise KeyError(name)

    def __iter__(self) -> Iterator[Written]:
        yield from self.written
        yield from self.kept

    def __str__(self) -> str:
        elements = sum(math.prod(w.shape) for w in self.written)
        kept = f", {len(self.kept)} kept" if self.kept else ""
        return f"{self.scheme}, seed {self.seed}: {len(self.written)} tensors written ({elements:,} values){kept}"

    def to_json(self, path: str | Path | None = None) -> str:
        """The receipt as JSON, written to ``path`` where one is given; ``from_json`` gives it back exactly."""
        return into(path, saving.dumped(self))

    @classmethod
    def from_json(cls, text: str | Path) -> Receipt:
        """The receipt that ``to_json`` wrote, from its text or, given a ``Path``, from a file.

        Raises:
            ArgumentError: it is no receipt, or of another version.
        """
        receipt: Receipt = saving.loaded(cls, text)
        return receipt


def record(tensors: Sequence[tuple[Entry, Held, int | None]], digests: bool) -> tuple[Written, ...]:
    """The records of tensors as they are now, in order; of sharded ones over all ranks, which call it alike."""
    summaries = summarized([h for _, h, _ in tensors], digests=digests, compare=False)
    return tuple(
        Written(
            name=entry.parameter.name,
            aliases=entry.parameter.aliases,
            shape=h.shape,
            dtype=str(h.local.dtype).removeprefix("torch."),
            decision=repr(entry.decision),
            reason=entry.reason,
            stream=stream,
            mean=found.mean,
            std=found.std,
            digest="" if found.total is None else named(h.local.dtype, h.shape, found.total),
        )
        for (entry, h, stream), found in zip(tensors, summaries, strict=True)
    )

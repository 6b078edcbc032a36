"""The transfer report: what became of every parameter and buffer, and what of the source was not used.

``writers.load_`` returns one. It is data: printed as a table, saved as JSON; ``check`` asks the loaded model whether
the signal still travels.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import get_terminal_size

from torch import nn

from ..graphs.tracing import Inputs
from ..reports.files import into
from ..reports.names import cut_front, in_one, unnumbered
from ..reports.text import counted, table
from .travel import Travel, travel

LOADED, ADAPTED, FRESH, KEPT = "loaded", "adapted", "fresh", "kept"
KINDS = (LOADED, ADAPTED, FRESH, KEPT)
_LITTLE = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one tensor of the model.

    Args:
        name: its canonical name; ``aliases`` are its other names where it is tied.
        shape: its shape.
        kind: ``"loaded"``, ``"adapted"``, ``"fresh"`` or ``"kept"``.
        tensors: the source's tensors it was made from.
        rule: which matching rule found them; "" where none did.
        why: how it was matched and adapted, or why it is fresh or kept.
        buffer: whether it is no parameter.
        dtype: the model's; ``source_dtype`` the source's, "" where nothing was loaded.
        initializer: what drew a fresh one.
    """

    name: str
    aliases: tuple[str, ...]
    shape: tuple[int, ...]
    kind: str
    tensors: tuple[str, ...]
    rule: str
    why: str
    buffer: bool
    dtype: str
    source_dtype: str = ""
    initializer: str = ""

    @property
    def values(self) -> int:
        """How many values it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Unused:
    """A tensor of the source that nothing took."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class TransferReport:
    """What ``load_`` did, every parameter and buffer once.

    Args:
        source: what the weights came from.
        outcomes: in the model's order.
        unused: what of the source was not used.
        notes: what was decided on the way, and what a person should look at.
        seed: of the fresh values.
        written: whether the model was written; not where ``dry_run`` only shows what would be.
        model: the model, for ``check``.
    """

    source: str
    outcomes: tuple[Outcome, ...]
    unused: tuple[Unused, ...]
    notes: tuple[str, ...]
    seed: int
    written: bool
    model: nn.Module = field(repr=False, compare=False)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    def __getitem__(self, name: str) -> Outcome:
        """The outcome of the tensor ``name``, under any of its names; KeyError where there is none."""
        for outcome in self.outcomes:
            if name == outcome.name or name in outcome.aliases:
                return outcome
        raise KeyError(name)

    def __str__(self) -> str:
        return self.table(width=get_terminal_size((140, 24)).columns)

    @property
    def loaded(self) -> tuple[Outcome, ...]:
        """Taken as they are, or only laid out anew."""
        return self._of(LOADED)

    @property
    def adapted(self) -> tuple[Outcome, ...]:
        """Computed from the source's."""
        return self._of(ADAPTED)

    @property
    def fresh(self) -> tuple[Outcome, ...]:
        """Drawn anew."""
        return self._of(FRESH)

    @property
    def kept(self) -> tuple[Outcome, ...]:
        """Left as the model had them."""
        return self._of(KEPT)

    @property
    def share(self) -> float:
        """The share of the parameters' values that come from the source."""
        return share(self.outcomes)

    @property
    def summary(self) -> str:
        """One line."""
        counts = Counter(o.kind for o in self.outcomes)
        parts = [f"{counts[k]} {k}" for k in KINDS if counts[k]]
        parts += [f"{len(self.unused)} of the source unused"] if self.unused else []
        doing = "" if self.written else "would be: "
        alarm = "LITTLE MATCHED. " if self.share < _LITTLE else ""
        rules = Counter(o.rule for o in self.outcomes if o.rule)
        by = f" (by {', '.join(f'{r} {n}' for r, n in rules.most_common())})" if rules else ""
        return (
            f"{alarm}{doing}{', '.join(parts)}: {100 * self.share:.1f} % of "
            f"{counted(sum(o.values for o in self.outcomes if not o.buffer), 'parameter value')} from {self.source}{by}"
        )

    def table(self, *, width: int | None = None, every: bool = True, collapse: bool = True) -> str:
        """The summary, the notes, and a table.

        Args:
            width: cut words so that it fits so many columns.
            every: rows for all tensors; ``False`` leaves out those that were loaded by exact name.
            collapse: rows that differ in nothing but a layer's number stand once, with a count.
        """
        shown = [o for o in self.outcomes if every or o.kind != LOADED or o.rule != "exact"]
        lines = [self.summary, *(f"note: {n}" for n in self.notes), ""]
        if shown:
            rows = [_row(group) for group in _groups(shown, collapse=collapse)]
            lines.append(_fitted(("parameter", "shape", "is", "from", "how or why"), rows, width))
        if self.unused:
            rows5 = [(u.name, _size(u.shape), u.dtype, u.why) for u in self.unused]
            lines += ["", "unused in the source:", _fitted(("tensor", "shape", "dtype", "why"), rows5, width)]
        return "\n".join(lines)

    def to_json(self, path: str | Path | None = None) -> str:
        """The report as JSON, written to ``path`` where one is given.

        Raises:
            ArgumentError: it cannot be written.
        """
        whole = {
            "firstlight_transfer": 1,
            "summary": self.summary,
            "source": self.source,
            "seed": self.seed,
            "written": self.written,
            "share": self.share,
            "notes": list(self.notes),
            "outcomes": [asdict(o) for o in self.outcomes],
            "unused": [asdict(u) for u in self.unused],
        }
        return into(path, json.dumps(whole, indent=1, allow_nan=False))

    def check(self, batch: Inputs) -> Travel:
        """Whether the signal still travels: one forward of the model, and what speaks against it.

        The running statistics of batch norms are held against the batch's own: where they were trained on inputs of
        another normalization, the first ones say so. The model is left as it was.

        Args:
            batch: real inputs, as the model is called, some tens of examples.

        Returns:
            What was measured, with ``concerns`` in words; none where nothing speaks against it.
        """
        loaded = {n for o in self.outcomes if o.kind in (LOADED, ADAPTED) for n in (o.name, *o.aliases)}
        return travel(self.model, batch, loaded)

    def _of(self, kind: str) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.kind == kind)


def share(outcomes: tuple[Outcome, ...]) -> float:
    """The share of the parameters' values that come from the source."""
    whole = sum(o.values for o in outcomes if not o.buffer)
    return sum(o.values for o in outcomes if not o.buffer and o.kind in (LOADED, ADAPTED)) / max(1, whole)


def _groups(outcomes: Sequence[Outcome], *, collapse: bool) -> list[list[Outcome]]:
    """What differs in a layer's number alone, together, in the order of the first of each."""
    found: dict[object, list[Outcome]] = {}
    for i, o in enumerate(outcomes):
        tensors = tuple(map(unnumbered, o.tensors))
        kind: object = (unnumbered(o.name), o.shape, o.kind, tensors, unnumbered(o.why)) if collapse else i
        found.setdefault(kind, []).append(o)
    return list(found.values())


def _row(group: Sequence[Outcome]) -> tuple[str, ...]:
    first = group[0]
    count = f" ×{len(group)}" if len(group) > 1 else ""
    # Under its own name there is nothing to say twice.
    same = all(o.tensors == (o.name,) for o in group)
    tensors = "" if same else " + ".join(map(in_one, zip(*(o.tensors for o in group), strict=True)))
    return (
        in_one([o.name for o in group]) + count,
        _size(first.shape),
        first.kind,
        tensors,
        in_one([o.why for o in group]),
    )


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _fitted(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], width: int | None) -> str:
    """A table whose longest columns are cut until it fits."""
    widths = [max(len(r[i]) for r in (header, *rows)) for i in range(len(header))]
    while width is not None and sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > 16:
        widths[widths.index(max(widths))] -= 1
    cut = [tuple(_cut(c, w, end=i == 0) for i, (c, w) in enumerate(zip(r, widths, strict=True))) for r in rows]
    return table(header, cut, left=len(header))


def _cut(text: str, width: int, *, end: bool) -> str:
    if len(text) <= width:
        return text
    return cut_front(text, width) if end else f"{text[: width - 1]}…"

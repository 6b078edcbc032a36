"""The plan: what every parameter of a model starts as, and why. Data: ``writers.apply_`` carries it out.

``schemes.plan`` makes one; it is printed, selected from, edited, compared, cited and saved here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from shutil import get_terminal_size

from ..errors import ArgumentError
from ..graphs.records import Parameter
from ..initializers.base import Initializer
from ..reports.files import into
from . import saving
from .difference import Difference, difference
from .records import Entry, Keep
from .references import bibliography
from .selecting import Selection, chooser
from .table import rendered


@dataclass(frozen=True, slots=True)
class Plan:
    """Every parameter and tracked statistic of a model exactly once, each with what to do to it.

    Args:
        scheme: the text of the scheme that made it.
        entries: in the model's order.

    >>> import torch, firstlight as fl
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    >>> made = fl.plan(model, torch.randn(8, 64), fl.Orthogonal()).override("2.weight", fl.Zeros(), why="from zero")
    >>> print(made["*.weight"])
    Orthogonal(gain=1.0): 2 tensors, 2,368 values
    <BLANKLINE>
    parameter  shape  role                 fan in/out  meets  initializer    std    why
    ─────────  ─────  ───────────────────  ──────────  ─────  ─────────────  ─────  ───
    0.weight   32×64  linear weight        64 / 32     relu   Orthogonal(1)  0.125  [1]
    2.weight   10×32  linear weight, head  32 / 10            Zeros()        0      [2]
    <BLANKLINE>
    [1] as asked
    [2] from zero
    """

    scheme: str
    entries: tuple[Entry, ...]

    def __str__(self) -> str:
        return self.table(width=get_terminal_size((140, 24)).columns)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, selection: Selection) -> Plan:
        """The part of the plan that a glob or selector means, to look at; a part cannot be applied."""
        return self.select(selection)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.table())}</pre>"

    def table(self, *, width: int | None = None, collapse: bool = True) -> str:
        """The plan as a table, with the reasons under it.

        Args:
            width: cut long names so that it fits so many columns.
            collapse: rows that differ in nothing but a number stand once, with a count.
        """
        return rendered(self.scheme, self.entries, width=width, collapse=collapse)

    @property
    def uncovered(self) -> tuple[Parameter, ...]:
        """The parameters nobody decided about."""
        return tuple(e.parameter for e in self.entries if e.decision is None)

    def select(self, selection: Selection) -> Plan:
        """The part of the plan that a glob or ``Selector`` means.

        Raises:
            ArgumentError: it means nothing in this plan.
        """
        means = chooser(selection, [e.parameter for e in self.entries])
        found = tuple(e for e in self.entries if means(e.parameter))
        if not found:
            raise ArgumentError(f"{selection!r} means no parameter of the plan")
        return replace(self, entries=found)

    def override(self, selection: Selection, decision: Initializer | Keep, why: str = "") -> Plan:
        """The plan with another decision for what a glob or ``Selector`` means.

        Args:
            selection: what is meant; where several overrides mean one parameter, the last that was made stands.
            decision: an initializer or ``Keep(reason)``.
            why: the reason to show.

        Raises:
            ArgumentError: it means nothing in this plan, or the decision is none.
        """
        if not isinstance(decision, Initializer | Keep):
            raise ArgumentError(f"{decision!r} is no decision: give an initializer (fl.Ones()) or fl.Keep(reason)")
        meant = {e.parameter.name for e in self.select(selection).entries}
        reason = why or (decision.reason if isinstance(decision, Keep) else f"your override of {selection!r}")

        def change(entry: Entry) -> Entry:
            if entry.parameter.name not in meant:
                return entry
            return replace(entry, decision=decision, reason=reason, reference="")

        return self.map(change)

    def map(self, change: Callable[[Entry], Entry]) -> Plan:
        """The plan with ``change`` made to each entry."""
        return replace(self, entries=tuple(change(e) for e in self.entries))

    def diff(self, other: Plan) -> Difference:
        """What another plan of the model decides differently."""
        return difference(self.entries, other.entries)

    def cite(self) -> str:
        """BibTeX for the works that the plan's decisions rest on."""
        return bibliography(e.reference for e in self.entries)

    def to_json(self, path: str | Path | None = None) -> str:
        """The plan as JSON, written to ``path`` where one is given; ``from_json`` gives it back exactly.

        Raises:
            ArgumentError: a decision is more than numbers, such as weights from a file; or the file cannot be written.
        """
        return into(path, saving.dumped(self.scheme, self.entries))

    @classmethod
    def from_json(cls, text: str | Path) -> Plan:
        """The plan that ``to_json`` wrote, from its text or, given a ``Path``, from a file.

        Raises:
            ArgumentError: it is no plan, or of another version.
        """
        if isinstance(text, Path):
            try:
                text = text.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ArgumentError(f"cannot read the plan: {error}") from error
        return cls(*saving.loaded(text))

"""A finding: a named fault with its place, its evidence, its cause and its fix, as data.

Each family's file in this room makes findings from a probe's ``Light`` or from a training log; ``watch``, reports and
studies show them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from ..plans import Plan


class Severity(StrEnum):
    """How sure it is that training suffers: an error stops or wastes it, a warning may, a note is to be known."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One number that speaks for a finding.

    Args:
        quantity: what was measured, in words ("second moment of the output").
        value: what it is.
        threshold: the bound that it crosses.
        expected: what theory or a healthy network gives; ``None`` where there is no such number.
        source: where bound and expectation come from: a paper, or the calibration in docs/findings.md.
    """

    quantity: str
    value: float
    threshold: float
    expected: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A named fault.

    Args:
        code: its name in the catalogue (``vanishing-forward``).
        severity: how bad it is.
        where: the parameter or layer, by its path; "" for the whole model.
        position: how deep that is, 0 at the inputs and 1 at the outputs; ``None`` where it has no place.
        evidence: the numbers, the telling one first.
        cause: why it is so, in a sentence.
        remedy: what to do, in a sentence.
        repair: makes the changed plan, or is the code to paste; what ``fix`` gives.
        step: the training step at which it was seen; ``None`` at step 0.
        predicted: whether its numbers follow from a plan in theory, of a model without values, and were not measured.
    """

    code: str
    severity: Severity
    where: str
    position: float | None
    evidence: tuple[Evidence, ...]
    cause: str
    remedy: str
    repair: Callable[[], Plan] | str = field(default="", compare=False, repr=False)
    step: int | None = None
    predicted: bool = False

    def fix(self) -> Plan | str:
        """The fix as something to apply: a changed plan for ``fl.apply_``, or the code to paste."""
        return self.repair if isinstance(self.repair, str) else self.repair()

"""Whether findings are right: the right fault at the right place, and nothing of a healthy program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch

import firstlight as fl
from firstlight.checks import Finding, Findings, Severity

from .mending import mend
from .program import Case, Program


@dataclass(frozen=True)
class Verdict:
    """What was found of a program.

    Args:
        findings: errors and warnings.
        refused: the batch itself was refused, with an error that names what is wrong with it.
        hit: whether one is right; ``first`` whether the first is.
    """

    program: Program
    findings: Findings
    refused: bool
    hit: bool
    first: bool


def probed(case: Case) -> Findings:
    """Errors and warnings of a program as it stands; notes are none."""
    x, y = case.first_batch()
    light = fl.probe(case.model, x, y, case.loss_fn, optimizer=case.optimizer(case.model))
    return Findings(f for f in light.findings if f.severity is not Severity.NOTE)


def judged(program: Program) -> Verdict:
    try:
        found = probed(program())
    except fl.DataError:
        refused = "non-finite-inputs" in program.faults
        return Verdict(program, Findings(), True, refused, refused)
    return Verdict(program, found, False, any(right(program, f) for f in found), right_first(program, found))


def right(program: Program, finding: Finding) -> bool:
    """Whether a finding names an accepted fault at an accepted place."""
    places = (fnmatchcase(finding.where, g) or fnmatchcase(finding.where, f"{g}.*") for g in program.where)
    return finding.code in program.faults and any(places)


def right_first(program: Program, found: Findings) -> bool:
    return bool(found) and right(program, found[0])


@dataclass(frozen=True)
class Mended:
    """A program before and after its fixes: the scores, and the codes whose fixes were applied, in order."""

    program: Program
    before: float
    after: float
    needed: float
    applied: tuple[str, ...]

    @property
    def failed_before(self) -> bool:
        return not self.before >= self.needed

    @property
    def trains_after(self) -> bool:
        return self.after >= self.needed


def repaired(program: Program, rounds: int = 3) -> Mended:
    """Trains a program as it is; then applies the first finding's fix, up to three times, and trains it again."""
    torch.set_flush_denormal(True)
    try:
        before = program().train()
        case, applied = program(), []
        for _ in range(rounds):
            try:
                found = probed(case)
            except fl.DataError:
                _clean(case)
                applied.append("batch refused")
                continue
            if not found:
                break
            applied.append(found[0].code)
            if not mend(program, case, found[0]):
                applied[-1] += " (by hand)"
                break
        return Mended(program, before, case.train(), case.trains, tuple(applied))
    finally:
        torch.set_flush_denormal(False)


def _clean(case: Case) -> None:
    """Drops the samples that hold NaN, as the error asks."""
    kept = ~(torch.isnan(case.inputs.flatten(1)).any(1) | torch.isnan(case.targets.flatten(1).float()).any(1))
    case.inputs, case.targets = case.inputs[kept], case.targets[kept]


def shares(verdicts: Iterable[Verdict]) -> tuple[int, int, int, int, int]:
    """Faulty programs, those found, those found first; healthy ones, those that were called faulty."""
    listed = list(verdicts)
    faulty = [v for v in listed if v.program.faults]
    healthy = [v for v in listed if not v.program.faults]
    return (
        len(faulty),
        sum(v.hit for v in faulty),
        sum(v.first for v in faulty),
        len(healthy),
        sum(bool(v.findings) for v in healthy),
    )

"""The watch in words: its summary with the loss as a line of blocks, and findings as plain data and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..reports.sketch import sparkline
from ..reports.text import counted
from .findings import as_dict, from_dict, one
from .records import Evidence, Finding, Severity
from .training_records import Training
from .watch_origin import Where


def summary(training: Training, steps: int, findings: Sequence[Finding]) -> str:
    """A few lines: how the loss went, what was measured, what was found."""
    loss = training.curve.loss
    lines = [f"watch: {counted(steps, 'step')}, {len(training.samples)} of them measured"]
    if len(loss):
        first, last = float(np.median(loss[:5])), float(np.median(loss[-5:]))
        lines.append(f"loss {first:.4g} → {last:.4g}  {sparkline(loss)}")
    if len(training.curve.validation):
        held = training.curve.validation
        lines.append(f"validation {held[0]:.4g} → {held[-1]:.4g}  {sparkline(held)}")
    elif len(loss) and np.median(loss[-5:]) < 0.1 * abs(np.median(loss[:5])):
        lines.append("no validation loss was shown (w.log): whether this is over-fitting cannot be told")
    lines += ["nothing found"] if not findings else ["", *(one(f) for f in findings)]
    return "\n".join(lines)


def fault_words(finding: Finding) -> str:
    """A finding as an error's message."""
    where = f" at {finding.where}" if finding.where else ""
    return f"{finding.code}{where}, step {finding.step}: {finding.cause}; {finding.remedy}"


def never_stepped(losses: int) -> Finding:
    """Losses were shown, and the optimizer has not stepped once."""
    return Finding(
        "update-too-small",
        Severity.WARNING,
        "",
        None,
        (Evidence("steps of the optimizer", 0.0, 1.0, float(losses)),),
        f"the optimizer has not stepped once in {losses} losses: nothing was trained",
        "call optimizer.step() behind backward(), of the optimizer that the watch was given",
        "optimizer.step()",
        0,
    )


def origin_words(where: Where) -> str:
    """Where numbers stop being finite, as the end of a sentence."""
    at = f" in {where.module}" if where.module else ""
    given = f", given {where.given}" if where.given else ""
    match where.kind:
        case "inputs":
            return f"the model's inputs hold NaN or Inf{given}"
        case "parameter":
            return f"the parameter {where.module} holds NaN or Inf: an earlier update did that"
        case "forward":
            return f"the first operation to give NaN or Inf is {where.op}{at}{given}"
        case "loss":
            return "the model's outputs are finite: the loss function gives NaN or Inf"
        case _:
            return "what made it is not known; call w.step(loss) before backward() and the optimizer's step"


def origin_remedy(where: Where) -> str:
    """What helps against it."""
    match where.kind:
        case "inputs":
            return "clean the data: leave out or fill in what is missing"
        case "parameter":
            return "lower the learning rate or clip gradients; w.step(loss) before backward() finds it a step earlier"
        case "forward":
            return f"keep what {where.op} is given in its range, or lower the learning rate if it grew to this"
        case "loss":
            return "use the loss that takes logits (cross_entropy, binary_cross_entropy_with_logits), or clamp"
        case _:
            return "lower the learning rate, clip gradients"


def finding_state(finding: Finding) -> dict[str, Any]:
    """A finding as plain numbers and words; a fix that is a function is left out."""
    return {**as_dict(finding), "repair": finding.repair if isinstance(finding.repair, str) else ""}


def finding_of(state: dict[str, Any]) -> Finding:
    """What ``finding_state`` gave."""
    return replace(from_dict(state), repair=state["repair"])

"""``firstlight diagnose``: a finished run's log, as a small curve and findings."""

from __future__ import annotations

import math
from pathlib import Path

import typer

from ..checks import diagnose_curve, read_log
from ..errors import ArgumentError
from ..reports.sketch import sketch, sparkline
from ..reports.text import counted
from .show import stdout

FOUND_ERRORS = 1


def run(
    log: Path,
    column: str | None,
    validation: str | None,
    trivial: float | None,
    classes: int | None,
    json: Path | None,
) -> None:
    """Read the log, show its curve, print what is found. Ends with exit code 1 where a finding is an error."""
    if trivial is not None and classes is not None:
        raise ArgumentError("--trivial and --classes both say what a constant prediction loses: give one")
    if classes is not None and classes < 2:
        raise ArgumentError(f"--classes {classes} should be 2 or more")
    curve = read_log(
        log, column=column, validation=validation, trivial=math.log(classes) if classes is not None else trivial
    )
    findings = diagnose_curve(curve)
    console = stdout()

    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)

    say(f"{log}: {counted(len(curve), 'point')}")
    say(sketch(curve.loss.tolist(), float(curve.steps[0]), float(curve.steps[-1]), min(72, console.width - 14)))
    if len(curve.validation):
        say(f"validation {sparkline(curve.validation.tolist(), min(60, console.width - 14))}")
    say("")
    say(str(findings) if findings else "nothing found in this curve")
    if trivial is None and classes is None:
        say("\nWith --classes N or --trivial LOSS it can also tell a loss that rests at chance.", "dim")
    if not len(curve.validation):
        say("\nWithout a validation loss nothing can be told of over-fitting.", "dim")
    if json is not None:
        try:
            findings.to_json(json)
        except OSError as error:
            raise ArgumentError(f"cannot write {str(json)!r}: {error.strerror}") from error
        say(f"Written: {json}")
    if findings.errors:
        raise typer.Exit(FOUND_ERRORS)

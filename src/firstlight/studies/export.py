"""A study's numbers as files: one row per trial as CSV, everything as JSON.

``Study`` writes through here. Wall times stand apart from what a repeated run reproduces bit for bit.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import StoreError
from .foretelling import OUTCOMES
from .records import ArmSummary, Comparison, Foretold, Result, Setting

_COLUMNS = (
    "stage",
    "arm",
    "learning_rate",
    "seed",
    "status",
    "test_accuracy",
    "test_loss",
    "validation_accuracy",
    "validation_loss",
    "steps_to_target",
    "diverged_at",
    "at_chance",
    "error",
    "wall_seconds",
)


def to_csv(results: Sequence[Result]) -> str:
    """A row for each trial; empty where there is no value. ``wall_seconds`` is last: all else repeats bit for bit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for result in results:
        row = {**asdict(result.trial), **{k: getattr(result, k) for k in _COLUMNS if hasattr(result, k)}}
        writer.writerow(["" if _is_missing(row[k]) else row[k] for k in _COLUMNS])
    return text.getvalue()


def to_json(
    setting: Setting,
    arms: Sequence[ArmSummary],
    comparisons: Sequence[Comparison],
    verdict: Sequence[str],
    foretold: Sequence[Foretold],
    results: Sequence[Result],
) -> str:
    """Everything, as strict JSON (NaN and infinity become null); wall times are under ``timing`` alone."""
    trials = [asdict(r) for r in results]
    timing = [t.pop("wall_seconds") for t in trials]
    whole = {
        "setting": asdict(setting),
        "verdict": list(verdict),
        "arms": [asdict(a) for a in arms],
        "comparisons": [asdict(c) for c in comparisons],
        "foretold": {f.verdict: dict(zip(OUTCOMES, f.outcomes, strict=True)) for f in foretold},
        "trials": trials,
        "timing": {"wall_seconds": timing},
    }
    return json.dumps(_strict(whole), indent=1, allow_nan=False) + "\n"


def write(path: Path, text: str) -> Path:
    """Write a file whole or not at all; StoreError names the path where that fails."""
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    return path


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

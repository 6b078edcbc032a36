"""``firstlight report``: a finished study's page again, from its run folder."""

from __future__ import annotations

from pathlib import Path

from ..studies import load_study
from .show import show_study, stdout


def run(folder: Path, out: Path | None) -> None:
    """Write the page and show the study."""
    study = load_study(folder)
    path = study.report(out)
    show_study(stdout(), study, path)

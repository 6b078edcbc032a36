"""``firstlight report``: a finished study's page again, from its run folder."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ..studies import load_study
from .show import show_study


def run(folder: Path, out: Path | None) -> None:
    """Write the page and show the study."""
    study = load_study(folder)
    path = study.report(out)
    console = Console()
    show_study(console, study)
    if out is not None:
        console.print(f"Written: {path}", highlight=False, markup=False, soft_wrap=True)

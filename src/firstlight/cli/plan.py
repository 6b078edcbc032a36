"""``firstlight plan``: a model's plan on the terminal, as JSON or as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..plans.page import plan_page
from ..schemes import plan
from .models import built_model, example_of, write_file
from .rules import read_rules
from .show import stdout


def run(
    model: str,
    scheme: str,
    shape: str | None,
    inputs: str | None,
    rules: Sequence[str],
    json: Path | None,
    html: Path | None,
) -> None:
    """Build the model, plan it, show or write the plan."""
    built, own = built_model(model)
    example = example_of(own, shape, inputs)
    made = plan(built, example, scheme, rules=read_rules(rules))
    console = stdout()
    console.print(made.table(width=console.width), highlight=False, markup=False, soft_wrap=True)
    if example is None:
        console.print("\nWith example inputs it knows more: --shape 1,3,32,32 or --inputs file.py:make.", style="dim")
    if json is not None:
        write_file(console, json, made.to_json())
    if html is not None:
        write_file(console, html, plan_page(made, model, f"firstlight {__version__}"))

"""``firstlight load``: a model started from other weights, the report of it, and the weights as a file."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import save_model
from torch import nn

from ..errors import ArgumentError
from ..transfers import Renames
from ..writers import load_
from .models import built_model, example_of, write_file
from .rules import read_rules
from .show import stdout


def run(
    model: str,
    source: Path,
    rename: Sequence[str],
    adapt: Sequence[str],
    skip: Sequence[str],
    fresh: str,
    section: str | None,
    require: float,
    shape: str | None,
    inputs: str | None,
    rules: Sequence[str],
    seed: int,
    dry_run: bool,
    every: bool,
    out: Path | None,
    json: Path | None,
) -> None:
    """Build the model, load the weights into it, show the report, write what was asked for."""
    if dry_run and out is not None:
        raise ArgumentError("--dry-run loads nothing, so there is nothing for --out to write: leave one of them out")
    built, own = built_model(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the report, shown below, says that little matched
        report = load_(
            built,
            source,
            inputs=example_of(own, shape, inputs),
            rename=_renames(rename),
            adapt=_adaptations(adapt),
            fresh=fresh,
            rules=read_rules(rules),
            skip=skip,
            require=require,
            section=section,
            seed=seed,
            dry_run=dry_run,
        )
    console = stdout()
    console.print(report.table(width=console.width, every=every), highlight=False, markup=False, soft_wrap=True)
    if json is not None:
        write_file(console, json, report.to_json())
    if out is not None:
        _save(console, built, out)


def _renames(texts: Sequence[str]) -> Renames:
    rules: dict[str | re.Pattern[str], str] = {}
    for text in texts:
        old, equals, new = text.partition("=")
        if not (equals and old):
            raise ArgumentError(f"--rename {text!r} should be old=new, such as 'encoder.*=backbone.*'")
        rules[old] = new
    return rules


def _adaptations(names: Sequence[str]) -> bool | tuple[str, ...]:
    """All the usual ones where none is named, none for ``none``."""
    listed = tuple(part.strip() for name in names for part in name.split(","))
    if not listed:
        return True
    return False if listed == ("none",) else listed


def _save(console: Console, model: nn.Module, path: Path) -> None:
    """The model's weights as safetensors, whole or not at all."""
    draft = path.with_name(f"{path.name}.part")
    try:
        save_model(model, str(draft))
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        draft.unlink(missing_ok=True)
        raise ArgumentError(f"cannot write {str(path)!r}: {error}") from error
    console.print(f"Written: {path}", highlight=False, markup=False, soft_wrap=True)

"""``firstlight plan``: a model's plan on the terminal, as JSON or as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from .. import __version__
from ..errors import ArgumentError, FirstlightError, ModelError
from ..plans.page import plan_page
from ..schemes import plan
from ..studies.data.factories import load_factory
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
    if shape is not None and inputs is not None:
        raise ArgumentError("--shape and --inputs both give example inputs: give one")
    built, example = _built(model)
    if inputs is not None:
        example = _called(inputs)
    elif shape is not None:
        example = _random(shape)
    made = plan(built, example, scheme, rules=read_rules(rules))
    console = stdout()
    console.print(made.table(width=console.width), highlight=False, markup=False, soft_wrap=True)
    if example is None:
        console.print("\nWith example inputs it knows more: --shape 1,3,32,32 or --inputs file.py:make.", style="dim")
    if json is not None:
        _write(console, json, made.to_json())
    if html is not None:
        _write(console, html, plan_page(made, model, f"firstlight {__version__}"))


def _built(spec: str) -> tuple[nn.Module, Any]:
    """The model that a factory gives, alone or with example inputs."""
    made = _called(spec)
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module):
        return made
    if not isinstance(made, nn.Module):
        raise ModelError(f"{spec!r} gave {type(made).__name__}: give a torch.nn.Module, or (module, example inputs)")
    return made, None


def _called(spec: str) -> Any:
    function = load_factory(spec)
    try:
        return function()
    except FirstlightError:
        raise
    except Exception as error:
        raise ModelError(f"{spec!r} raised {type(error).__name__}: {error}; it is called with no arguments") from error


def _random(shape: str) -> torch.Tensor:
    """Standard normal inputs of this shape."""
    try:
        sizes = [int(n) for n in shape.split(",")]
    except ValueError:
        raise ArgumentError(f"--shape {shape!r} should be whole numbers separated by commas: 8,3,32,32") from None
    if not all(n > 0 for n in sizes):
        raise ArgumentError(f"--shape {shape!r} should be positive numbers")
    return torch.randn(sizes, generator=torch.Generator().manual_seed(0))


def _write(console: Console, path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ArgumentError(f"cannot write {str(path)!r}: {error.strerror}") from error
    console.print(f"Written: {path}", highlight=False, markup=False, soft_wrap=True)

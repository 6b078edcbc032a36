"""Models and example inputs from the command line, and files to write: what ``plan`` and ``probe`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from ..errors import ArgumentError, FirstlightError, ModelError
from ..reports.files import into
from ..studies.data.factories import load_factory


def example_of(built: Any, shape: str | None, inputs: str | None) -> Any:
    """The example inputs that the options give; the factory's own, ``built``, where none is given."""
    if shape is not None and inputs is not None:
        raise ArgumentError("--shape and --inputs both give example inputs: give one")
    if inputs is not None:
        return called(inputs)
    return built if shape is None else random_inputs(shape)


def built_model(spec: str) -> tuple[nn.Module, Any]:
    """The model that a factory gives, alone or with example inputs."""
    made = called(spec)
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module):
        return made
    if not isinstance(made, nn.Module):
        raise ModelError(f"{spec!r} gave {type(made).__name__}: give a torch.nn.Module, or (module, example inputs)")
    return made, None


def called(spec: str) -> Any:
    """What a function of a file gives, called with nothing."""
    function = load_factory(spec)
    try:
        return function()
    except FirstlightError:
        raise
    except Exception as error:
        raise ModelError(f"{spec!r} raised {type(error).__name__}: {error}; it is called with no arguments") from error


def random_inputs(shape: str) -> torch.Tensor:
    """Standard normal inputs of this shape."""
    try:
        sizes = [int(n) for n in shape.split(",")]
    except ValueError:
        raise ArgumentError(f"--shape {shape!r} should be whole numbers separated by commas: 8,3,32,32") from None
    if not all(n > 0 for n in sizes):
        raise ArgumentError(f"--shape {shape!r} should be positive numbers")
    return torch.randn(sizes, generator=torch.Generator().manual_seed(0))


def write_file(console: Console, path: Path, text: str) -> None:
    """Write a file and say so."""
    into(path, text)
    console.print(f"Written: {path}", highlight=False, markup=False, soft_wrap=True)

"""``firstlight probe``: how the signal travels through a model, from one initialization or from several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn import functional

from ..checks import probe
from ..errors import ArgumentError, UnknownNameError
from ..probes.comparing import Comparison, initialized
from ..studies.data.factories import load_factory
from .compare import split_arms
from .models import built_model, called, example_of, write_file
from .rules import read_rules
from .show import stdout

_LOSSES = ("cross_entropy", "mse_loss", "l1_loss", "binary_cross_entropy_with_logits", "nll_loss", "smooth_l1_loss")


def run(
    model: str,
    init: Sequence[str],
    shape: str | None,
    inputs: str | None,
    targets: str | None,
    loss: str | None,
    lr: float | None,
    jacobian: bool,
    seed: int,
    rules: Sequence[str],
    json: Path | None,
    html: Path | None,
) -> None:
    """Build the model, initialize it, measure it, show or write what was found."""
    built, own = built_model(model)
    example = example_of(own, shape, inputs)
    if example is None:
        raise ArgumentError("a probe runs the model: give example inputs, --shape 8,3,32,32 or --inputs file.py:make")
    wanted = None if targets is None else called(targets)
    function = None if loss is None else _loss(loss)

    def measured(network: nn.Module) -> Any:
        return probe(network, example, wanted, function, lr=lr, jacobian=jacobian, seed=seed)

    names = split_arms(list(init))
    models = initialized(built, names, example, rules=read_rules(rules), seed=seed) if names else {"as built": built}
    lights = {name: measured(network) for name, network in models.items()}
    shown = next(iter(lights.values())) if len(lights) == 1 else Comparison(lights)
    console = stdout()
    console.print(shown.table(width=console.width), highlight=False, markup=False, soft_wrap=True)
    if json is not None:
        write_file(console, json, shown.to_json())
    if html is not None:
        write_file(console, html, shown.html())


def _loss(spec: str) -> Callable[..., Any]:
    """A loss by its name in torch.nn.functional, or a function of a file."""
    if ":" in spec:
        return load_factory(spec)
    if spec not in _LOSSES:
        raise UnknownNameError.of("loss", spec, (*_LOSSES, "file.py:function"))
    found: Callable[..., Any] = getattr(functional, spec)
    return found

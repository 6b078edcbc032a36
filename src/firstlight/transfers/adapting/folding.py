"""Batch norm folded into the convolution or linear layer before it, where the model has none.

In evaluation y = γ (W x + b − μ) / √(v + ε) + β is again a linear layer: W' = W γ/√(v + ε) and
b' = (b − μ) γ/√(v + ε) + β (Jacob et al. 2018, arXiv 1712.05877, section 3.2). ε is not in the weights: it is torch's
1e-5 unless the option says another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch

from ...errors import ArgumentError
from ...fields import Key
from ...graphs.records import Role
from ..records import Match, Piece, Reader, Shape, Step, Target
from .base import Model, Supplied, Supply

_MAPS = (Role.LINEAR, Role.CONV)
_NORM = re.compile(r"bn|norm|batch", re.IGNORECASE)


def supply_folded(
    targets: Sequence[Target],
    matches: Mapping[str, Match],
    unused: Mapping[str, Shape],
    model: Model,  # noqa: ARG001 - names and shapes tell
    option: object,
) -> Supplied:
    """Matches for weights and biases whose batch norm the source has and the model has not."""
    eps = 1e-5 if option is True else option
    if not isinstance(eps, float) or eps < 0:
        raise ArgumentError(f"adapt={{'batch_norm': {option!r}}}: give True or the norm's eps, a float ≥ 0")
    norms = {
        n.removesuffix(".running_mean"): s
        for n, s in unused.items()
        if n.endswith(".running_mean") and n.replace("running_mean", "running_var") in unused
    }
    biases = {t.parameter.module: t for t in targets if t.parameter.local_name == "bias"}
    found: dict[str, Match] = {}
    for target in targets:
        bias = biases.get(target.parameter.module)
        match = matches.get(target.name)
        if target.parameter.role not in _MAPS or bias is None or match is None or match.shape != target.shape:
            continue
        if match.steps or len(match.pieces) != 1 or not match.pieces[0].tensor.endswith(".weight"):
            continue
        tensor = match.pieces[0].tensor
        norm = _norm_of(tensor.removesuffix(".weight"), target.shape[0], norms)
        if norm is None:
            continue
        held = [n for n in ("weight", "bias") if f"{norm}.{n}" in unused]
        found[target.name] = match.then(_weight_step(norm, target.shape, held, eps))
        own = f"{tensor.removesuffix('.weight')}.bias"
        has_bias = own in unused or (bias.name in matches and own in matches[bias.name].tensors)
        piece = Piece(f"{norm}.running_mean", (target.shape[0],))
        evidence = f"the batch norm {norm!r} after {tensor!r}"
        step = _bias_step(norm, (target.shape[0],), held, eps, own if has_bias else None)
        found[bias.name] = Match(bias.name, (piece,), "fold", evidence, (step,))
    return Supplied(matches=found)


def _norm_of(layer: str, width: int, norms: Mapping[str, Shape]) -> str | None:
    """The batch norm that follows a layer, by their names; ``None`` where none, or more than one, may."""
    parent, _, last = layer.rpartition(".")
    beside = [n for n, s in norms.items() if n.rpartition(".")[0] == parent and s == (width,)]
    number = re.search(r"\d+$", last)
    if last.isdigit():
        following = [n for n in beside if n.rpartition(".")[2] == str(int(last) + 1)]
        return following[0] if following else None
    if number:
        same = [n for n in beside if re.search(r"\d+$", n) and n.endswith(number[0]) and _NORM.search(n)]
        return same[0] if len(same) == 1 else None
    return beside[0] if len(beside) == 1 else None


def _factor(norm: str, held: Sequence[str], eps: float, read: Reader) -> torch.Tensor:
    """γ/√(v + ε), in float64."""
    factor = (read(f"{norm}.running_var").double() + eps).rsqrt()
    return factor * read(f"{norm}.weight").double() if "weight" in held else factor


def _weight_step(norm: str, shape: Shape, held: Sequence[str], eps: float) -> Step:
    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - nothing is drawn
        factor = _factor(norm, held, eps, read).reshape(-1, *[1] * (values.dim() - 1))
        return (values.double() * factor).to(values.dtype)

    reads = (f"{norm}.running_var", *(f"{norm}.{n}" for n in held if n == "weight"))
    return Step("batch_norm", f"batch norm {norm!r} folded in", shape, apply, BATCH_NORM.reference, reads=reads)


def _bias_step(norm: str, shape: Shape, held: Sequence[str], eps: float, own: str | None) -> Step:
    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - nothing is drawn
        before = read(own).double() if own is not None else 0.0
        made = (before - values.double()) * _factor(norm, held, eps, read)
        made = made + read(f"{norm}.bias").double() if "bias" in held else made
        return made.to(values.dtype)

    reads = (f"{norm}.running_var", *(f"{norm}.{n}" for n in held), *((own,) if own is not None else ()))
    return Step("batch_norm", f"batch norm {norm!r} folded in", shape, apply, BATCH_NORM.reference, reads=reads)


BATCH_NORM = Supply("batch_norm", supply_folded, "Jacob et al. 2018, arXiv 1712.05877")

"""``diagnose``: from a light to its findings, causes before consequences.

Each family's file makes its findings alone; here what one finding explains of another is told once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..graphs.ops import words
from ..probes.records import Light
from . import collapse, data, finiteness, loops, losses, outputs, reach, scale, signal, symmetry, units
from .curves import Curve
from .curves_rules import diagnose_curve
from .findings import Findings, sorted_findings
from .logs import read_log
from .looking import look_at
from .records import Finding, Severity

_FAMILIES = (finiteness, reach, symmetry, data, units, scale, loops, signal, collapse, outputs, losses)
_SIZES = words(
    "vanishing-forward exploding-forward vanishing-gradient exploding-gradient rank-collapse saturation large-head "
    "attention-collapse wrong-prior residual-growth batchnorm-explosion dead-units"
)
_TELLS_SIZE = _SIZES | {"constant-init", "wrong-fan"}
_LOST = words("vanishing-forward vanishing-gradient rank-collapse no-gradient constant-init dead-units")

# What a finding explains: a consequence is not told beside its cause.
EXPLAINS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "non-finite-inputs": _SIZES | {"non-finite-values", "unnormalized-inputs", "unscaled-targets"},
        "non-finite-weights": _SIZES | {"non-finite-values", "non-finite-gradients"},
        "non-finite-values": _SIZES,
        "non-finite-gradients": frozenset({"exploding-gradient", "vanishing-gradient"}),
        "constant-init": _LOST | {"symmetric-units", "exploding-forward", "saturation", "large-head"},
        "symmetric-units": frozenset({"rank-collapse", "duplicated-draws"}),
        "zero-norm-scale": _LOST | {"saturation"},
        "dead-units": _LOST | {"wrong-prior"},
        "unnormalized-inputs": words(
            "saturation exploding-forward vanishing-forward large-head dead-units exploding-gradient rank-collapse "
            "wrong-prior non-finite-values vanishing-gradient"
        ),
        "wrong-fan": words("vanishing-forward exploding-forward vanishing-gradient exploding-gradient wrong-gain"),
        "wrong-gain": words(
            "exploding-gradient exploding-forward vanishing-gradient vanishing-forward saturation rank-collapse"
        ),
        "residual-growth": words("exploding-forward exploding-gradient large-head saturation"),
        "batchnorm-explosion": frozenset({"exploding-gradient"}),
        "exploding-forward": words(
            "exploding-gradient large-head saturation wrong-prior attention-collapse rank-collapse non-finite-values "
            "dead-units vanishing-gradient"
        ),
        "saturation": words(
            "vanishing-gradient exploding-gradient rank-collapse large-head wrong-prior vanishing-forward"
        ),
        "vanishing-forward": words("vanishing-gradient rank-collapse"),
        "rank-collapse": words("exploding-gradient"),
        "attention-collapse": words("vanishing-gradient rank-collapse exploding-gradient"),
        "hidden-softmax": words("vanishing-forward vanishing-gradient rank-collapse attention-collapse saturation"),
        "softmax-over-one": words(
            "vanishing-gradient rank-collapse no-gradient constant-init wrong-prior unreachable-targets"
        ),
        "no-gradient": words("vanishing-gradient constant-init dead-units rank-collapse vanishing-forward"),
        "unreachable-targets": frozenset({"unscaled-targets", "dead-units", "no-gradient"}),
        "untied-weights": frozenset({"duplicated-draws"}),
        "vanishing-gradient": words("rank-collapse"),
    }
)
_RANKS = list(Severity)
_ALL = 0.9  # of a layer's units dead: then hardly anything passes


def diagnose(light: Light | Curve | str | Path | Sequence[float]) -> Findings:
    """Name what is wrong with a model at step 0, from how the signal travels through it; or with a finished run.

    Each finding has its place, its evidence (number, bound, expectation and their source), its cause and its fix. One
    root cause is told once: what follows from it is left out, and its severity is that of the worst of it.

    Args:
        light: what ``fl.probe`` measured, or ``Light.from_json`` gave back (fixes are then code instead of plans). Of
            a run: the path of its log (``read_log`` says which are read), its curve, or its losses in order; then
            ``diagnose_curve`` answers.

    Returns:
        The findings, the most severe first; a tuple that prints as a list.

    Raises:
        ArgumentError: it is neither a light nor a curve.
        DataError: the log cannot be read.

    >>> import torch, firstlight as fl
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    >>> _ = torch.nn.init.constant_(model[0].weight, 0.5), torch.nn.init.zeros_(model[0].bias)
    >>> light = fl.probe(model, torch.randn(32, 64), torch.arange(32) % 10)
    >>> [(finding.code, finding.where) for finding in diagnose(light)]
    [('constant-init', '0.weight')]
    """
    if isinstance(light, Light):
        return _of_light(light)
    if isinstance(light, str | Path):
        return diagnose_curve(read_log(Path(light)))
    if not isinstance(light, Curve | Sequence | np.ndarray):
        raise ArgumentError(
            f"{type(light).__name__} is no light: give what fl.probe(model, inputs, ...) returns, or a log or losses"
        )
    losses: Any = light
    return diagnose_curve(losses)


def _of_light(light: Light) -> Findings:
    look = look_at(light)
    found = [finding for family in _FAMILIES for finding in family.rules(look)]
    return sorted_findings(replace(f, predicted=light.analytic) for f in _roots(found))


def _roots(found: Sequence[Finding]) -> list[Finding]:
    """The findings that no other explains, each as severe as the worst that it explains.

    Of two that explain each other the first one stands: families are asked causes first.
    """
    kept: list[Finding] = []
    for i, finding in enumerate(found):
        if any((finding.code, finding.where) == (o.code, o.where) for o in found[:i]):
            continue
        if finding.code == "wrong-gain" and finding.severity is Severity.NOTE and any(_louder(o) for o in found):
            continue
        above = (o for j, o in enumerate(found) if _explains(o, finding) and not (_explains(finding, o) and j > i))
        if not any(above):
            explained = [o.severity for o in found if _explains(finding, o)]
            worst = min([finding.severity, *explained], key=_RANKS.index)
            kept.append(replace(finding, severity=worst))
    return kept


def _louder(finding: Finding) -> bool:
    """Whether it says more than what each layer does to the signal's size."""
    return finding.severity is not Severity.NOTE and finding.code in _TELLS_SIZE


def _explains(one: Finding, other: Finding) -> bool:
    """Whether the one is why the other was found. A note explains nothing, nor do some dead units the loss of all."""
    if one is other or one.severity is Severity.NOTE:
        return False
    if one.code == "dead-units" and one.evidence[0].value < _ALL and other.code in _LOST:
        return False
    return other.code in EXPLAINS.get(one.code, frozenset())

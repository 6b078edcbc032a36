"""The design of a study: its arms, its grid of trials, and the recipe every trial trains by.

``compare`` fills it from what the user asked; ``training`` and ``execution`` carry it out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from ..errors import ArgumentError, UnknownNameError
from ..initializers import Initializer
from ..schemes import named_arguments, parse
from .identity import code_digest
from .records import Trial
from .tasks import Task

Optimizer = Literal["sgd", "adamw"]

# Log-spaced, the same for every arm, wide enough that a best rate at an edge can be told.
LEARNING_RATES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {"sgd": (0.001, 0.003, 0.01, 0.03), "adamw": (0.0003, 0.001, 0.003, 0.01)}
)
# The embedded networks are of ReLUs, so the orthogonal arm carries their gain √2, as He's rule does.
SCHEMES = (
    "torch",
    "normal(std=0.01)",
    "uniform(bound=0.05)",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "orthogonal(gain=relu)",
)
SEEDS = 10
STEPS = 200
BATCH = 32
PRETRAINED = "pretrained"
SELECTED = "weight_selection"
POINTS = 20


@dataclass(frozen=True, slots=True)
class Arm:
    """One initialization under test.

    ``identity`` is what its results are filed under: the label, and a hash of the file it loads, if it loads one.
    """

    label: str
    scheme: str | Initializer
    identity: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """How every trial trains, whatever its arm.

    Args:
        optimizer: ``"sgd"`` with momentum 0.9, or ``"adamw"`` with torch's defaults (weight decay 0.01).
        steps: updates, at a constant learning rate.
        batch_size: examples an update; the last of an epoch is dropped where it is smaller.
        target: the validation accuracy whose first step is noted.
        evaluate_every: steps between two looks at the validation split.
    """

    optimizer: Optimizer
    steps: int
    batch_size: int
    target: float
    evaluate_every: int


def make_recipe(
    task: Task, optimizer: str, steps: int | None, epochs: float | None, batch_size: int, target: float | None
) -> Recipe:
    """The recipe from what the user asked; the target is half-way from chance to perfect unless given."""
    if optimizer not in LEARNING_RATES:
        raise UnknownNameError.of("optimizer", optimizer, LEARNING_RATES)
    if steps is not None and epochs is not None:
        raise ArgumentError(f"steps={steps} and epochs={epochs} both say how long to train: give one")
    batch_size = min(_count("batch_size", batch_size), len(task.train))
    if epochs is not None:
        if not (_is_number(epochs) and epochs > 0):
            raise ArgumentError(f"epochs={epochs!r} should be a number above 0")
        steps = max(1, round(epochs * (len(task.train) // batch_size)))
    steps = STEPS if steps is None else _count("steps", steps)
    target = (1 + task.chance) / 2 if target is None else target
    if not (_is_number(target) and 0 < target <= 1):
        raise ArgumentError(f"target={target!r} should be an accuracy above 0, at most 1")
    return Recipe(optimizer, steps, batch_size, target, max(1, steps // POINTS))  # type: ignore[arg-type]


def make_arms(schemes: str | Initializer | Sequence[str | Initializer] | None, task: Task) -> tuple[Arm, ...]:
    """The arms, each label once.

    Raises:
        UnknownNameError, ArgumentError: a scheme cannot be read, or is given twice.
    """
    if schemes is None:
        schemes = (*SCHEMES, PRETRAINED) if task.source is not None else SCHEMES
    if isinstance(schemes, str | Initializer):
        schemes = (schemes,)
    if not schemes:
        raise ArgumentError("schemes=() has no arm to compare: name at least one, such as 'he_normal'")
    arms = tuple(_arm(s, task) for s in schemes)
    for i, arm in enumerate(arms):
        if any(arm.label == other.label for other in arms[:i]):
            raise ArgumentError(f"the scheme {arm.label!r} is given twice")
    return arms


def _arm(scheme: str | Initializer, task: Task) -> Arm:
    if isinstance(scheme, Initializer):
        return Arm(repr(scheme), scheme, f"{scheme!r} #{code_digest(type(scheme))[:16]}")
    if not isinstance(scheme, str):
        raise ArgumentError(f"{scheme!r} is no scheme: give a name such as 'he_normal', or an initializer")
    if scheme.strip() in (PRETRAINED, SELECTED):
        if task.source is None:
            raise ArgumentError(
                f"the task {task.name!r} has no source to train on first: give weights, pretrained(file.safetensors)"
            )
        return Arm(scheme.strip(), scheme.strip(), scheme.strip())
    label = parse(scheme).label
    return Arm(label, label, label + _weights_hash(label))


def _weights_hash(label: str) -> str:
    """Which weights a ``pretrained(path=…)`` arm loads: the file may change under the same name."""
    path = named_arguments(label).get("path")
    if path is None or not Path(str(path)).is_file():
        return ""
    return f" #{hashlib.sha256(Path(str(path)).read_bytes()).hexdigest()[:16]}"


def make_rates(rates: float | Sequence[float] | None, optimizer: str) -> tuple[float, ...]:
    """The learning rates, ascending, each once."""
    rates = LEARNING_RATES[optimizer] if rates is None else rates
    chosen = tuple(rates) if isinstance(rates, Iterable) else (rates,)
    for rate in chosen:
        if not (_is_number(rate) and rate > 0):
            raise ArgumentError(f"learning rate {rate!r} should be a finite number above 0")
    if not chosen:
        raise ArgumentError("learning_rates=() is empty: give at least one")
    return tuple(sorted({float(r) for r in chosen}))


def make_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """The seeds: 0 to n - 1 for a count, or those given, each once."""
    if not isinstance(seeds, Iterable):
        return tuple(range(_count("seeds", seeds)))
    chosen = tuple(dict.fromkeys(seeds))
    if not chosen or not all(_is_whole(s) and 0 <= s < 2**63 for s in chosen):
        raise ArgumentError(f"seeds={seeds!r} should be a count, or whole numbers from 0 to 2**63 - 1")
    return tuple(map(int, chosen))


def grid(arms: Sequence[Arm], rates: Sequence[float], seeds: Sequence[int]) -> tuple[Trial, ...]:
    """Every arm at every learning rate from every seed; seed by seed, so that early results compare all arms."""
    return tuple(Trial("target", a.label, r, s) for s in seeds for r in rates for a in arms)


def _count(name: str, value: int) -> int:
    if not _is_whole(value) or value < 1:
        raise ArgumentError(f"{name}={value!r} should be a whole number from 1")
    return int(value)


def _is_whole(value: object) -> bool:
    """An integer of Python's or numpy's; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)

"""The question of a study, settled: everything asked, checked before anything is trained or written.

``experiment`` asks it; ``store`` holds its fingerprint, and the study its setting.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from json import dumps
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import torch

from .. import __version__
from ..errors import UnknownNameError
from ..fields import FORMAT
from ..initializers import Initializer
from ..plans import Rules
from .data import load_task
from .design import BATCH, SEEDS, Arm, Recipe, make_arms, make_rates, make_recipe, make_seeds
from .models import Model, ModelSource, checked_example
from .records import Setting
from .sources import Source, settle_sources, teacher_identity
from .tasks import Task
from .training import initialize


@dataclass(frozen=True, slots=True)
class Question:
    """Everything a study asks, settled and checked, before anything is written."""

    task: Task
    model: Model
    recipe: Recipe
    arms: tuple[Arm, ...]
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    baseline: str
    rules: Rules | None
    fingerprint: Mapping[str, object]
    parameters: int
    sources: tuple[Source, ...]

    @property
    def source_fingerprint(self) -> Mapping[str, object]:
        """What decides the sources' trials alone: the same for studies that differ in their task's size."""
        return {k: v for k, v in self.fingerprint.items() if k not in ("task", "recipe")}


class Options(TypedDict, total=False):
    """What may be asked besides model, task and schemes; ``compare`` says what each means."""

    learning_rates: float | Sequence[float] | None
    seeds: int | Sequence[int]
    optimizer: str
    steps: int | None
    epochs: float | None
    batch_size: int
    target: float | None
    baseline: str | None
    rules: Rules | None
    teacher: ModelSource | None


def settle(
    model: ModelSource,
    task: Task | str | Path | tuple[object, object],
    schemes: str | Initializer | Sequence[str | Initializer] | None,
    **options: Unpack[Options],
) -> Question:
    """Check the whole question; whatever is wrong with it is found here, and the caller's random state stays."""
    with torch.random.fork_rng(devices=[]):  # looking at the model draws
        return _settle(model, load_task(task), schemes, **options)


def _settle(
    model: ModelSource,
    loaded: Task,
    schemes: str | Initializer | Sequence[str | Initializer] | None,
    *,
    learning_rates: float | Sequence[float] | None = None,
    seeds: int | Sequence[int] = SEEDS,
    optimizer: str = "sgd",
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int = BATCH,
    target: float | None = None,
    baseline: str | None = None,
    rules: Rules | None = None,
    teacher: ModelSource | None = None,
) -> Question:
    recipe = make_recipe(loaded, optimizer, steps, epochs, batch_size, target)
    arms = make_arms(schemes, loaded)
    rates, chosen_seeds = make_rates(learning_rates, optimizer), make_seeds(seeds)
    built = Model(model, loaded.input_shape, len(loaded.classes))
    example = checked_example(built, loaded)
    own = None if loaded.source is None else make_recipe(loaded.source, optimizer, steps, epochs, batch_size, None)
    sources = settle_sources(arms, built, teacher, loaded, own, rates, chosen_seeds)
    starting = {s.arm for s in sources}
    for arm in arms:
        initialize(built(), "he_normal" if arm.label in starting else arm.scheme, 0, loaded, rules)
    labels = [a.label for a in arms]
    if baseline is None:
        baseline = "torch" if "torch" in labels else labels[0]
    elif baseline not in labels:
        raise UnknownNameError.of("baseline among the arms", baseline, labels)
    fingerprint = {
        "task": f"{loaded.name} {loaded.digest}",
        "source": None if loaded.source is None else f"{loaded.source.digest} {asdict(own) if own else ''}",
        "teacher": teacher_identity(sources),
        "network": f"{built.name} {built.identity(example)}",
        "recipe": asdict(recipe),
        "rules": repr(list((rules or {}).items())),  # in their order: the first that matches stands
        "field format": FORMAT,
        "torch": torch.__version__,
        "firstlight": __version__,
    }
    parameters = sum(p.numel() for p in example.parameters())
    return Question(loaded, built, recipe, arms, rates, chosen_seeds, baseline, rules, fingerprint, parameters, sources)


def default_folder(question: Question) -> Path:
    """``runs/<task>-<network>-<fingerprint>``: a question finds its own results again, and no other."""
    network = question.model.name.rpartition(":")[2]
    mark = _mark(question.fingerprint)[:8]
    return Path("runs") / re.sub(r"[^\w.-]+", "_", f"{question.task.name}-{network}-{mark}").lstrip(".")


def _mark(fingerprint: Mapping[str, object]) -> str:
    return blake2b(dumps(fingerprint, sort_keys=True).encode(), digest_size=16).hexdigest()


def setting_of(question: Question, command: str | None) -> Setting:
    """What reports say of the question, and of where it is run."""
    task, recipe = question.task, question.recipe
    from_version = ".".join(map(str, sys.version_info[:3]))
    return Setting(
        task=f"{task.name}: {task.description}" if task.description else task.name,
        network=question.model.name,
        parameters=question.parameters,
        classes=len(task.classes),
        train_size=len(task.train),
        validation_size=len(task.validation),
        test_size=len(task.test),
        arms=tuple(a.label for a in question.arms),
        learning_rates=question.rates,
        seeds=question.seeds,
        optimizer=recipe.optimizer,
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        target=recipe.target,
        chance=task.chance,
        baseline=question.baseline,
        command=command or "firstlight.compare(…)",
        versions=(
            ("torch", torch.__version__),
            ("numpy", np.__version__),
            ("python", from_version),
            ("field", str(FORMAT)),
        ),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        fingerprint=_mark(question.fingerprint),
    )

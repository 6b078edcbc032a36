"""The networks a study trains first, for the arms that start from their weights.

``pretrained`` starts from the same network trained on the task's source, ``weight_selection`` from a larger one, the
teacher. ``question`` settles which there are, ``experiment`` runs them before the study's own trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ArgumentError
from .analysis import choose_rate
from .design import PRETRAINED, SELECTED, Arm, Recipe
from .models import Model, ModelSource, checked_example
from .records import Result, Trial
from .store import WEIGHTS
from .tasks import Task

Key = tuple[str, str, float, int]
_SCHEME = "he_normal"


@dataclass(frozen=True, slots=True)
class Source:
    """A network to train on the task's source, at every learning rate from every seed, by He's initialization.

    Args:
        arm: the arm that starts from it.
        name: what its rows and its weights' files are called.
        model, task, recipe: what is trained, on what, and how.
        trials: its grid.
    """

    arm: str
    name: str
    model: Model
    task: Task
    recipe: Recipe
    trials: tuple[Trial, ...]

    @property
    def scheme(self) -> str:
        """How it is itself initialized."""
        return _SCHEME

    @property
    def keys(self) -> tuple[Key, ...]:
        """What its trials are filed under."""
        return tuple(self.key(t) for t in self.trials)

    def key(self, trial: Trial) -> Key:
        """What a trial is filed under."""
        return (trial.stage, self.name, trial.learning_rate, trial.seed)

    def weights(self, folder: Path, rate: float, seed: int) -> Path:
        """Where a trial leaves its weights."""
        return folder / WEIGHTS / f"{self.name}-rate-{rate!r}-seed-{seed}.safetensors"

    def identity(self, results: Sequence[Result]) -> str:
        """What the arm's own results are filed under: its start depends on the rate that the source did best at."""
        return f"{self.arm} from rate {choose_rate(results)!r}"

    def starts(self, results: Sequence[Result], folder: Path) -> dict[int, Path]:
        """Each seed's weights at the learning rate with the best mean validation accuracy."""
        rate = choose_rate(results)
        return {t.seed: self.weights(folder, rate, t.seed).resolve() for t in self.trials}


def settle_sources(
    arms: Sequence[Arm],
    student: Model,
    teacher: ModelSource | None,
    task: Task,
    recipe: Recipe | None,
    rates: Sequence[float],
    seeds: Sequence[int],
) -> tuple[Source, ...]:
    """What the arms that start from trained weights need; each network has been called once on the source task.

    Raises:
        ArgumentError: ``weight_selection`` has no teacher, or a teacher is given for nothing.
        ModelError: a network does not fit the source task.
    """
    labels = [a.label for a in arms]
    if (teacher is None) == (SELECTED in labels):
        raise ArgumentError(
            f"the arm {SELECTED!r} starts from a larger network of the same kind: give teacher= (--teacher)"
            if teacher is None
            else f"teacher={teacher!r} is what the arm {SELECTED!r} starts from, which is not asked for"
        )
    found = []
    for arm, network in (
        (PRETRAINED, student),
        (SELECTED, None if teacher is None else replace(student, source=teacher)),
    ):
        if arm in labels and network is not None and task.source is not None and recipe is not None:
            network = network.for_task(task.source)
            checked_example(network, task.source)
            found.append(_source(arm, network, task.source, recipe, rates, seeds))
    return tuple(found)


def teacher_identity(sources: Sequence[Source]) -> str | None:
    """What decides the teacher, for a study's fingerprint; ``None`` where there is none."""
    found = next((s.model for s in sources if s.arm == SELECTED), None)
    return None if found is None else f"{found.name} {found.identity(found())}"


def _source(arm: str, model: Model, task: Task, recipe: Recipe, rates: Sequence[float], seeds: Sequence[int]) -> Source:
    names = {PRETRAINED: ("source", _SCHEME), SELECTED: ("teacher", f"{_SCHEME}, teacher")}
    name, label = names[arm]
    trials = tuple(Trial("source", label, r, s) for s in seeds for r in rates)  # seed by seed, as in the grid
    return Source(arm, name, model, task, recipe, trials)

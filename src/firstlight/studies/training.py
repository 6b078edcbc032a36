"""One trial: build, initialize, train, evaluate. Its result depends on its question alone.

Runs in a worker of ``execution`` or in the caller's process; one thread, flushed denormals, its own random state, so
the bits are the same whenever and wherever it runs on a machine.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from ..checks import Finding, probe
from ..errors import StoreError
from ..fields import key, words
from ..initializers import Initializer
from ..plans import Rules
from ..probes import Signal, measure_signal
from ..schemes import Scheme, as_scheme, parse, plan
from ..schemes.pretrained import pretrained_scheme
from ..transfers import Adapt
from ..writers import apply_
from .design import SELECTED, Recipe
from .records import Point, Result, Status, Trial
from .tasks import Split, Task

# A loss this many times above guessing's has left every useful region; what follows is only numbers.
DIVERGED = 1000.0
_EVALUATE_AT_ONCE = 1024
_EXAMPLES = 64  # that a scheme sees which asks for inputs


@dataclass(frozen=True, slots=True)
class Work:
    """A trial with everything it takes: the arm's scheme, and the weights it loads or leaves behind.

    ``look`` says whether it is the one trial of its arm and seed that is probed before it trains.
    """

    trial: Trial
    scheme: str | Initializer
    load: Path | None = None
    save: Path | None = None
    look: bool = False


@dataclass(slots=True)
class _Progress:
    """What a running trial has gathered so far."""

    curve: list[Point]
    signal: Signal | None = None
    findings: tuple[Finding, ...] | None = None
    status: Status = "finished"
    diverged_at: int | None = None


def run_trial(
    work: Work, task: Task, build: Callable[[], nn.Module], recipe: Recipe, rules: Rules | None = None
) -> Result:
    """Train once and say how it went. A model that raises gives a failed result.

    Raises:
        StoreError: the weights that ``work`` asks to keep cannot be written, which is no fault of the trial.
    """
    started = time.perf_counter()
    progress = _Progress([])
    test = (math.nan, math.nan)
    error = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(work.trial.seed)
        try:
            model = build()
            initialize(model, _scheme(work), work.trial.seed, task, rules)
            _train(model, task, recipe, work, progress)
            test = evaluate(model, task, task.test)
        except Exception as fault:
            progress.status = "failed"
            error = "".join(traceback.format_exception(fault)[-3:]).strip()
        else:
            if work.save is not None:
                _save(model, work.save)
    return _result(work.trial, task, recipe, progress, test, error, time.perf_counter() - started)


def initialize(
    model: nn.Module, scheme: str | Scheme | Initializer, seed: int, task: Task, rules: Rules | None
) -> None:
    """The initial weights; a scheme sees examples where it asks for them, or modules alone leave questions."""
    chosen = as_scheme(scheme)
    made = None if chosen.traced else plan(model, None, chosen, rules=rules)
    if made is None or made.uncovered:
        examples = task.batch(task.train, torch.arange(min(_EXAMPLES, len(task.train))))[0]
        made = plan(model, examples, chosen, rules=rules)
    apply_(model, made, seed, digests=False)


def _scheme(work: Work) -> str | Scheme | Initializer:
    if work.load is not None:
        adapt: Adapt = {"select"} if work.trial.arm == SELECTED else True
        return pretrained_scheme(work.trial.arm, str(work.load), parse("he_normal"), adapt=adapt)
    return work.scheme


def _train(model: nn.Module, task: Task, recipe: Recipe, work: Work, progress: _Progress) -> None:
    optimizer = _optimizer(model, recipe, work.trial.learning_rate)
    limit = DIVERGED * math.log(max(2, len(task.classes)))
    total, since = 0.0, 0
    model.train()
    for step, index in enumerate(batches(len(task.train), recipe, work.trial.seed), start=1):
        x, y = task.batch(task.train, index)
        if step == 1:
            progress.signal = measure_signal(model, x, y, F.cross_entropy)
            progress.findings = _looked(model, x, y) if work.look else None
        loss = F.cross_entropy(model(x), y)
        value = loss.item()
        total, since = total + value, since + 1
        diverged = not (math.isfinite(value) and value <= limit)
        if not diverged:
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if diverged or step % recipe.evaluate_every == 0 or step == recipe.steps:
            accuracy, validation_loss = evaluate(model, task, task.validation)
            progress.curve.append(Point(step, total / since, validation_loss, accuracy))
            total, since = 0.0, 0
            model.train()
        if diverged:
            progress.status, progress.diverged_at = "diverged", step
            return


def _looked(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[Finding, ...] | None:
    """What a probe finds at step 0; ``None`` for a model that cannot be probed, which may train all the same."""
    try:
        found = probe(model, x, y, F.cross_entropy).findings
    except Exception:
        return None
    return tuple(replace(f, repair=f.remedy) for f in found)


def _optimizer(model: nn.Module, recipe: Recipe, rate: float) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(trained, lr=rate, fused=True)
    return torch.optim.SGD(trained, lr=rate, momentum=0.9, fused=True)


def batches(examples: int, recipe: Recipe, seed: int) -> Iterator[torch.Tensor]:
    """The order of the examples, batch by batch: it depends on the seed alone, so all arms see the same."""
    per_epoch = examples // recipe.batch_size
    order = torch.empty(0, dtype=torch.int64)
    for step in range(recipe.steps):
        epoch, position = divmod(step, per_epoch)
        if position == 0:
            order = words(key(seed, f"epoch {epoch}", "batch order"), 0, examples).argsort(stable=True)
        yield order[position * recipe.batch_size : (position + 1) * recipe.batch_size]


@torch.no_grad()
def evaluate(model: nn.Module, task: Task, split: Split) -> tuple[float, float]:
    """Accuracy and mean cross-entropy on a split; an output that is not finite counts as wrong."""
    model.eval()
    right, loss = 0, 0.0
    for start in range(0, len(split), _EVALUATE_AT_ONCE):
        x, y = task.batch(split, slice(start, start + _EVALUATE_AT_ONCE))
        logits = model(x)
        finite = torch.isfinite(logits).all(dim=1)
        right += int(((logits.argmax(dim=1) == y) & finite).sum())
        loss += float(F.cross_entropy(logits, y, reduction="sum"))
    return right / len(split), loss / len(split)


def _save(model: nn.Module, path: Path) -> None:
    """The weights as safetensors, under the names ``pretrained`` looks for; whole or not at all."""
    draft = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.detach().clone() for k, v in model.state_dict().items()}, draft)
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"cannot keep the weights in {str(path)!r}: {error}. Free some space or choose another folder with out= "
            "(--out); the same command goes on."
        ) from error


def at_chance(accuracy: float, chance: float, examples: int) -> bool:
    """Whether an accuracy is no better than guessing the largest class, by three standard errors."""
    return not accuracy > chance + 3 * math.sqrt(chance * (1 - chance) / examples)


def _result(
    trial: Trial,
    task: Task,
    recipe: Recipe,
    progress: _Progress,
    test: tuple[float, float],
    error: str | None,
    seconds: float,
) -> Result:
    last = progress.curve[-1] if progress.curve else None
    accuracy = last.validation_accuracy if last else math.nan
    return Result(
        trial=trial,
        status=progress.status,
        curve=tuple(progress.curve),
        steps_to_target=next((p.step for p in progress.curve if p.validation_accuracy >= recipe.target), None),
        diverged_at=progress.diverged_at,
        at_chance=progress.status != "failed" and at_chance(accuracy, task.chance, len(task.validation)),
        validation_accuracy=accuracy,
        validation_loss=last.validation_loss if last else math.nan,
        test_accuracy=test[0],
        test_loss=test[1],
        signal=progress.signal,
        error=error,
        wall_seconds=seconds,
        findings=progress.findings,
    )


def failed(trial: Trial, error: str) -> Result:
    """The result of a trial that could not say anything itself."""
    nan = math.nan
    return Result(trial, "failed", (), None, None, False, nan, nan, nan, nan, None, error, 0.0)

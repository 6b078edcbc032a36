"""``compare``: which initialization, for this network and this task, by experiment.

The verb of this room: it settles the question, runs the trials that are not done, and makes the study.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import ArgumentError, StoreError
from ..initializers import Initializer
from ..plans import Rules
from .analysis import choose_rate
from .design import BATCH, PRETRAINED, SEEDS, grid, source_grid
from .execution import Bench, available_workers, run_all
from .models import Model, ModelSource
from .observer import Observer, Silent
from .question import Question, default_folder, setting_of, settle
from .records import Result, Setting, Trial
from .store import SCRATCH, WEIGHTS, Store, clear
from .study import Study, as_note, make_study
from .task_files import save_task
from .tasks import Task
from .training import Work

Key = tuple[str, str, float, int]


def compare(
    model: ModelSource = "mlp",
    task: Task | str | Path | tuple[object, object] = "digits",
    schemes: str | Initializer | Sequence[str | Initializer] | None = None,
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
    out: str | Path | None = None,
    fresh: bool = False,
    workers: int | None = None,
    observer: Observer | None = None,
    command: str | None = None,
) -> Study:
    """Train every scheme at every learning rate from every seed, and say what the evidence allows.

    Each arm's learning rate is the one with the best mean validation accuracy; the test split is read once per trial,
    after its last step. All arms see the same batches in the same order from the same seed, so differences are paired.
    Trials are kept in the run folder as they finish: the same call goes on where it was interrupted, and a call with
    more seeds, arms or learning rates runs only what is new.

    Args:
        model: ``"mlp"``, ``"cnn"``, a function that gives a module (called with the input shape and the number of
            classes if it takes two arguments), or its text ``"file.py:function"``.
        task: ``"digits"``, ``"digits10"``, a path (.npz, .csv, .parquet, a folder or zip of images by class), the text
            of a function, ``(inputs, labels)``, or a ``Task``.
        schemes: names as ``catalogue()`` lists them, or initializers; ``"pretrained"`` trains the task's source first.
        learning_rates: above 0; by default four, log-spaced, for the optimizer.
        seeds: a count, or the seeds.
        optimizer: ``"sgd"`` (momentum 0.9) or ``"adamw"`` (weight decay 0.01), at a constant rate.
        steps: updates; 200 unless given. ``epochs`` says it in passes over the training split.
        batch_size: examples an update.
        target: validation accuracy whose first step is noted; half-way from chance to perfect unless given.
        baseline: the arm the others are tested against; ``"torch"`` where it is one, else the first.
        rules: what to do with parameters no scheme knows, as ``init_`` takes them.
        out: the run folder; ``runs/<task>-<network>-<fingerprint>`` unless given.
        fresh: start over: forget what the run folder holds of this or another study.
        workers: processes; as many as cores unless given, 0 for none.
        observer: told of progress.
        command: what to print as the way to repeat the study.

    Returns:
        The study. ``report.html``, ``results.csv`` and ``results.json`` are in its folder.

    Raises:
        FirstlightError: the question cannot be asked as it stands; the run folder is as it was.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    with torch.random.fork_rng(devices=[]):  # looking at the model draws; the caller's random state stays as it is
        question = settle(
            model, task, schemes, learning_rates, seeds, optimizer, steps, epochs, batch_size, target, baseline, rules
        )
    processes = available_workers() if workers is None else workers
    if isinstance(processes, bool) or not isinstance(processes, int) or processes < 0:
        raise ArgumentError(f"workers={workers!r} should be a count, 0 for none")
    folder = Path(out) if out is not None else default_folder(question)
    if fresh:
        clear(folder)
    with Store(folder, question.fingerprint) as store:
        setting = setting_of(question, command)
        results = _run(question, setting, store, processes, observer or Silent())
    study = make_study(setting, results, folder)
    study.to_csv()
    study.to_json()
    study.report()
    return study


def _run(question: Question, setting: Setting, store: Store, workers: int, observer: Observer) -> list[Result]:
    """All results, sources first; those the store has are not run again."""
    kept = store.results()
    sources = [(("source", "source", t.learning_rate, t.seed), t) for t in _source_trials(question)]
    targets = [(t.arm, t) for t in grid(question.arms, question.rates, question.seeds)]
    identities = {a.label: a.identity for a in question.arms}
    totals = Counter(t.stage for _, t in sources) + Counter(label for label, _ in targets)
    observer.on_start(setting, totals, _present(kept, sources, targets, identities))
    completed = False
    try:
        with _scratch(store.folder) as scratch:
            runner = _Runner(question, store, kept, workers, observer, scratch)
            source_results = runner.run_sources(sources)
            identities[PRETRAINED], start = _pretrained_start(question, source_results, store.folder)
            keyed = [(("target", identities[t.arm], t.learning_rate, t.seed), t) for _, t in targets]
            results = [*source_results, *runner.run_targets(keyed, start)]
            store.note("asked", as_note(setting, [k for k, _ in (*sources, *keyed)]))
            completed = True
            return results
    finally:
        observer.on_end(completed)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Where workers find the task: in the run folder, so that what a killed study left behind is found and cleared."""
    scratch = folder / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _present(
    kept: Mapping[Key, Result],
    sources: Sequence[tuple[Key, Trial]],
    targets: Sequence[tuple[str, Trial]],
    identities: Mapping[str, str],
) -> Counter[str]:
    """How many trials of each arm are done.

    The pretrained arm's identity names its source's learning rate, which is known when the sources are done.
    """
    done = Counter(t.stage for k, t in sources if k in kept)
    if sources and done.total() == len(sources):
        identities = {**identities, PRETRAINED: _pretrained_identity([kept[k] for k, _ in sources])}
    return done + Counter(
        label for label, t in targets if ("target", identities[label], t.learning_rate, t.seed) in kept
    )


def _source_trials(question: Question) -> tuple[Trial, ...]:
    return source_grid(question.rates, question.seeds) if question.needs_source else ()


def _pretrained_start(question: Question, results: Sequence[Result], folder: Path) -> tuple[str, Mapping[int, Path]]:
    """The identity of the pretrained arm, which names its source's learning rate, and each seed's weights."""
    if not results:
        return PRETRAINED, {}
    rate = choose_rate(results)
    return _pretrained_identity(results), {s: _weights(folder, rate, s) for s in question.seeds}


def _pretrained_identity(sources: Sequence[Result]) -> str:
    return f"{PRETRAINED} from rate {choose_rate(sources)!r}"


def _weights(folder: Path, rate: float, seed: int) -> Path:
    return folder / WEIGHTS / f"source-rate-{rate!r}-seed-{seed}.safetensors"


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs what is missing of a list of trials and keeps what it gets."""

    question: Question
    store: Store
    kept: dict[Key, Result]
    workers: int
    observer: Observer
    scratch: Path

    def run_sources(self, keyed: Sequence[tuple[Key, Trial]]) -> list[Result]:
        """The trials that train what ``pretrained`` starts from; each leaves its weights in the run folder."""
        if not keyed or self.question.task.source is None:
            return []
        works = [
            (key, Work(t, t.arm, save=_weights(self.store.folder, t.learning_rate, t.seed).resolve()))
            for key, t in keyed
        ]
        source = self.question.task.source
        self._run([(k, w) for k, w in works if not self._is_done(k, w)], source, self.question.model.for_task(source))
        return [self.kept[k] for k, _ in keyed]

    def run_targets(self, keyed: Sequence[tuple[Key, Trial]], start: Mapping[int, Path]) -> list[Result]:
        """The trials of the study itself."""
        schemes = {a.label: a.scheme for a in self.question.arms}
        missing = [
            (key, Work(t, schemes[t.arm], load=start[t.seed].resolve() if t.arm == PRETRAINED else None))
            for key, t in keyed
            if key not in self.kept
        ]
        self._run(missing, self.question.task, self.question.model)
        return [self.kept[k] for k, _ in keyed]

    def _is_done(self, key: Key, work: Work) -> bool:
        """A source that trained and whose weights are gone is no use as a start."""
        result = self.kept.get(key)
        return result is not None and (result.status == "failed" or work.save is None or work.save.is_file())

    def _run(self, works: Sequence[tuple[Key, Work]], task: Task, model: Model) -> None:
        if not works:
            return
        keys = {w.trial: k for k, w in works}
        place = self.scratch / works[0][1].trial.stage
        try:
            save_task(task, place)
        except OSError as error:
            raise StoreError(
                f"cannot keep the data beside the results in {str(place)!r}: {error.strerror}. Free some space or "
                "choose another folder with out= (--out)."
            ) from error
        bench = Bench(place, model, self.question.recipe, self.question.rules)
        for result in run_all([w for _, w in works], bench, self.workers):
            key = keys[result.trial]
            self.store.add(key[1], result)
            self.kept[key] = result
            self.observer.on_result(result)

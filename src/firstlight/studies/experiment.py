"""``compare``: which initialization, for this network and this task, by experiment.

The verb of this room: it settles the question, runs the trials that are not done, and makes the study.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import ArgumentError, StoreError
from ..initializers import Initializer
from ..plans import Rules
from .design import BATCH, SEEDS, Recipe, grid
from .execution import Bench, available_workers, run_all
from .models import Model, ModelSource
from .observer import Observer, Silent
from .question import Question, default_folder, setting_of, settle
from .records import Result, Setting, Trial
from .sources import Key, Source
from .store import SCRATCH, Store, clear
from .study import Study, as_note, make_study
from .task_files import save_task
from .tasks import Task
from .training import Work


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
    teacher: ModelSource | None = None,
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
        schemes: names as ``catalogue()`` lists them, or initializers; ``"pretrained"`` trains the task's source first,
            and ``"weight_selection"`` the ``teacher`` on it.
        learning_rates: above 0; by default four, log-spaced, for the optimizer.
        seeds: a count, or the seeds.
        optimizer: ``"sgd"`` (momentum 0.9) or ``"adamw"`` (weight decay 0.01), at a constant rate.
        steps: updates; 200 unless given. ``epochs`` says it in passes over the training split.
        batch_size: examples an update.
        target: validation accuracy whose first step is noted; half-way from chance to perfect unless given.
        baseline: the arm the others are tested against; ``"torch"`` where it is one, else the first.
        rules: what to do with parameters no scheme knows, as ``init_`` takes them.
        teacher: the larger network that ``"weight_selection"`` starts from, trained on the task's source first.
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
    question = settle(
        model,
        task,
        schemes,
        learning_rates=learning_rates,
        seeds=seeds,
        optimizer=optimizer,
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        target=target,
        baseline=baseline,
        rules=rules,
        teacher=teacher,
    )
    processes = checked_workers(workers)
    folder = Path(out) if out is not None else default_folder(question)
    return run_study(question, folder, processes, fresh=fresh, observer=observer or Silent(), command=command)


def checked_workers(workers: int | None) -> int:
    """How many processes: as many as cores unless said."""
    processes = available_workers() if workers is None else workers
    if isinstance(processes, bool) or not isinstance(processes, int) or processes < 0:
        raise ArgumentError(f"workers={workers!r} should be a count, 0 for none")
    return processes


def run_study(
    question: Question,
    folder: Path,
    workers: int,
    *,
    fresh: bool,
    observer: Observer,
    command: str | None,
    shared: Path | None = None,
) -> Study:
    """A settled question's study: what is missing is run, its files are written.

    Args:
        shared: a run folder that keeps the sources' trials and weights for several studies; the study's own unless
            given.
    """
    if fresh:
        clear(folder)
    with ExitStack() as stack:
        store = stack.enter_context(Store(folder, question.fingerprint))
        sources = store if shared is None else stack.enter_context(Store(shared, question.source_fingerprint))
        setting = setting_of(question, command)
        results = _run(question, setting, store, sources, workers, observer)
    study = make_study(setting, results, folder)
    study.to_csv()
    study.to_json()
    study.report()
    return study


def _run(
    question: Question, setting: Setting, store: Store, shared: Store, workers: int, observer: Observer
) -> list[Result]:
    """All results, sources first; those the stores have are not run again."""
    own = store.results()
    kept = own if shared is store else own | shared.results()
    targets = grid(question.arms, question.rates, question.seeds)
    totals = Counter("source" for s in question.sources for _ in s.trials) + Counter(t.arm for t in targets)
    observer.on_start(setting, totals, _present(question, kept, targets))
    completed = False
    try:
        with _scratch(store.folder) as scratch:
            runner = _Runner(question, kept, workers, observer, scratch)
            identities, starts = {a.label: a.identity for a in question.arms}, {}
            for source in question.sources:
                found = runner.run_source(source, shared)
                for key, result in zip(source.keys, found, strict=True):
                    if shared is not store and key not in own:
                        store.add(source.name, result)
                identities[source.arm] = source.identity(found)
                starts[source.arm] = source.starts(found, shared.folder)
            keyed = [(("target", identities[t.arm], t.learning_rate, t.seed), t) for t in targets]
            runner.run_targets(keyed, starts, store)
            keys = [*(k for s in question.sources for k in s.keys), *(k for k, _ in keyed)]
            store.note("asked", as_note(setting, keys))
            completed = True
            return [kept[k] for k in keys]
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


def _present(question: Question, kept: Mapping[Key, Result], targets: Sequence[Trial]) -> Counter[str]:
    """How many trials of each arm are done.

    An arm's identity that names its source's learning rate is known when the source is done.
    """
    identities = {a.label: a.identity for a in question.arms}
    done: Counter[str] = Counter()
    for source in question.sources:
        there = [kept[k] for k in source.keys if k in kept]
        done["source"] += len(there)
        if len(there) == len(source.keys):
            identities[source.arm] = source.identity(there)
    return done + Counter(t.arm for t in targets if ("target", identities[t.arm], t.learning_rate, t.seed) in kept)


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs what is missing of a list of trials and keeps what it gets."""

    question: Question
    kept: dict[Key, Result]
    workers: int
    observer: Observer
    scratch: Path

    def run_source(self, source: Source, store: Store) -> list[Result]:
        """The trials that train what an arm starts from; each leaves its weights in the run folder."""
        works = [
            (
                source.key(t),
                Work(t, source.scheme, save=source.weights(store.folder, t.learning_rate, t.seed).resolve()),
            )
            for t in source.trials
        ]
        missing = [(k, w) for k, w in works if not self._is_done(k, w)]
        self._run(missing, source.task, source.model, source.recipe, store)
        return [self.kept[k] for k in source.keys]

    def run_targets(
        self, keyed: Sequence[tuple[Key, Trial]], starts: Mapping[str, Mapping[int, Path]], store: Store
    ) -> None:
        """The trials of the study itself."""
        schemes = {a.label: a.scheme for a in self.question.arms}
        first = self.question.rates[0]  # at step 0 all rates are alike: one is looked at
        missing = [
            (key, Work(t, schemes[t.arm], starts.get(t.arm, {}).get(t.seed), look=t.learning_rate == first))
            for key, t in keyed
            if key not in self.kept
        ]
        self._run(missing, self.question.task, self.question.model, self.question.recipe, store)

    def _is_done(self, key: Key, work: Work) -> bool:
        """A source that trained and whose weights are gone is no use as a start."""
        result = self.kept.get(key)
        return result is not None and (result.status == "failed" or work.save is None or work.save.is_file())

    def _run(self, works: Sequence[tuple[Key, Work]], task: Task, model: Model, recipe: Recipe, store: Store) -> None:
        if not works:
            return
        keys = {w.trial: k for k, w in works}
        place = self.scratch / works[0][1].trial.stage
        try:
            if not place.is_dir():
                save_task(task, place)
        except OSError as error:
            raise StoreError(
                f"cannot keep the data beside the results in {str(place)!r}: {error.strerror}. Free some space or "
                "choose another folder with out= (--out)."
            ) from error
        bench = Bench(place, model, recipe, self.question.rules)
        for result in run_all([w for _, w in works], bench, self.workers):
            key = keys[result.trial]
            store.add(key[1], result)
            self.kept[key] = result
            self.observer.on_result(result)

"""A finished study: its setting, its results, and what follows from them.

``compare`` returns one, ``load_study`` reads one back from its run folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..reports import text
from . import export
from .analysis import compare_arms, summarize
from .foretelling import foretold, in_words
from .page import render
from .records import ArmSummary, Comparison, Foretold, Result, Setting
from .store import Store, read_note
from .verdict import verdict


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """What was asked, what each trial gave, and what may be concluded.

    Args:
        setting: what was run.
        results: every trial, sources first, in the order of the grid.
        arms: the arms' summaries, best first.
        comparisons: each arm against the baseline.
        verdict: sentences, the most important first.
        foretold: what probes at step 0 said, and how often it came true.
        folder: the run folder.
    """

    setting: Setting
    results: tuple[Result, ...]
    arms: tuple[ArmSummary, ...]
    comparisons: tuple[Comparison, ...]
    verdict: tuple[str, ...]
    foretold: tuple[Foretold, ...]
    folder: Path

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one HTML file that opens offline; into the run folder unless told where."""
        return export.write(Path(path) if path is not None else self.folder / "report.html", render(self))

    def to_csv(self, path: str | Path | None = None) -> Path:
        """Write a row for each trial."""
        return export.write(
            Path(path) if path is not None else self.folder / "results.csv", export.to_csv(self.results)
        )

    def to_json(self, path: str | Path | None = None) -> Path:
        """Write everything as JSON."""
        whole = export.to_json(self.setting, self.arms, self.comparisons, self.verdict, self.foretold, self.results)
        return export.write(Path(path) if path is not None else self.folder / "results.json", whole)

    def __str__(self) -> str:
        header = ("arm", "test accuracy", "95 % interval", "rate", "steps to target", "rates that work", "p (Holm)")
        p_values = {c.arm: text.p_value(c.p_holm) for c in self.comparisons}
        rows = [
            (
                a.arm,
                text.percent(a.test.mean),
                f"{text.percent(a.test.low)} – {text.percent(a.test.high)}",
                text.rate(a.learning_rate),
                steps_to_target(a),
                text.rates(a.working_rates),
                p_values.get(a.arm, "baseline"),
            )
            for a in self.arms
        ]
        return "\n".join([text.table(header, rows), "", *self.verdict])


def steps_to_target(arm: ArmSummary) -> str:
    """Mean steps to the target and how many seeds got there: ``45 (10/10)``."""
    if arm.steps_to_target is None:
        return f"never (0/{arm.trials})"
    return f"{text.count(arm.steps_to_target.mean)} ({arm.reached}/{arm.trials})"


def make_study(setting: Setting, results: Sequence[Result], folder: Path) -> Study:
    """The study that follows from complete results."""
    arms = summarize(results, setting.arms, setting.target)
    comparisons = compare_arms(arms, setting.baseline)
    counts = foretold(results, arms)
    said = tuple(filter(None, (*verdict(setting, arms, comparisons), in_words(counts))))
    return Study(setting, tuple(results), arms, comparisons, said, counts, folder)


def load_study(folder: str | Path) -> Study:
    """The study in a run folder, as it was last asked for.

    Raises:
        StoreError: there is no study, it is damaged, or not all of its trials are done.
    """
    folder = Path(folder)
    asked, fingerprint = read_note(folder, "asked"), read_note(folder, "fingerprint")
    if not isinstance(asked, dict) or not isinstance(fingerprint, dict):
        raise StoreError(f"the study in {str(folder)!r} was never run to its end: run its command again")
    with Store(folder, fingerprint) as store:
        kept = store.results()
    wanted = [(stage, arm, float(rate), seed) for stage, arm, rate, seed in asked["trials"]]
    missing = sum(k not in kept for k in wanted)
    if missing:
        raise StoreError(
            f"{missing} of {len(wanted)} trials in {str(folder)!r} are not done yet: run its command again to finish"
        )
    return make_study(_setting(asked["setting"]), [kept[k] for k in wanted], folder)


def as_note(setting: Setting, keys: Sequence[tuple[str, str, float, int]]) -> Mapping[str, Any]:
    """What a store keeps of the question, for ``load_study``."""
    return {"setting": asdict(setting), "trials": [list(k) for k in keys]}


def _setting(raw: Mapping[str, Any]) -> Setting:
    """A setting from JSON, whose lists are tuples here."""
    return Setting(**{k: _tupled(v) for k, v in raw.items()})


def _tupled(value: Any) -> Any:
    return tuple(_tupled(v) for v in value) if isinstance(value, list) else value

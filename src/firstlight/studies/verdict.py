"""The verdict in words: what the intervals and tests allow to be said, and no more.

Reads the summaries and comparisons of a study; the page and the terminal print its sentences.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..reports.text import counted, listing, percent, rate
from .records import ArmSummary, Comparison, Setting
from .statistics import confidence_set, smallest_p

_LEVEL = 0.05


def verdict(setting: Setting, arms: Sequence[ArmSummary], comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Sentences, the most important first; ``arms`` is ranked."""
    learned = [a for a in arms if a.failed < a.trials and a.at_chance + a.failed < a.trials]
    if not learned:
        return (
            f"No arm learned: every trial at the chosen learning rates stayed at chance ({percent(setting.chance)}), "
            "diverged or failed. Try other learning rates or a longer training before comparing initializations.",
        )
    sentences = [_best(arms), *_against_baseline(setting, arms, comparisons), *_stuck(setting, arms)]
    return tuple(s for s in (*sentences, *_cautions(setting, arms, comparisons)) if s)


def _best(arms: Sequence[ArmSummary]) -> str:
    """The arm with the highest mean, and those that may as well be the best."""
    best = arms[0]
    shown = f"{best.arm} has the highest mean test accuracy, {percent(best.test.mean)}"
    if best.test.n > 1:
        shown += f" (95 % interval {percent(best.test.low)} to {percent(best.test.high)})"
    # Arms that raised in every trial were not compared: nothing is known of them.
    known = [a for a in arms if a.failed < a.trials]
    if len(known) == 1:
        return f"{shown}."
    staying = confidence_set([[0.0 if v != v else v for v in a.test_accuracies] for a in known])
    tied = [known[i].arm for i in staying if i > 0]
    if not tied:
        return f"{shown}; it is the best of them on this evidence (95 % model confidence set)."
    return f"{shown}; on this evidence (95 % model confidence set) it cannot be told from {listing(tied)}."


def _against_baseline(setting: Setting, arms: Sequence[ArmSummary], comparisons: Sequence[Comparison]) -> list[str]:
    if not comparisons:
        return []
    means = {a.arm: a.test.mean for a in arms}
    clear = [c for c in comparisons if c.p_holm <= _LEVEL]
    better = [c.arm for c in sorted(clear, key=lambda c: -means[c.arm]) if c.difference.mean > 0]
    worse = [c.arm for c in sorted(clear, key=lambda c: -means[c.arm]) if c.difference.mean < 0]
    parts = []
    if better:
        parts.append(f"better than {setting.baseline}: {listing(better)}")
    if worse:
        parts.append(f"worse than {setting.baseline}: {listing(worse)}")
    if not parts:
        return [
            f"No arm differs significantly from {setting.baseline} (paired permutation tests, Holm-corrected, 5 %)."
        ]
    return [f"Significantly {'; '.join(parts)} (paired permutation tests, Holm-corrected, 5 %)."]


def _stuck(setting: Setting, arms: Sequence[ArmSummary]) -> list[str]:
    raised = [a.arm for a in arms if all(r.failed == r.trials for r in a.rates)]
    stuck = [a.arm for a in arms if a.arm not in raised and all(r.at_chance + r.failed == r.trials for r in a.rates)]
    everywhere = "from every seed at every learning rate tried"
    sentences = []
    if stuck:
        sentences.append(f"Stayed at chance ({percent(setting.chance)}) {everywhere}: {listing(stuck)}.")
    if raised:
        sentences.append(f"Raised an error {everywhere}, so nothing is known of it: {listing(raised)}.")
    return sentences


def _cautions(setting: Setting, arms: Sequence[ArmSummary], comparisons: Sequence[Comparison]) -> list[str]:
    cautions = []
    seeds, tests = len(setting.seeds), len(comparisons)
    if tests and smallest_p(seeds) * tests > _LEVEL:
        needed = next(n for n in range(2, 64) if smallest_p(n) * tests <= _LEVEL)
        cautions.append(
            f"{counted(seeds, 'seed')} cannot reach significance after correction for {counted(tests, 'comparison')}, "
            f"however large a difference is; ask for at least {needed} seeds."
        )
    rates = setting.learning_rates
    if len(rates) > 1:
        for edge, which in ((rates[0], "lowest"), (rates[-1], "highest")):
            at_edge = [a.arm for a in arms if a.learning_rate == edge and a.reached]
            if at_edge:
                where = f"Best at the {which} learning rate tried ({rate(edge)}), so perhaps better beyond"
                cautions.append(f"{where}: {listing(at_edge)}.")
    return cautions

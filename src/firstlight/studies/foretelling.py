"""What step 0 foretold of each arm, and what training then did: the findings of the probe beside the outcomes.

Each arm is probed from every seed before it trains (``training``); ``analysis`` attaches what was found, the page shows
it and counts how often it came true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..checks import Finding, Severity
from ..reports import text
from .records import ArmFinding, ArmSummary, Foretold, Result

VERDICTS = ("will not train", "may not train", "nothing found")
OUTCOMES = ("reached the target", "learned, short of it", "at chance, diverged or failed")


def findings_of(results: Sequence[Result]) -> tuple[ArmFinding, ...]:
    """What the probes of one arm found, each kind once with its first example, the most severe and frequent first."""
    looked = [r for r in results if r.findings is not None]
    found: dict[str, list[Finding]] = {}
    for result in looked:
        for code, finding in {f.code: f for f in reversed(result.findings or ())}.items():
            found.setdefault(code, []).append(finding)
    ranks = list(Severity)
    ordered = sorted(found.values(), key=lambda fs: (min(ranks.index(f.severity) for f in fs), -len(fs)))
    return tuple(ArmFinding(fs[0], len(fs), len(looked)) for fs in ordered)


def reading_of(findings: Sequence[ArmFinding]) -> str:
    """The worst of what step 0 shows, in words: what, where, how fast, and the fix; "" where nothing is wrong."""
    told = [f for f in findings if f.finding.severity is not Severity.NOTE]
    return " ".join(map(_sentence, told[:2]))


def foretold(results: Sequence[Result], arms: Sequence[ArmSummary]) -> tuple[Foretold, ...]:
    """How often each verdict was followed by each outcome, over arms and seeds at each arm's learning rate."""
    rates = {a.arm: a.learning_rate for a in arms}
    targets = [r for r in results if r.trial.stage == "target"]
    verdicts = {(r.trial.arm, r.trial.seed): verdict_of(r) for r in targets if r.findings is not None}
    counts = Counter(
        (verdicts[r.trial.arm, r.trial.seed], outcome_of(r))
        for r in targets
        if r.trial.learning_rate == rates[r.trial.arm] and (r.trial.arm, r.trial.seed) in verdicts
    )
    return tuple(Foretold(v, tuple(counts[v, o] for o in OUTCOMES)) for v in VERDICTS)


def in_words(counts: Sequence[Foretold]) -> str:
    """How well step 0 foretold the outcomes, in a sentence; "" where it was not looked at, or foretold no failure."""
    by_verdict = {f.verdict: f.outcomes for f in counts}
    doomed, passed = by_verdict.get(VERDICTS[0], ()), by_verdict.get(VERDICTS[2], ())
    if not sum(doomed):
        return ""
    sentence = f"Step 0 gave up on {text.counted(sum(doomed), 'run')}, of which {doomed[2]} did not learn"
    return f"{sentence}; of the {sum(passed)} that it found nothing wrong with, {passed[2]} did not." if passed else ""


def verdict_of(result: Result) -> str:
    """What the probe says will become of a trial."""
    severities = {f.severity for f in result.findings or ()}
    if Severity.ERROR in severities:
        return VERDICTS[0]
    return VERDICTS[1] if Severity.WARNING in severities else VERDICTS[2]


def outcome_of(result: Result) -> str:
    """What became of it."""
    if result.status != "finished" or result.at_chance:
        return OUTCOMES[2]
    return OUTCOMES[0] if result.steps_to_target is not None else OUTCOMES[1]


def _sentence(told: ArmFinding) -> str:
    finding = told.finding
    numbers = "; ".join(f"{e.quantity} {e.value:.2g}" for e in finding.evidence[:2])
    where = f" at {finding.where}" if finding.where else ""
    share = "" if told.seeds == told.looked else f" ({told.seeds} of {text.counted(told.looked, 'seed')})"
    cause = f"{finding.cause[0].upper()}{finding.cause[1:]}".rstrip(".")
    measured = f" ({numbers})" if numbers else ""
    return f"{finding.code}{where}{share}. {cause}{measured}. Fix: {finding.remedy.rstrip('.')}."

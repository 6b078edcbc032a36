"""What step 0 foretold beside what training then did: each kind told once, each run counted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from example_study import ARMS, example_study
from firstlight.checks import Evidence, Finding, Severity
from firstlight.studies.foretelling import OUTCOMES, VERDICTS, findings_of, foretold, in_words, outcome_of, reading_of
from firstlight.studies.records import Result


def finding(code: str, severity: Severity = Severity.ERROR) -> Finding:
    numbers = (Evidence("factor a layer", 0.16, 0.5),)
    return Finding(code, severity, "layer1", 0.0, numbers, "it shrinks", "scale it")


def with_findings(findings: Sequence[Sequence[Finding] | None]) -> list[Result]:
    """Results of one arm, a seed each, with these findings."""
    results = example_study(("he_normal",), (0.001,), len(findings)).results
    return [replace(r, findings=None if f is None else tuple(f)) for r, f in zip(results, findings, strict=True)]


def test_each_kind_stands_once_with_its_count_the_worst_first() -> None:
    note, vanishing = finding("frozen", Severity.NOTE), finding("vanishing-forward")
    found = findings_of(with_findings([[note], [note, vanishing], [note], None]))
    assert [(f.finding.code, f.seeds, f.looked) for f in found] == [("vanishing-forward", 1, 3), ("frozen", 3, 3)]


def test_the_reading_says_what_where_how_fast_and_the_fix_and_no_notes() -> None:
    found = findings_of(with_findings([[finding("frozen", Severity.NOTE), finding("vanishing-forward")], []]))
    words = reading_of(found)
    assert words == ("vanishing-forward at layer1 (1 of 2 seeds). It shrinks (factor a layer 0.16). Fix: scale it.")
    assert reading_of(()) == ""


def test_every_run_that_was_looked_at_is_counted_once() -> None:
    study = example_study()
    counts = {f.verdict: f.outcomes for f in foretold(study.results, study.arms)}
    looked = {(r.trial.arm, r.trial.seed) for r in study.results if r.findings is not None}
    assert tuple(counts) == VERDICTS
    assert sum(map(sum, counts.values())) == len(looked)
    # torch, the small normal and the wide uniform have a signal that is lost, and stay at chance or diverge.
    assert counts["will not train"] == (0, 0, 30)
    assert counts["may not train"] == (0, 0, 0)
    assert "gave up on 30 runs, of which 30 did not learn" in in_words(study.foretold)
    assert sum(counts["nothing found"]) == 10 * (len(ARMS) - 3) - 1


@pytest.mark.parametrize(("changes", "outcome"), [({}, 0), ({"steps_to_target": None}, 1), ({"at_chance": True}, 2)])
def test_outcomes(changes: dict[str, object], outcome: int) -> None:
    result = replace(example_study(("he_normal",), (0.003,), 1).results[0], **changes)
    assert outcome_of(result) == OUTCOMES[outcome]


def test_a_study_without_failures_says_nothing_of_them() -> None:
    assert in_words(example_study(("he_normal", "he_uniform")).foretold) == ""

"""From results to summaries, readings and words: checked on constructed results."""

from __future__ import annotations

import math

import pytest

from firstlight.probes import Signal
from firstlight.studies.analysis import choose_rate, compare_arms, summarize
from firstlight.studies.records import Point, Result, Setting, Trial
from firstlight.studies.verdict import verdict

SIGNAL = Signal(("a", "b"), (1.0, 1.0), (1.0, 1.0))


def result(arm: str, rate: float, seed: int, accuracy: float, *, test: float | None = None, **changes) -> Result:
    curve = (Point(10, 1.0, 1.0, accuracy / 2), Point(20, 0.5, 1 - accuracy, accuracy))
    fields = {
        "trial": Trial("target", arm, rate, seed),
        "status": "finished",
        "curve": curve,
        "steps_to_target": 20 if accuracy >= 0.6 else None,
        "diverged_at": None,
        "at_chance": accuracy <= 0.25,
        "validation_accuracy": accuracy,
        "validation_loss": 1 - accuracy,
        "test_accuracy": accuracy if test is None else test,
        "test_loss": 1 - accuracy,
        "signal": SIGNAL,
        "error": None,
        "wall_seconds": 1.0,
    }
    return Result(**(fields | changes))


def setting(arms: list[str], seeds: int, rates: tuple[float, ...] = (0.01, 0.1, 1.0)) -> Setting:
    return Setting(
        "t",
        "n",
        1,
        5,
        1,
        1,
        1,
        tuple(arms),
        rates,
        tuple(range(seeds)),
        "sgd",
        20,
        8,
        0.6,
        0.2,
        arms[0],
        "",
        (),
        "",
        "",
    )


def study(values: dict[str, list[float]], rates: tuple[float, ...] = (0.1,), grid=(0.01, 0.1, 1.0)):
    results = [result(a, r, s, v) for a, vs in values.items() for r in rates for s, v in enumerate(vs)]
    asked = setting(list(values), len(next(iter(values.values()))), grid)
    arms = summarize(results, list(values), 0.6)
    comparisons = compare_arms(arms, asked.baseline)
    return arms, comparisons, verdict(asked, arms, comparisons)


def test_the_rate_is_chosen_on_validation_and_never_on_test() -> None:
    results = [result("a", 0.1, s, 0.9, test=0.1) for s in range(3)] + [
        result("a", 1.0, s, 0.8, test=1.0) for s in range(3)
    ]
    assert choose_rate(results) == 0.1
    summary = summarize(results, ["a"], 0.6)[0]
    assert summary.learning_rate == 0.1
    assert summary.test.mean == pytest.approx(0.1)


def test_of_equal_rates_the_lower_loss_wins_and_failures_count_as_nothing() -> None:
    results = [result("a", 0.1, 0, 0.9, validation_loss=0.5), result("a", 1.0, 0, 0.9, validation_loss=0.4)]
    assert choose_rate(results) == 1.0
    nothing = result("a", 2.0, 0, 0.99, status="failed", validation_accuracy=math.nan, curve=(), error="boom")
    assert choose_rate([*results, nothing]) == 1.0


def test_arms_are_ranked_by_mean_and_rates_that_work_are_counted() -> None:
    results = [result("low", r, s, v) for r, v in ((0.1, 0.5), (1.0, 0.3)) for s in range(4)]
    results += [result("high", r, s, 0.9 if r == 0.1 or s == 0 else 0.2) for r in (0.1, 1.0) for s in range(4)]
    arms = summarize(results, ["low", "high"], 0.6)
    assert [a.arm for a in arms] == ["high", "low"]
    assert [a.rank for a in arms] == [1, 2]
    assert arms[0].working_rates == (0.1,)
    assert arms[0].rates[1].reached == 1
    assert arms[0].rates[1].at_chance == 3
    assert arms[1].working_rates == ()
    assert arms[1].steps_to_target is None


def test_a_trial_that_raised_scores_zero_in_the_paired_test() -> None:
    values = [result("a", 0.1, s, 0.9) for s in range(3)]
    broken = [
        result(
            "b", 0.1, s, 0.0, status="failed", test_accuracy=math.nan, validation_accuracy=math.nan, error="E", curve=()
        )
        for s in range(3)
    ]
    arms = summarize([*values, *broken], ["a", "b"], 0.6)
    assert arms[1].failed == 3
    assert arms[1].errors == ("E",)
    assert compare_arms(arms, "a")[0].difference.mean == pytest.approx(-0.9)


def test_a_rate_works_where_most_seeds_end_at_the_target_not_where_they_passed_it() -> None:
    fell = [result("a", 0.1, s, 0.3, steps_to_target=10) for s in range(3)]
    held = [result("a", 0.2, s, 0.7) for s in range(3)]
    summary = summarize([*fell, *held], ["a"], 0.6)[0]
    assert summary.working_rates == (0.2,)
    assert [r.reached for r in summary.rates] == [3, 3]


def test_the_curve_keeps_a_diverged_run_at_its_last_accuracy() -> None:
    gone = result("a", 0.1, 1, 0.2, status="diverged", diverged_at=20)
    curve = summarize([result("a", 0.1, 0, 0.8), gone], ["a"], 0.6)[0].curve
    assert [p.step for p in curve] == [10, 20]
    assert curve[1].accuracy.n == 2


def test_the_verdict_calls_a_tie_a_tie() -> None:
    _, _, words = study({"a": [0.7, 0.8, 0.9, 0.75, 0.85, 0.8, 0.7, 0.9, 0.8, 0.8], "b": [0.8, 0.7, 0.9, 0.8, 0.8] * 2})
    assert "cannot be told from" in words[0]
    assert any("No arm differs significantly from a" in w for w in words)


def test_the_verdict_says_better_only_where_the_corrected_test_does() -> None:
    clear = [0.9, 0.91, 0.92, 0.93, 0.9, 0.91, 0.92, 0.93, 0.9, 0.91]
    _, comparisons, words = study({"base": [0.7 + i / 100 for i in range(10)], "good": clear, "bad": [0.3] * 10})
    assert all(c.p_holm <= 0.05 for c in comparisons)
    assert any("better than base: good" in w and "worse than base: bad" in w for w in words)
    assert "it is the best of them" in words[0]


def test_the_verdict_says_nothing_of_an_arm_that_always_raised() -> None:
    nan = math.nan
    fault = {"status": "failed", "test_accuracy": nan, "validation_accuracy": nan, "error": "E", "curve": ()}
    results = [result("a", 0.1, s, 0.9) for s in range(3)]
    results += [result("b", 0.1, s, 0.0, at_chance=False, **fault) for s in range(3)]
    arms = summarize(results, ["a", "b"], 0.6)
    words = verdict(setting(["a", "b"], 3, (0.1,)), arms, compare_arms(arms, "a"))
    assert words[0].endswith("%)."), "compared with nobody"
    assert any("Raised an error" in w and "b" in w for w in words)
    assert not any("Stayed at chance" in w for w in words)


def test_the_verdict_says_when_seeds_are_too_few() -> None:
    _, _, words = study({"a": [0.9] * 5, "b": [0.3] * 5, "c": [0.4] * 5})
    assert any("5 seeds cannot reach significance" in w and "at least 7 seeds" in w for w in words)
    assert not any("Significantly" in w for w in words)


def test_the_verdict_names_what_never_learned_and_edges() -> None:
    _, _, words = study({"a": [0.9] * 3, "stuck": [0.2] * 3}, grid=(0.1, 1.0))
    assert any("Stayed at chance" in w and "stuck" in w for w in words)
    assert any("lowest learning rate" in w and "a" in w for w in words)


def test_nothing_learned_is_said_and_nothing_else() -> None:
    _, _, words = study({"a": [0.2] * 3, "b": [0.2] * 3})
    assert len(words) == 1
    assert "No arm learned" in words[0]

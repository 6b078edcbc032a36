"""A study's page says what the study found, for a whole study and for the least and the worst there can be."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from example_study import ARMS, LONG, RATES, example_study, failed_study
from firstlight.reports import text
from firstlight.studies import Study
from firstlight.studies.page import render
from firstlight.studies.records import Interval
from reports.page_outline import Outline


@pytest.fixture(scope="module")
def study() -> Study:
    return example_study()


@pytest.fixture(scope="module")
def outline(study: Study) -> Outline:
    return Outline(render(study))


def test_the_page_says_the_verdict_and_the_setting_first(study: Study, outline: Outline) -> None:
    assert outline.texts["h2"][:3] == ["Verdict", "Setting", "Ranked"]
    for sentence in study.verdict:
        assert sentence in outline.words


def test_the_table_ranks_every_arm_with_its_numbers(study: Study, outline: Outline) -> None:
    words = " ".join(outline.texts["tbody"][0].replace("\u00a0", " ").split())
    places = [words.index(arm.arm) for arm in study.arms]
    assert places == sorted(places)
    p_values = {c.arm: text.equals_p(c.p_holm) for c in study.comparisons}
    for arm, start, end in zip(study.arms, places, [*places[1:], len(words)], strict=True):
        row = words[start:end]
        assert text.percent(arm.test.mean) in row
        assert text.span(arm.test.low, arm.test.high) in row
        assert f"{arm.at_chance} of {arm.trials}" in row
        assert text.rates(arm.working_rates, RATES) in row
        assert p_values.get(arm.arm, "baseline") in row


def test_every_chart_is_there_and_no_number_is_lost(outline: Outline) -> None:
    titles = ["Test accuracy of each seed", "Validation accuracy", "Training loss"]
    titles += ["Accuracy against learning rate", "Activations", "Gradients"]
    assert outline.texts["h3"] == titles
    assert len(outline.of("details")) == 5


def test_what_went_wrong_stands_beside_what_step_0_showed(outline: Outline) -> None:
    words, counts = outline.texts["table"][-2:]
    assert "10 of 10 seeds diverged" in words
    assert "will not train" in counts
    assert "stayed at chance at every learning rate" in words.lower()
    assert "exploding-forward at layer1" in words
    assert "vanishing-forward at layer1" in words
    # Of a traceback only its message, letter by letter.
    assert "ValueError: a <b>fault</b> of the model" in words
    assert "Traceback" not in words


def test_how_to_run_it_again(study: Study, outline: Outline) -> None:
    assert outline.texts["pre"] == [study.setting.command]
    for value in (study.setting.fingerprint, study.setting.machine, "torch 2.13.0", "0 to 9"):
        assert value in outline.words


def test_an_arm_keeps_its_key_wherever_it_ranks(study: Study) -> None:
    backwards = replace(study, arms=tuple(reversed(study.arms)))
    keys = [
        {tuple(a.items()) for t, a in Outline(render(s)).elements if t == "button" and "data-style" in a}
        for s in (study, backwards)
    ]
    assert keys[0] == keys[1]
    assert len(keys[0]) == len(ARMS)


def test_the_page_is_whole_small_and_the_same_each_time(study: Study, outline: Outline) -> None:
    page = render(study)
    assert page == render(study)
    assert not outline.loads
    assert not outline.unclosed
    assert len(page) - len(outline.texts["script"][0]) < 250_000


def test_an_arm_called_script_is_a_name(study: Study) -> None:
    evil = "<script>alert(1)</script>"
    setting = replace(study.setting, arms=(evil, *study.setting.arms[1:]), baseline=evil, command=evil, network=evil)
    arms = tuple(replace(a, arm=evil) if a.arm == "torch" else a for a in study.arms)
    comparisons = tuple(replace(c, baseline=evil) for c in study.comparisons)
    page = render(replace(study, setting=setting, arms=arms, comparisons=comparisons, verdict=(evil,)))
    outline = Outline(page)
    assert len(outline.of("script")) == 3
    assert "<script>alert" not in page
    assert evil in outline.texts["pre"]


@pytest.mark.parametrize(
    "least",
    [
        example_study(("he_normal",), (0.003,), 1),
        example_study(("torch", "he_normal"), (0.003,), 2),
        example_study((LONG,), RATES, 4),
        failed_study(),
        failed_study(error=""),
    ],
    ids=["one arm, rate and seed", "two seeds", "one failing arm", "everything failed", "without a message"],
)
def test_the_least_and_the_worst_study_has_a_page(least: Study) -> None:
    outline = Outline(render(least))
    assert not outline.unclosed
    assert "nan" not in outline.words.lower().replace("nan, or", "")
    assert "inf" not in [word.strip(".,;()") for word in outline.words.split()]


def test_all_nan_is_a_page_of_dashes(study: Study) -> None:
    nan = math.nan
    arms = tuple(
        replace(
            a,
            test=Interval(nan, nan, nan, 0),
            test_accuracies=(nan,) * a.trials,
            curve=(),
            rates=tuple(
                replace(r, validation=replace(r.validation, mean=nan, low=nan, high=nan, n=0)) for r in a.rates
            ),
            signal=None,
        )
        for a in study.arms
    )
    comparisons = tuple(replace(c, difference=Interval(nan, nan, nan, 0), p=nan, p_holm=nan) for c in study.comparisons)
    outline = Outline(render(replace(study, arms=arms, comparisons=comparisons)))
    assert outline.words.count("no run got far enough to measure it") == 4
    assert "nan" not in outline.texts["table"][0]
    assert not [a for a in outline.of("div") if a.get("class") == "chart"]

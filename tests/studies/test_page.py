"""The report as HTML: everything escaped, nothing from outside, the same for the same study."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest

from firstlight.studies import Study
from firstlight.studies.page import render
from firstlight.studies.study import make_study
from reports.page_outline import Outline


def test_nothing_is_loaded_from_outside(quick: Study) -> None:
    html = render(quick)
    assert not Outline(html).loads
    own = html[: html.index("<script>/**")] if "<script>/**" in html else html.split("plotly.js")[0]
    assert not re.search(r"url\(\s*['\"]?http", own)


def test_it_says_everything_asked_for(quick: Study) -> None:
    text = Outline(render(quick)).words
    for heading in (
        "Verdict",
        "Ranked",
        "Training",
        "Learning rates",
        "The signal at step 0",
        "Setting",
        "Run it again",
    ):
        assert heading in text
    assert quick.verdict[0] in text
    assert quick.setting.command in text
    assert quick.setting.fingerprint in text
    for arm in quick.arms:
        assert arm.arm in text


def test_it_is_the_same_for_the_same_study(quick: Study) -> None:
    assert render(quick) == render(quick)


def hostile(study: Study) -> Study:
    nasty = "</script><script>alert(1)</script>"
    setting = replace(
        study.setting,
        arms=tuple(a + nasty for a in study.setting.arms),
        baseline=study.setting.baseline + nasty,
        command=nasty,
        task=nasty,
    )
    results = [
        replace(r, trial=replace(r.trial, arm=r.trial.arm + nasty), error=nasty if r.trial.seed else None)
        for r in study.results
    ]
    return make_study(setting, results, study.folder)


def test_what_users_wrote_is_escaped(quick: Study) -> None:
    assert "<script>alert" not in render(hostile(quick))


def figures(html: str) -> list[dict]:
    return json.loads(html.split('id="figures">')[1].split("</script>")[0])


def test_the_charts_hold_the_numbers(quick: Study) -> None:
    charts = figures(render(quick))
    assert len(charts) == 6
    best = quick.arms[0]
    line = next(t for t in charts[1]["data"] if t["name"] == best.arm and "fill" not in t)
    assert line["y"] == [p.accuracy.mean for p in best.curve]
    assert line["x"] == [p.step for p in best.curve]
    looks = {(t["name"], t["meta"]["style"]) for c in charts for t in c["data"]}
    assert len(looks) == len(quick.arms), "an arm has one look in every chart"


@pytest.mark.parametrize("change", ["failed", "one seed", "one arm"])
def test_odd_studies_render(quick: Study, change: str) -> None:
    setting, results = quick.setting, list(quick.results)
    if change == "failed":
        nan = math.nan
        results = [
            replace(
                r, status="failed", curve=(), signal=None, test_accuracy=nan, validation_accuracy=nan, error="boom",
                validation_loss=nan, steps_to_target=None,
            )
            for r in results
        ]  # fmt: skip
    elif change == "one seed":
        setting, results = replace(setting, seeds=(0,)), [r for r in results if r.trial.seed == 0]
    else:
        setting, results = replace(setting, arms=("torch",)), [r for r in results if r.trial.arm == "torch"]
    html = render(make_study(setting, results, quick.folder))
    assert "Verdict" in html
    assert "nan" not in Outline(html).words.lower()

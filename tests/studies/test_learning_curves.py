"""``learning_curve``: sizes nest, sources are trained once, every size is a study of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clouds import blobs
from firstlight.errors import ArgumentError, StoreError
from firstlight.studies import learning_curve, load_learning_curve, task_from_arrays
from firstlight.studies.learning_curves import few
from firstlight.studies.observer import Silent
from firstlight.studies.records import Result

QUICK = {"seeds": 2, "learning_rates": [0.01, 0.03], "steps": 20, "workers": 0}


class Counting(Silent):
    """Counts the trials that were run, by stage."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def on_result(self, result: Result) -> None:
        self.stages.append(result.trial.stage)


def test_larger_training_splits_hold_the_smaller_ones() -> None:
    task = task_from_arrays(*blobs())
    small, large = few(task, 4), few(task, 9)
    rows = {tuple(x.tolist()) for x in large.train.inputs}
    assert {tuple(x.tolist()) for x in small.train.inputs} <= rows
    assert torch.bincount(small.train.labels).tolist() == [4] * len(task.classes)
    assert torch.equal(small.test.inputs, task.test.inputs)
    assert torch.equal(small.mean, task.mean)


def test_each_size_is_a_study_and_sources_are_trained_once(tmp_path: Path) -> None:
    seen = Counting()
    curve = learning_curve(
        "mlp", "digits", ["he_normal", "pretrained"], examples=[40, 10], out=tmp_path / "curve", observer=seen, **QUICK
    )
    assert curve.examples == (10, 40)
    assert seen.stages.count("source") == 4
    assert seen.stages.count("target") == 2 * 2 * 2 * 2
    assert [s.setting.train_size for s in curve.studies] == [50, 200]
    assert "What is a start worth" in (tmp_path / "curve" / "report.html").read_text()
    assert "10 examples a class" in str(curve)
    again = Counting()
    more = learning_curve(
        "mlp", "digits", ["he_normal", "pretrained"], examples=[10, 40], out=tmp_path / "curve", observer=again, **QUICK
    )
    assert again.stages == []
    assert str(more) == str(curve) == str(load_learning_curve(tmp_path / "curve"))


def test_starting_over_trains_the_sources_again_too(tmp_path: Path) -> None:
    for _ in range(2):
        seen = Counting()
        learning_curve(
            "mlp", "digits", ["pretrained"], examples=[10], out=tmp_path / "c", fresh=True, observer=seen, **QUICK
        )
        assert seen.stages.count("source") == 4


def test_sizes_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="training examples; ask for fewer"):
        learning_curve("mlp", "digits", ["he_normal"], examples=[10_000], out=tmp_path / "x", **QUICK)
    with pytest.raises(ArgumentError, match="whole numbers above 0"):
        learning_curve("mlp", "digits", ["he_normal"], examples=[], out=tmp_path / "x", **QUICK)
    with pytest.raises(StoreError, match="no learning curve"):
        load_learning_curve(tmp_path)
    assert not (tmp_path / "x").exists()


def test_a_teacher_is_asked_for_where_it_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="give teacher="):
        learning_curve("mlp", "digits", ["weight_selection"], examples=[5], out=tmp_path / "x", **QUICK)
    with pytest.raises(ArgumentError, match="not asked for"):
        learning_curve("mlp", "digits", ["he_normal"], examples=[5], teacher="mlp", out=tmp_path / "x", **QUICK)

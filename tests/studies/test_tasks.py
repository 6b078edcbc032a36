"""A task: how it is cut and normalised, what it refuses, and that it survives the way to another process."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from clouds import blobs
from firstlight.errors import ArgumentError, DataError
from firstlight.studies import Task, task_from_arrays, task_from_splits
from firstlight.studies.data import load_task
from firstlight.studies.task_files import open_task, save_task


def test_the_cut_is_stratified_disjoint_complete_and_repeatable() -> None:
    x = np.arange(200, dtype=np.float32).reshape(100, 2)
    y = np.repeat([0, 1], [80, 20])
    task = task_from_arrays(x, y)
    parts = (task.train, task.validation, task.test)
    assert [len(p) for p in parts] == [50, 20, 30]
    seen = torch.cat([p.inputs[:, 0] for p in parts]).sort().values
    assert torch.equal(seen, torch.from_numpy(x[:, 0]))
    assert [int((p.labels == 1).sum()) for p in parts] == [10, 4, 6]
    assert task.chance == 0.8
    assert task.digest == task_from_arrays(x, y).digest
    assert task.digest != task_from_arrays(x, y, split_seed=1).digest


def test_the_digest_holds_all_that_decides_results() -> None:
    x, y = blobs(60)
    parts = {"train": (x, y), "test": (x, y), "validation": (x, y)}
    digests = [task_from_splits(**parts, classes=names).digest for names in (["a", "b", "c"], ["a", "c", "b"])]
    for part in parts:
        other = x.copy()
        other[-1, -1] += 1
        changed = [{**parts, part: pair} for pair in ((other, y), (x, np.roll(y, 1)), (x[:-3], y[:-3]))]
        digests += [task_from_splits(**these, classes=["a", "b", "c"]).digest for these in changed]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_task_keeps_data_of_its_own(kind: type) -> None:
    """Arrays may be read-only, and what their owner does to them later is no part of the task."""
    x, y = np.arange(48, dtype=kind).reshape(12, 4), np.arange(12) % 2
    x.setflags(write=False)
    task = task_from_splits((x, y), (x, y), (x, y))
    x.setflags(write=True)
    x[:], y[:] = 0, 0
    assert task.digest == task_from_splits(*[(task.test.inputs, task.test.labels)] * 3).digest
    assert int(task.train.inputs[-1, -1]) == 47


def test_normalisation_is_fitted_on_the_training_split_alone() -> None:
    x, y = blobs()
    x[:, 3] = 5.0
    task = task_from_arrays(x, y)
    train, _ = task.batch(task.train, slice(None))
    assert torch.allclose(train.mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(train[:, :3].std(0, correction=0), torch.ones(3), atol=1e-5)
    assert (train[:, 3] == 0).all()
    test, _ = task.batch(task.test, slice(None))
    assert test[:, 0].mean().abs() > 1e-5


def test_images_are_normalised_by_channel_and_stay_small() -> None:
    images = np.random.default_rng(0).integers(0, 255, (60, 3, 4, 4), dtype=np.uint8)
    task = task_from_arrays(images, np.arange(60) % 2)
    assert task.train.inputs.dtype == torch.uint8
    assert task.mean.shape == (3, 1, 1)
    x, _ = task.batch(task.train, torch.tensor([0, 1]))
    assert x.dtype == torch.float32
    assert abs(task.batch(task.train, slice(None))[0].mean()) < 1e-5


def test_a_task_survives_the_way_through_files(task: Task, tmp_path: Path) -> None:
    save_task(load_task("digits"), tmp_path / "digits")
    save_task(task, tmp_path / "blobs")
    back = open_task(tmp_path / "blobs")
    assert (back.name, back.classes, back.chance, back.digest) == (task.name, task.classes, task.chance, task.digest)
    for mine, theirs in zip(back.batch(back.test, slice(None)), task.batch(task.test, slice(None)), strict=True):
        assert torch.equal(mine, theirs)
    digits = open_task(tmp_path / "digits")
    assert digits.source is not None
    assert digits.source.name == "digits-0-4"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["blobs", "digits"]


def test_names_become_classes_in_order() -> None:
    x, y = blobs()
    task = task_from_arrays(x, np.array(["b", "a", "c"])[y])
    assert task.classes == ("a", "b", "c")
    assert torch.bincount(task.test.labels).tolist() == [12, 12, 12]


def test_a_part_that_lacks_a_class_keeps_the_names_of_the_others() -> None:
    x, y = blobs(120, classes=12)
    for labels in (y, y.astype(str), np.array([f"class {k:02}" for k in range(12)])[y]):
        task = task_from_splits((x, labels), (x[y > 0], labels[y > 0]))
        assert torch.equal(task.test.labels, torch.from_numpy(y[y > 0]))
        assert len(task.classes) == 12


@pytest.mark.parametrize("counts", [[7, 7, 7], [30, 3, 2], [100, 1, 50, 9]])
def test_a_limit_is_kept_and_leaves_every_class_enough_to_be_cut(counts: list[int]) -> None:
    y = np.repeat(np.arange(len(counts)), np.array(counts) + 4)
    x = np.arange(len(y))[:, None]
    for limit in range(2 * len(counts), len(y)):
        task = task_from_splits((x, y), (x, y), limit=limit)
        assert len(task.train) + len(task.validation) == limit
        assert len(task.train.labels.unique()) == len(task.validation.labels.unique()) == len(counts)


def test_parts_that_are_cut_already_stay_so() -> None:
    x, y = blobs(90)
    task = task_from_splits((x[:60], y[:60]), (x[60:], y[60:]))
    assert [len(p) for p in (task.train, task.validation, task.test)] == [48, 12, 30]
    three = task_from_splits((x[:60], y[:60]), (x[60:75], y[60:75]), (x[75:], y[75:]))
    assert len(three.train) == 60
    small = task_from_splits((x[:60], y[:60]), (x[60:], y[60:]), limit=30)
    assert (len(small.train) + len(small.validation), len(small.test)) == (30, 30)
    assert "Limited to 30" in small.description


def test_digits_have_a_source_on_the_same_scale() -> None:
    task = load_task("digits")
    assert task.source is not None
    assert (len(task.train), len(task.validation), len(task.test)) == (448, 179, 269)
    assert torch.equal(task.mean, task.source.mean)
    assert task.classes == ("5", "6", "7", "8", "9")
    assert len(load_task("digits10").classes) == 10


def _x(n: int = 12) -> np.ndarray:
    return np.zeros((n, 2))


def _with(value: float) -> np.ndarray:
    x = _x()
    x[7, 1] = value
    return x


Y = np.arange(12) % 2


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (_with(math.nan), Y, r"nan at \[7, 1\]"),
        (_with(math.inf), Y, r"inf at \[7, 1\]"),
        (_with(1e300), Y, r"1e\+300 at \[7, 1\]"),
        (_x(), np.where(Y == 1, -1, Y), "label -1, below 0"),
        (_x(), np.where(Y == 1, 900, Y), "label 900, and none has 1"),
        (_x(), Y + 0.5, "no whole numbers"),
        (_x(), np.where(Y == 1, math.nan, Y), "no whole numbers"),
        (_x(), Y * 0, "one class only"),
        (_x(), np.array(["a"] * 12), "one class only"),
        (_x(11), Y, "11 inputs and 12 labels"),
        (np.zeros((0, 2)), np.zeros(0, int), "empty"),
        (np.zeros((12, 0)), Y, "empty"),
        (np.zeros(12), Y, "shape"),
        (_x(), np.stack([Y, Y], 1), "shape"),
        (_x().astype(object), Y, "type object"),
        (np.full((12, 2), "a"), Y, "give numbers"),
        (_x().astype(complex), Y, "complex"),
        (_x(4), np.array([0, 0, 0, 1]), "too few examples"),
        (np.zeros((12, 8, 8, 3), np.uint8), Y, "channels first"),
        (np.zeros((12, 8, 8, 1)), Y, "channels first"),
        ([[1], [1, 2]], Y[:2], "no NumPy array"),
    ],
)
def test_data_that_cannot_be_learned_from_is_refused(x: np.ndarray, y: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        task_from_arrays(x, y)


def test_parts_that_do_not_fit_are_refused() -> None:
    x, y = blobs(60)
    with pytest.raises(DataError, match="different shapes"):
        task_from_splits((x, y), (x[:, :3], y))
    with pytest.raises(DataError, match="the validation part has the class '2', of which the training part has no"):
        task_from_splits((x, y % 2), (x, y % 2), (x, y))
    with pytest.raises(DataError, match="the test part is int: give a pair"):
        task_from_splits((x, y), 3)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"the test part names its classes.*the training part numbers them"):
        task_from_splits((x, y), (x, y.astype(str)))
    with pytest.raises(DataError, match="none of the classes a, b"):
        task_from_splits((x, np.array(["a", "b", "a"])[y]), (x, np.array(["a", "b", "z"])[y]), classes=["a", "b"])


@pytest.mark.parametrize("options", [{"validation": 0}, {"test": 1.0}, {"validation": 0.6, "test": 0.5}, {"limit": 2}])
def test_shares_that_leave_nothing_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ArgumentError):
        task_from_arrays(*blobs(), **options)

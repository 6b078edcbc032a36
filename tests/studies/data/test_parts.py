"""Parts that lie in files of their own: a class, a column and a colour mean the same in each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from firstlight.errors import DataError
from firstlight.studies import Task, load_task

Y = np.arange(120) % 12
LESS = Y[Y != 0]  # a part that lacks the first class


def table(path: Path, labels: Any, truth: np.ndarray, metadata: dict[bytes, bytes] | None = None) -> Path:
    """A Parquet file whose one input is the true class."""
    made = pa.table({"x": truth.astype(float), "label": labels})
    pq.write_table(made.replace_schema_metadata(metadata or {}), path)
    return path


def csv(path: Path, columns: dict[str, Any]) -> Path:
    rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n")
    return path


def names(*names: str) -> dict[bytes, bytes]:
    return {b"huggingface": json.dumps({"info": {"features": {"label": {"names": names}}}}).encode()}


def said(task: Task) -> dict[int, str]:
    """The class that each true class is given: one in all parts, or this fails."""
    parts = (task.train, task.validation, task.test)
    found = {(int(x), task.classes[y]) for p in parts for x, y in zip(p.inputs[:, 0], p.labels.tolist(), strict=True)}
    assert len(found) == len(dict(found))
    return dict(found)


@pytest.mark.parametrize("first", [0, 1, 5])
@pytest.mark.parametrize("kind", ["int64", "float64", "str"])
def test_a_part_that_lacks_a_class_names_the_others_alike(tmp_path: Path, first: int, kind: str) -> None:
    """Twelve classes, so that the order of text (1, 10, 11, 2 …) is not that of numbers."""
    test = table(tmp_path / "b.parquet", (LESS + first).astype(kind), LESS)
    task = load_task(table(tmp_path / "a.parquet", (Y + first).astype(kind), Y), test=test)
    assert said(task) == {k: str(k + first) for k in range(12)}
    assert task.classes == tuple(str(k + first) for k in range(12))


def test_a_number_is_a_place_where_the_file_names_its_classes(tmp_path: Path) -> None:
    """Names that are numbers themselves, as of ratings from 1: the label 1 is the second."""
    stars = names(*(str(k + 1) for k in range(12)))
    test = table(tmp_path / "b.parquet", LESS, LESS, stars)
    task = load_task(table(tmp_path / "a.parquet", Y, Y, stars), test=test)
    assert said(task) == {k: str(k + 1) for k in range(12)}


def test_codes_with_gaps_are_names(tmp_path: Path) -> None:
    codes = np.array([0, 5, 90])[Y % 3]
    assert load_task(table(tmp_path / "a.parquet", codes, Y)).classes == ("0", "5", "90")
    np.savez(tmp_path / "a.npz", x=Y[:, None], y=codes)
    assert load_task(tmp_path / "a.npz").classes == ("0", "5", "90")
    two = np.where(Y % 2, 1, -1)
    assert load_task(table(tmp_path / "b.parquet", two, Y)).classes == ("-1", "1")
    with pytest.raises(DataError, match=r"-1 beside 0, 1.*not labelled"):
        load_task(table(tmp_path / "c.parquet", Y % 3 - 1, Y))


def test_csv_labels_are_text_in_every_part(tmp_path: Path) -> None:
    """The test part alone would be read as numbers, and - is the first of the names."""
    marks = np.array(["-", "0", "1"])
    train = csv(tmp_path / "a.csv", {"x": Y % 3, "label": marks[Y % 3]})
    test = csv(tmp_path / "b.csv", {"x": 1 + Y % 2, "label": marks[1 + Y % 2]})
    assert said(load_task(train, test=test)) == dict(enumerate(marks))


def test_one_number_is_one_class_however_a_csv_writes_it(tmp_path: Path) -> None:
    train = csv(tmp_path / "a.csv", {"x": Y % 2, "label": Y % 2 + 1})
    test = csv(tmp_path / "b.csv", {"x": Y % 2, "label": Y % 2 + 1.0})
    assert said(load_task(train, test=test)) == {0: "1", 1: "2"}


def test_columns_are_matched_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, len(Y)))
    train = csv(tmp_path / "a.csv", {"a": a, "b": b, "label": Y % 2})
    same = load_task(train, test=csv(tmp_path / "b.csv", {"a": a, "b": b, "label": Y % 2}))
    turned = load_task(train, test=csv(tmp_path / "c.csv", {"label": Y % 2, "b": b, "a": a}))
    assert turned.digest == same.digest


@pytest.mark.parametrize(("held", "words"), [("ac", "lacks 'b' and has 'c'"), ("a", "lacks 'b',"), ("abc", "has 'c'")])
def test_other_columns_are_refused(tmp_path: Path, held: str, words: str) -> None:
    train = csv(tmp_path / "a.csv", {"a": Y, "b": Y, "label": Y % 2})
    with pytest.raises(DataError, match=words):
        load_task(train, test=csv(tmp_path / "b.csv", {**dict.fromkeys(held, Y), "label": Y % 2}))


def test_a_class_that_only_the_test_part_has_is_refused(tmp_path: Path) -> None:
    """Nothing could learn it; most often it is a class written in two ways."""
    train = csv(tmp_path / "a.csv", {"x": Y, "label": np.array(["cat", "dog"])[Y % 2]})
    test = csv(tmp_path / "b.csv", {"x": Y, "label": np.array(["cat", "Dog"])[Y % 2]})
    with pytest.raises(DataError, match=r"the test part has the class 'Dog'.*its classes are cat, dog"):
        load_task(train, test=test)


def test_names_that_differ_between_parts_are_refused(tmp_path: Path) -> None:
    train = table(tmp_path / "a.parquet", Y % 2, Y, names("cat", "dog"))
    with pytest.raises(DataError, match="different classes: cat, dog and dog, cat"):
        load_task(train, test=table(tmp_path / "b.parquet", Y % 2, Y, names("dog", "cat")))


def test_grey_beside_colour_becomes_colour(tmp_path: Path) -> None:
    grey = np.arange(40 * 36, dtype=np.uint8).reshape(40, 1, 6, 6)
    colour = np.repeat(grey, 3, axis=1)
    y = np.arange(40) % 2
    np.savez(tmp_path / "a.npz", x_train=colour, y_train=y, x_test=grey, y_test=y)
    np.savez(tmp_path / "b.npz", x_train=colour, y_train=y, x_test=colour, y_test=y)
    assert load_task(tmp_path / "a.npz").digest == load_task(tmp_path / "b.npz").digest


def test_a_folder_of_tables_uses_each_for_one_part(tmp_path: Path) -> None:
    for name, count in (("train", 40), ("latest-test-0", 20), ("x_val", 30)):
        table(tmp_path / f"{name}.parquet", Y[:count] % 2, Y[:count])
    task = load_task(tmp_path)
    assert [len(p) for p in (task.train, task.validation, task.test)] == [40, 30, 20]


@pytest.mark.parametrize(
    "held", [["latest-train"], ["constraints-test"], ["train", "test", "more"], ["train", "test", "val", "valid"]]
)
def test_tables_that_are_no_part_or_one_twice_are_refused(tmp_path: Path, held: list[str]) -> None:
    """latest holds the word test, and constraints train: neither is a part."""
    for name in held:
        table(tmp_path / f"{name}.parquet", Y % 2, Y)
    with pytest.raises(DataError, match="should hold one train"):
        load_task(tmp_path)

"""Labels: one class, one number in every part; what is neither a name nor a place is refused by its example."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import ArgumentError, DataError
from firstlight.studies.labels import number, plain

NAMES = st.lists(st.sampled_from(["cat", "dog", "2", "10", "01", "-", "é"]), min_size=1, max_size=12)


def numbered(*parts: object, classes: list[str] | None = None) -> tuple[list[list[int]], list[str]]:
    labels, names = number([(f"part {i}", plain(p, f"part {i}")) for i, p in enumerate(parts)], classes)
    return [part.tolist() for part in labels], names


@given(NAMES, NAMES)
def test_every_part_numbers_a_class_alike(first: list[str], second: list[str]) -> None:
    """A part that lacks a class numbers the others as before."""
    (a, b), names = numbered(first, second)
    assert [names[k] for k in a] == first
    assert [names[k] for k in b] == second
    assert set(names) == {*first, *second}


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60))
def test_numbers_written_as_text_keep_their_order(values: list[int]) -> None:
    (labels,), names = numbered([str(v) for v in values])
    assert names == [str(v) for v in sorted(set(values))]
    assert [int(names[k]) for k in labels] == values


@pytest.mark.parametrize("kind", [np.int8, np.uint64, np.float32, object])
def test_whole_numbers_of_any_type_are_places(kind: type) -> None:
    assert numbered(np.array([2, 0, 1, 2]).astype(kind)) == ([[2, 0, 1, 2]], ["0", "1", "2"])
    assert numbered(np.array([[1], [0]]).astype(kind)) == ([[1, 0]], ["0", "1"])
    assert numbered(np.array([2, 1]).astype(kind), classes=["a", "b", "c"]) == ([[2, 1]], ["a", "b", "c"])


def test_truth_values_and_bytes() -> None:
    assert numbered([True, False]) == ([[1, 0]], ["0", "1"])
    assert numbered(np.array([b"cat", "\u00e9".encode()])) == ([[0, 1]], ["cat", "\u00e9"])


def test_names_that_look_alike_are_alike() -> None:
    """Blanks around a name, and the two ways in which Unicode writes an accent."""
    assert numbered(["cat", " cat", "e\u0301"], ["\u00e9", "cat\t"]) == ([[0, 0, 1], [1, 0]], ["cat", "\u00e9"])


def test_given_names_decide_the_numbers() -> None:
    assert numbered(["b", "a"], [0, 1], classes=["b", "a"]) == ([[0, 1], [0, 1]], ["b", "a"])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a", ""], "example 1 of X has no label"),
        (["a", " "], "example 1 of X has no label"),
        (np.array(["a", np.nan]), "example 1 of X has no label"),
        (np.array(["a", None], dtype=object), "example 1 has None"),
        (np.array([1, "a"], dtype=object), "example 1 has 'a'"),
        ([0.0, 0.5], r"no whole numbers \(example 1 has 0.5\)"),
        ([0.0, np.inf], "no whole numbers"),
        ([0, 1e300], "example 1 of X has the label 1e"),
        ([1j], "no whole numbers"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "no whole numbers"),
        (np.eye(3), "argmax"),
        (np.array([b"\xff"]), "no UTF-8"),
        ([[1], [1, 2]], "no NumPy array"),
    ],
)
def test_what_is_no_label_is_refused(labels: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        plain(labels, "X")


@pytest.mark.parametrize(
    ("parts", "classes", "words"),
    [
        ([[1, 2]], None, "label 1, and none has 0"),
        ([[0, 5], [9, 0]], None, "example 1 of part 0 has the label 5, and none has 1"),
        ([[-1, 1]], None, "label -1, below 0"),
        ([[0, 1], ["0", "1"]], None, "part 1 names its classes.*part 0 numbers them"),
        ([[0, 2]], ["a", "b"], "label 2, outside the classes 0 to 1"),
        ([[0, -1]], ["a", "b"], "label -1, outside.*not labelled"),
        ([["a", "c"]], ["a", "b"], "'c', which is none of the classes a, b"),
    ],
)
def test_labels_that_are_no_class_are_refused(parts: list[list[object]], classes: list[str] | None, words: str) -> None:
    with pytest.raises(DataError, match=words):
        numbered(*parts, classes=classes)


@pytest.mark.parametrize("classes", ["ab", [0, 1], ["a", "a"], ["a", " a"], ["a", ""]])
def test_classes_have_names_of_their_own(classes: object) -> None:
    with pytest.raises(ArgumentError, match="names"):
        numbered([0, 1], classes=classes)  # type: ignore[arg-type]

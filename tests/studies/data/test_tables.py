"""Tables: the first row is a header, the index no input, a missing label no class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clouds import blobs
from firstlight.errors import DataError
from firstlight.studies import load_task

X, Y = blobs(60)


def csv(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def rows(*labels: str, before: str = "{i},{i}") -> list[str]:
    return [f"{before.format(i=i)},{labels[i % len(labels)]}" for i in range(12 * len(labels))]


@pytest.mark.parametrize(
    ("header", "lines", "words"),
    [
        ("a,b,label", rows("cat", "dog", ""), "12 rows.*have no 'label'"),
        ("a,b,label", rows("cat", "dog", "NA"), "12 rows.*have no 'label'.*quote"),
        ("a,b,label", rows("cat", "dog", '" "'), "has no label"),
        ("a,b,label", rows("0", "0.5"), "no whole numbers"),
        ("5.1,3.5,0", rows("0", "1"), "starts with numbers.*no header"),
        ("a,b,label", rows("0", "1", before="{i},1e300"), "'b'.*1e\\+300 in row 1"),
    ],
)
def test_rows_that_would_be_read_wrongly_are_refused(tmp_path: Path, header: str, lines: list[str], words: str) -> None:
    for label in (None, header.split(",")[-1]):
        with pytest.raises(DataError, match=words):
            load_task(csv(tmp_path / "a.csv", header, lines), label=label)


def test_a_quoted_name_is_a_name(tmp_path: Path) -> None:
    assert load_task(csv(tmp_path / "a.csv", "a,b,label", rows('"NA"', '"SE"'))).classes == ("NA", "SE")


def test_blanks_around_names_do_not_matter(tmp_path: Path) -> None:
    plain = load_task(csv(tmp_path / "a.csv", "a,b,label", rows("cat", "dog")))
    assert load_task(csv(tmp_path / "b.csv", " a , b , label", rows(" cat", "dog "))).digest == plain.digest


def test_columns_may_be_parted_by_semicolons(tmp_path: Path) -> None:
    plain = load_task(csv(tmp_path / "a.csv", "a,b,label", rows("cat", "dog")))
    lines = [row.replace(",", ";") for row in rows("cat", "dog")]
    assert load_task(csv(tmp_path / "b.csv", "a;b;label", lines)).digest == plain.digest


def test_columns_may_be_counted(tmp_path: Path) -> None:
    """As pandas writes a frame without names; ``label`` says which is the label."""
    assert load_task(csv(tmp_path / "a.csv", "0,1,2", rows("7", "8")), label="2").classes == ("7", "8")


@pytest.mark.parametrize("index", ["", "Unnamed: 0", "__index_level_0__"])
def test_the_index_that_pandas_writes_is_no_input(tmp_path: Path, index: str) -> None:
    """In a file that is sorted by class it would give the label away."""
    task = load_task(csv(tmp_path / "a.csv", f"{index},b,label", rows("cat", "dog")))
    assert task.input_shape == (1,)


def test_labels_are_the_same_in_every_encoding_of_parquet(tmp_path: Path) -> None:
    names = np.array(["emu", "cat", "dog"])[Y]
    apart = [pa.array(names[:20]).dictionary_encode(), pa.array(names[20:]).dictionary_encode()]
    columns = [pa.array(names), pa.array(names, pa.large_string()), pa.chunked_array(apart)]
    digests = set()
    for i, column in enumerate(columns):
        pq.write_table(pa.table({"x": X[:, 0], "label": column}), tmp_path / f"{i}.parquet")
        digests.add(load_task(tmp_path / f"{i}.parquet").digest)
    assert len(digests) == 1


def named(path: Path, names: object) -> Path:
    metadata = {b"huggingface": json.dumps({"info": {"features": {"label": {"names": names}}}}).encode()}
    pq.write_table(pa.table({"x": X[:, 0], "label": Y}).replace_schema_metadata(metadata), path)
    return path


def test_names_by_number_are_put_in_order(tmp_path: Path) -> None:
    assert load_task(named(tmp_path / "a.parquet", {"2": "c", "0": "a", "1": "b"})).classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"0": "a", "2": "c", "3": "d"}, "0, 2, 3, not from 0 without gaps"),
        ({"a": "a"}, "not from 0 without gaps"),
        (["a", "b", "a"], "two classes of the name 'a'"),
        (["a", "b"], "label 2, outside the classes 0 to 1"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path: Path, names: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_task(named(tmp_path / "a.parquet", names))


def test_two_columns_of_images_are_refused(tmp_path: Path) -> None:
    blank = pa.array([b""] * 60, pa.binary())
    pq.write_table(pa.table({"mask": blank, "image": blank, "label": Y}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="more than one column of images"):
        load_task(tmp_path / "a.parquet")


@pytest.mark.parametrize("more", [{"x_test": X, "y_test": Y}, {"images": X, "labels": Y}])
def test_an_archive_of_more_than_one_set_is_refused(tmp_path: Path, more: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y, **more)
    with pytest.raises(DataError, match="more than one set"):
        load_task(tmp_path / "a.npz")

"""The run folder: what is kept comes back as the same bits; every fault names the file and changes nothing."""

from __future__ import annotations

import math
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from firstlight.checks import Evidence, Finding, Severity
from firstlight.errors import OtherStudyError, StoreError
from firstlight.probes import Signal
from firstlight.studies.records import Point, Result, Trial
from firstlight.studies.store import FILE, Store, clear, decode, encode, read_note

PRINT = {"task": "t", "steps": 3}


def result(seed: int = 0) -> Result:
    signal = Signal(("a",), (1e-300,), (0.1 + 0.2,))
    curve = (Point(1, math.inf, math.nan, 1 / 3),)
    trial = Trial("target", "he_normal", 0.1, seed)
    numbers = (Evidence("second moment", math.inf, 1e3, None, "theory"),)
    finding = Finding("exploding-forward", Severity.ERROR, "layer1", 0.1, numbers, "it grows", "scale it", "scale it")
    return Result(
        trial, "diverged", curve, None, 1, True, 1 / 3, math.nan, 2 / 3, math.inf, signal, None, 0.5, (finding,)
    )


def test_results_come_back_as_the_same_bits(tmp_path: Path) -> None:
    assert repr(decode(encode(result()))) == repr(result())
    with Store(tmp_path / "run", PRINT) as store:
        store.add("he_normal", result())
        store.add("he_normal", result(1))
    with Store(tmp_path / "run", PRINT) as store:
        kept = store.results()
    assert set(kept) == {("target", "he_normal", 0.1, 0), ("target", "he_normal", 0.1, 1)}
    assert repr(kept["target", "he_normal", 0.1, 0]) == repr(result())


def test_another_study_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    with Store(tmp_path / "run", PRINT) as store:
        store.add("he_normal", result())
    before = (tmp_path / "run" / FILE).read_bytes()
    with pytest.raises(OtherStudyError, match=r"steps: 3 there, 4 now.*--out.*--fresh"):
        Store(tmp_path / "run", PRINT | {"steps": 4})
    assert (tmp_path / "run" / FILE).read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be read as one" * 40, b"SQLite format 3\0"]
)
def test_a_damaged_file_is_named_and_left_as_it_was(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"study\.sqlite"):
        Store(tmp_path, PRINT)
    assert path.read_bytes() == content


def test_a_database_with_bits_flipped_in_the_middle_is_named(tmp_path: Path) -> None:
    with Store(tmp_path, PRINT) as store:
        for seed in range(200):
            store.add("he_normal", result(seed))
    data = bytearray((tmp_path / FILE).read_bytes())
    data[4096:] = bytes(b ^ 0xFF for b in data[4096:])
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(StoreError, match=r"study\.sqlite.*damaged"), Store(tmp_path, PRINT) as store:
        store.results()


def test_foreign_folders_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OtherStudyError, match=r"thesis\.tex"):
        Store(tmp_path, PRINT)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(OtherStudyError, match="is a file"):
        Store(tmp_path / "thesis.tex", PRINT)


def test_clearing_removes_only_what_is_ours(tmp_path: Path) -> None:
    with Store(tmp_path, PRINT):
        pass
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "report.html").write_text("ours")
    clear(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_clearing_leaves_a_folder_without_a_study_as_it_is(tmp_path: Path) -> None:
    """The names of our files are not ours alone: somebody keeps weights/ and results.csv beside no study."""
    (tmp_path / "weights").mkdir()
    for name in ("weights/best.pt", "results.csv", "report.html"):
        (tmp_path / name).write_text("mine")
    clear(tmp_path)
    with pytest.raises(OtherStudyError):
        Store(tmp_path, PRINT)
    assert {p.name for p in tmp_path.rglob("*")} == {"weights", "best.pt", "results.csv", "report.html"}


def test_clearing_leaves_a_users_file_among_the_weights(tmp_path: Path) -> None:
    with Store(tmp_path, PRINT):
        pass
    (tmp_path / "weights").mkdir()
    for name in ("source-rate-0.1-seed-0.safetensors", "mine.pt"):
        (tmp_path / "weights" / name).write_text("x")
    clear(tmp_path)
    assert [p.name for p in (tmp_path / "weights").iterdir()] == ["mine.pt"]


def test_clearing_waits_for_nobody_and_takes_nothing_from_a_running_study(tmp_path: Path) -> None:
    with Store(tmp_path, PRINT) as store:
        store.add("he_normal", result())
        with pytest.raises(StoreError, match="in use"):
            clear(tmp_path)
    with Store(tmp_path, PRINT) as store:
        assert len(store.results()) == 1


@pytest.mark.parametrize("sql", ["CREATE TABLE trials (x)", "CREATE TABLE results (x)", "CREATE TABLE meta (a, b)"])
def test_another_programs_database_is_refused_and_left_as_it_was(tmp_path: Path, sql: str) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.execute(sql)
    before = (tmp_path / FILE).read_bytes()
    for use in (lambda: Store(tmp_path, PRINT), lambda: clear(tmp_path)):
        with pytest.raises(OtherStudyError, match="something else"):
            use()
    assert (tmp_path / FILE).read_bytes() == before


def test_reading_a_running_study_says_that_it_runs(tmp_path: Path) -> None:
    with Store(tmp_path, PRINT), pytest.raises(StoreError, match="in use"):
        read_note(tmp_path, "asked")


def test_a_folder_in_use_is_said_to_be(tmp_path: Path) -> None:
    with Store(tmp_path, PRINT), pytest.raises(StoreError, match="in use by another process"):
        Store(tmp_path, PRINT)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "shut"
    folder.mkdir(mode=0o555)
    with pytest.raises(StoreError, match="shut"):
        Store(folder, PRINT)


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(StoreError, match="/proc/firstlight"):
        Store(Path("/proc/firstlight/run"), PRINT)


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    with Store(tmp_path, PRINT) as store:
        store.add("he_normal", result())
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count = {pages}")

        def add_many() -> None:
            for seed in range(1, 1000):
                store.add("he_normal", result(seed))

        with pytest.raises(StoreError, match=r"study\.sqlite.*full"):
            add_many()
    with Store(tmp_path, PRINT) as store:
        assert ("target", "he_normal", 0.1, 0) in store.results()


def test_reading_a_folder_without_a_study(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no study"):
        read_note(tmp_path, "asked")
    (tmp_path / FILE).write_bytes(b"x" * 5000)
    with pytest.raises(StoreError, match="damaged"):
        read_note(tmp_path, "asked")


def test_the_file_is_plain_sqlite(tmp_path: Path) -> None:
    with Store(tmp_path, PRINT) as store:
        store.add("he_normal", result())
    with sqlite3.connect(tmp_path / FILE) as db:
        assert db.execute("SELECT arm, seed FROM results").fetchall() == [("he_normal", 0)]

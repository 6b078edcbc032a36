"""Where trials land: one SQLite file in the run folder, a row as each trial finishes.

Only the process that runs the study writes, so what was finished before a kill -9 is there afterwards. ``compare``
asks which trials are done and hands in the new ones.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import OtherStudyError, StoreError
from ..probes.records import Signal
from .records import Point, Result, Trial

FILE = "study.sqlite"
# What firstlight itself puts into a run folder; --fresh removes these and nothing else.
OURS = (FILE, f"{FILE}-journal", "report.html", "results.csv", "results.json", "weights", "task")
_VERSION = "1"
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE results (
    stage TEXT NOT NULL, arm TEXT NOT NULL, learning_rate REAL NOT NULL, seed INTEGER NOT NULL,
    result TEXT NOT NULL, PRIMARY KEY (stage, arm, learning_rate, seed)
);
"""


class Store:
    """The results of one study on disk; use it as a context.

    Args:
        folder: the run folder, made if it is missing.
        fingerprint: everything that decides a trial's result but its arm, learning rate and seed.

    Raises:
        OtherStudyError: the folder holds another study, or things that are not firstlight's.
        StoreError: the folder cannot be written, or its file is damaged, locked or full.
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        self.folder = folder
        self._path = folder / FILE
        _refuse_foreign(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the run folder {str(folder)!r}: {error.strerror}") from error
        with self._naming_faults():
            self._db = sqlite3.connect(self._path, timeout=1.0, isolation_level=None)
        try:
            self._open(fingerprint)
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def results(self) -> dict[tuple[str, str, float, int], Result]:
        """Every finished trial, by (stage, arm's identity, learning rate, seed)."""
        with self._naming_faults():
            rows = self._db.execute("SELECT stage, arm, learning_rate, seed, result FROM results").fetchall()
            return {(stage, arm, rate, seed): decode(text) for stage, arm, rate, seed, text in rows}

    def add(self, identity: str, result: Result) -> None:
        """Keep a result; it is on disk when this returns."""
        t = result.trial
        row = (t.stage, identity, t.learning_rate, t.seed, encode(result))
        with self._naming_faults():
            self._db.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)", row)

    def note(self, key: str, value: object) -> None:
        """Keep something about the study as it was last asked."""
        with self._naming_faults():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def noted(self, key: str) -> Any:
        """What ``note`` kept, or ``None``."""
        return _noted(self._db, key)

    def _open(self, fingerprint: Mapping[str, Any]) -> None:
        with self._naming_faults():
            # One writer: a second process on the same folder is told so instead of mixing results.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN EXCLUSIVE")
            known = self._db.execute("SELECT name FROM sqlite_master WHERE name = 'meta'").fetchone()
            if known is None:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self.note("version", _VERSION)
                self.note("fingerprint", dict(fingerprint))
            self._db.execute("COMMIT")
        self._check(fingerprint)

    def _check(self, fingerprint: Mapping[str, Any]) -> None:
        with self._naming_faults():
            version, kept = self.noted("version"), self.noted("fingerprint")
        if version != _VERSION:
            raise StoreError(
                f"{str(self._path)!r} has the version {version!r}, this firstlight reads {_VERSION!r}: {_WAYS}"
            )
        if not isinstance(kept, dict):
            raise StoreError(f"{str(self._path)!r} is damaged (it does not say which study it holds): {_WAYS}")
        asked = json.loads(json.dumps(dict(fingerprint)))
        differing = [k for k in sorted({*kept, *asked}) if kept.get(k) != asked.get(k)]
        if differing:
            shown = "; ".join(f"{k}: {kept.get(k)!r} there, {asked.get(k)!r} now" for k in differing[:5])
            raise OtherStudyError(f"the run folder {str(self.folder)!r} holds another study ({shown}): {_WAYS}")

    @contextmanager
    def _naming_faults(self) -> Iterator[None]:
        """SQLite's errors as ours, with the file's name and what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            where = str(self._path)
            if "locked" in str(error):
                raise StoreError(
                    f"{where!r} is in use by another process: wait for it, or choose another out="
                ) from error
            raise StoreError(
                f"cannot write {where!r}: {error}. Free some space or choose a folder you can write with out= (--out)."
            ) from error
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{str(self._path)!r} is damaged ({error}): {_WAYS}") from error


_WAYS = "choose another folder with out= (--out), or start over with fresh=True (--fresh)"


def read_note(folder: Path, key: str) -> Any:
    """What a finished or running study noted, read without writing.

    Raises:
        StoreError: there is no study in the folder, or it cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        raise StoreError(f"there is no study in {str(folder)!r} (no {FILE}): give a run folder")
    try:
        with sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True) as db:
            return _noted(db, key)
    except (sqlite3.Error, ValueError) as error:
        raise StoreError(f"{str(path)!r} is damaged ({error})") from error


def clear(folder: Path) -> None:
    """Remove what firstlight put into a run folder, and nothing else."""
    try:
        for name in OURS:
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot clear the run folder {str(folder)!r}: {error}") from error


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OtherStudyError(f"{str(folder)!r} is a file, not a run folder: choose another out= (--out)")
    if folder.is_dir() and not (folder / FILE).exists():
        strange = [p.name for p in folder.iterdir() if p.name not in OURS]
        if strange:
            raise OtherStudyError(
                f"the folder {str(folder)!r} is not empty and holds no study (it has {strange[0]!r}): "
                "choose another out= (--out)"
            )


def _noted(db: sqlite3.Connection, key: str) -> Any:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else json.loads(row[0])


def encode(result: Result) -> str:
    """A result as JSON; every float comes back as the same bits, NaN and infinity included."""
    return json.dumps(asdict(result))


def decode(text: str) -> Result:
    """The result that ``encode`` wrote."""
    raw = json.loads(text)
    signal = raw.pop("signal")
    return Result(
        trial=Trial(**raw.pop("trial")),
        curve=tuple(Point(**p) for p in raw.pop("curve")),
        signal=None if signal is None else Signal(**{k: tuple(v) for k, v in signal.items()}),
        **raw,
    )

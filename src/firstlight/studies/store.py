"""Where trials land: one SQLite file in the run folder, a row as each trial finishes.

Only the process that runs the study writes, so what was finished before a kill -9 is there afterwards. ``compare``
asks which trials are done and hands in the new ones.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..checks.findings import from_dict
from ..errors import OtherStudyError, StoreError
from ..probes import Signal
from .records import Point, Result, Trial

FILE = "study.sqlite"
WEIGHTS = "weights"
SCRATCH = ".task"
# What firstlight puts into a run folder; the study itself last, so that a folder is known for ours until it is empty.
_OURS = (
    f"{WEIGHTS}/source-*.*",
    f"{WEIGHTS}/teacher-*.*",
    f"{SCRATCH}/**/*",
    "report.html",
    "results.csv",
    "results.json",
    f"{FILE}*",
)
_VERSION = "1"
_TABLES = frozenset({"meta", "results"})
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
            tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and not tables >= _TABLES:
                raise OtherStudyError(f"{str(self._path)!r} holds tables of something else than firstlight: {_WAYS}")
            if not tables:
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
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
            raise _named(self._path, error) from error


_WAYS = "choose another folder with out= (--out), or start over with fresh=True (--fresh)"
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_UNWRITABLE = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
)


def _named(path: Path, error: Exception) -> StoreError:
    """A fault of the file as ours, with its name and what to do."""
    code = _code(error)
    if code in _BUSY:
        return StoreError(f"{str(path)!r} is in use by another process: wait for it, or choose another out= (--out)")
    if code in _UNWRITABLE:
        return StoreError(
            f"cannot write {str(path)!r}: {error}. Free some space or choose a folder you can write with out= (--out)."
        )
    return StoreError(f"{str(path)!r} is damaged ({error}): {_WAYS}")


def _code(error: Exception) -> int:
    """SQLite's primary result code; 0 for other errors."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


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
        raise _named(path, error) from error


def clear(folder: Path) -> None:
    """Remove what firstlight put into a run folder, and nothing else; a folder without a study stays as it is.

    Raises:
        OtherStudyError: the file with the study's name is another program's.
        StoreError: another process runs the study, or the disk does not let go of it.
    """
    if not (folder / FILE).is_file():
        return
    _refuse_busy_or_strange(folder / FILE)
    try:
        for pattern in _OURS:
            found = sorted(folder.glob(pattern), reverse=True)
            for path in found:
                path.rmdir() if path.is_dir() else path.unlink()
        for name in (WEIGHTS, SCRATCH):
            with suppress(OSError):  # it holds something of the user's, or there is none
                (folder / name).rmdir()
    except OSError as error:
        raise StoreError(f"cannot clear the run folder {str(folder)!r}: {error}") from error


def _refuse_busy_or_strange(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            db.execute("BEGIN EXCLUSIVE")
            db.execute("ROLLBACK")
    except sqlite3.Error as error:
        if _code(error) in _BUSY + _UNWRITABLE:
            raise _named(path, error) from error
        return  # damaged: starting over is the way out of that
    if tables and not tables >= _TABLES:
        raise OtherStudyError(f"{str(path)!r} holds tables of something else than firstlight: choose another folder")


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OtherStudyError(f"{str(folder)!r} is a file, not a run folder: choose another out= (--out)")
    if folder.is_dir() and not (folder / FILE).exists():
        strange = [p.name for p in folder.iterdir()]
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
    signal, findings = raw.pop("signal"), raw.pop("findings", None)
    return Result(
        trial=Trial(**raw.pop("trial")),
        curve=tuple(Point(**p) for p in raw.pop("curve")),
        signal=None if signal is None else Signal(**{k: tuple(v) for k, v in signal.items()}),
        findings=None if findings is None else tuple(map(from_dict, findings)),
        **raw,
    )

"""A torch checkpoint on disk, opened without running anything in it.

A checkpoint is a pickle with tensors beside it, and a pickle can name any function to call. Three things stand in the
way: the pickle is first read as data (``pickled``) and held against the file, the archive around it has to be stored
as it is, and ``torch.load(weights_only=True)`` rebuilds tensors and containers only. The tensors are views of the
mapped file; the format before torch 1.6 has no mapping and is read whole.

References:
    PyTorch, torch.load: weights_only, https://docs.pytorch.org/docs/stable/notes/serialization.html.
"""

from __future__ import annotations

import tarfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

import torch
from torch import _weights_only_unpickler as allowed

from ...errors import TransferError
from .pickled import Named, read_names

# Names and shapes only, without the values: the largest published checkpoints have pickles of a few MB.
_MOST_PICKLE: Final = 256 * 2**20
_MOST_ENTRIES: Final = 1_000_000
# What no weights need and what can fill the memory from a few bytes.
_GREEDY: Final = frozenset({"builtins.bytearray", "__builtin__.bytearray"})
_CONVERT: Final = (
    "firstlight runs no code from a file. If you trust it, convert it where it was made: "
    "state = torch.load(path, weights_only=False), then safetensors.torch.save_file(tensors, 'weights.safetensors') "
    "with the dict of its tensors (model.state_dict())."
)
_CONVERT_SCRIPT: Final = (
    "firstlight runs no code from a file. If you trust it, convert it where it was made: "
    "safetensors.torch.save_file(torch.jit.load(path).state_dict(), 'weights.safetensors')."
)


def load_checkpoint(path: Path, zipped: bool) -> object:
    """What a checkpoint holds: tensors in dicts and lists, on the CPU.

    Args:
        path: the file.
        zipped: whether it is a zip archive (torch 1.6 and later) or a row of pickles (before).

    Raises:
        TransferError: it is damaged, or wants code to be run.
    """
    named = _archive(path) if zipped else _row(path)
    greedy = [call for call in named.calls if call in _GREEDY]
    if greedy:
        raise TransferError(f"{str(path)!r} calls {', '.join(greedy)}, which weights do not need. {_CONVERT}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecated storages and of torch's own plans; nothing a user can mend
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # a damaged pickle can raise anything
        wanted = _code(named)
        if wanted:
            most = ", ".join(wanted[:5]) + (f" and {len(wanted) - 5} more" if len(wanted) > 5 else "")
            raise TransferError(
                f"{str(path)!r} wants {most} to be run, not only tensors to be read. {_CONVERT}"
            ) from error
        raise _bad(path, f"{type(error).__name__}: {_first_line(error)}") from error


def _code(named: Named) -> list[str]:
    """What a pickle calls beside the parts of tensors, and what the user has told torch to allow."""
    own = allowed._get_user_allowed_globals()  # type: ignore[no-untyped-call]
    known = {**allowed._get_allowed_globals(), **own}
    calls = [call.replace("__builtin__.", "builtins.") for call in named.calls]
    return [call for call in calls if call not in known]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def _bad(path: Path, what: str) -> TransferError:
    return TransferError(
        f"{str(path)!r} is not an intact torch checkpoint: {what}. Copy or download it again; "
        "torch.save(model.state_dict(), path) writes one."
    )


def _archive(path: Path) -> Named:
    """What the pickle of a zip archive names, the archive held against the file and against the pickle."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # damage can take any form
        raise _bad(path, _first_line(error)) from error
    if any(e.filename.endswith("/constants.pkl") for e in entries):
        raise TransferError(f"{str(path)!r} is a TorchScript archive, which holds code. {_CONVERT_SCRIPT}")
    _check_entries(path, entries, path.stat().st_size)
    found = [e for e in entries if e.filename.count("/") == 1 and e.filename.endswith("/data.pkl")]
    if len(found) != 1:
        raise _bad(path, f"it has {len(found)} entries data.pkl, a checkpoint has one")
    named = _program(path, found[0])
    root = found[0].filename.removesuffix("data.pkl")
    sizes = {e.filename: e.file_size for e in entries}
    for key, wanted in named.storages.items():
        there = sizes.get(f"{root}data/{key}")
        if there != wanted:
            has = "is not there" if there is None else f"has {there:,}"
            raise _bad(path, f"{named.owner(key)!r} needs {wanted:,} bytes, and its entry {root}data/{key} {has}")
    return named


def _program(path: Path, entry: zipfile.ZipInfo) -> Named:
    """What the pickle of an archive names. Read past zipfile, whose checksums torch may be told not to write."""
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        header = file.read(30)
        if header[:4] != b"PK\x03\x04" or len(header) < 30:
            raise _bad(path, f"the entry {entry.filename!r} has no header")
        name, extra = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
        file.seek(name + extra, 1)
        return _names(path, file, min(entry.file_size, _MOST_PICKLE))


def _check_entries(path: Path, entries: Iterable[zipfile.ZipInfo], size: int) -> None:
    """Every entry is there once, as it is, and within the file."""
    entries = sorted(entries, key=lambda e: e.header_offset)
    if len(entries) > _MOST_ENTRIES:
        raise _bad(path, f"it has {len(entries):,} entries")
    for name, times in Counter(entry.filename for entry in entries).most_common(1):
        if times > 1:
            raise _bad(path, f"the entry {name!r} is there {times} times")
    at = 0
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise _bad(
                path,
                f"the entry {entry.filename!r} is compressed ({entry.compress_size:,} to {entry.file_size:,} bytes), "
                "and torch compresses nothing",
            )
        if entry.header_offset < at or entry.header_offset + entry.file_size > size:
            raise _bad(path, f"the entry {entry.filename!r} overlaps another, or the end of the file")
        at = entry.header_offset + entry.file_size


def _row(path: Path) -> Named:
    """What the main pickle of the old format names: it is the fourth, behind a number, a version and a system."""
    if tarfile.is_tarfile(path):
        raise TransferError(f"{str(path)!r} is a tar archive, torch's format before 0.2. {_CONVERT}")
    with path.open("rb") as file:
        first = _names(path, file)
        if first.content != torch.serialization.MAGIC_NUMBER:
            code = _code(first)
            raise TransferError(
                f"{str(path)!r} is a pickle{' that calls ' + ', '.join(code[:5]) if code else ''}, "
                f"and no torch checkpoint. {_CONVERT}"
            )
        for _ in range(2):
            _names(path, file)
        named = _names(path, file)
    total, size = sum(named.storages.values()), path.stat().st_size
    if total > size:
        raise _bad(path, f"its tensors need {total:,} bytes, and it has {size:,}")
    return named


def _names(path: Path, file: IO[bytes], most: int = _MOST_PICKLE) -> Named:
    try:
        return read_names(file, most)
    except Exception as error:  # damage can take any form
        raise _bad(path, f"its pickle cannot be read ({type(error).__name__}: {_first_line(error)})") from error

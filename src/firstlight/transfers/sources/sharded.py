"""Weights spread over several files: ``model.safetensors.index.json`` and its like.

An index is a table of which tensor lies in which file. It comes from elsewhere like the weights, so it may only name
files beside it, and every one of them is held against the table before any value is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, final

import torch

from ...errors import TransferError
from .base import Source, Stored

# The index of the largest published models has some 200,000 lines of about 100 bytes.
_MOST_INDEX: Final = 100_000_000
_MOST_SHARDS: Final = 10_000


@final
class ShardedFiles(Source):
    """The tensors of several files as one source."""

    __slots__ = ("_files", "_path", "_tensors")

    def __init__(self, path: Path, open_file: Callable[[Path], Source]) -> None:
        """Read an index, and the names and shapes of every file it names.

        Args:
            path: the index.
            open_file: opens one of its files.

        Raises:
            TransferError: the index is damaged, names files elsewhere, or does not agree with its files.
        """
        self._path = path
        table = _table(path)
        shards = {name: open_file(_beside(path, name)) for name in dict.fromkeys(table.values())}
        _compare(path, table, shards)
        self._files = {tensor: shards[file] for tensor, file in table.items()}
        self._tensors = {tensor: source.tensors[tensor] for tensor, source in self._files.items()}

    @property
    def label(self) -> str:
        """The index's path, quoted."""
        return repr(str(self._path))

    @property
    def tensors(self) -> Mapping[str, Stored]:
        """In the index's order."""
        return MappingProxyType(self._tensors)

    def read(self, name: str, index: tuple[slice, ...] | None = None) -> torch.Tensor:
        """From the file that holds it."""
        source = self._files.get(name)
        if source is None:
            raise TransferError(f"{self.label} has no tensor {name!r}")
        return source.read(name, index)


def _bad(path: Path, what: str) -> TransferError:
    return TransferError(f"the index {str(path)!r} cannot be used: {what}. Download the whole folder again.")


def _table(path: Path) -> dict[str, str]:
    """Which file each tensor lies in, as the index says."""
    try:
        size = path.stat().st_size
        if size > _MOST_INDEX:
            raise _bad(path, f"it has {size:,} bytes")
        content = json.loads(path.read_bytes(), object_pairs_hook=_once)
    except (OSError, ValueError, RecursionError) as error:
        raise _bad(path, str(error)) from error
    table = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(table, dict) or not table:
        raise _bad(path, 'it has no table "weight_map" of tensors and files')
    for tensor, file in table.items():
        if not isinstance(file, str):
            raise _bad(path, f"the file of {tensor!r} is {file!r}")
    if len(set(table.values())) > _MOST_SHARDS:
        raise _bad(path, f"it names {len(set(table.values())):,} files")
    return table


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    seen: dict[str, object] = {}
    for name, value in pairs:
        if name in seen:
            raise ValueError(f"{name!r} is listed twice")
        seen[name] = value
    return seen


def _beside(path: Path, name: str) -> Path:
    """The file ``name`` in the index's own folder; a link out of it only into the store of a Hugging Face cache."""
    if name in ("", ".", "..") or name.endswith(".json") or any(c in name for c in "/\\:\0"):
        raise _bad(path, f"it names {name!r}, which is not a weights file beside it")
    file = path.parent / name
    if not file.is_file():
        raise _bad(path, f"the file {name!r} that it names is not there")
    folder, real = path.parent.resolve(), file.resolve()
    allowed = [folder]
    if folder.parent.name == "snapshots":  # <cache>/models--…/snapshots/<revision>/<file> links to …/blobs/<hash>
        allowed.append(folder.parent.parent / "blobs")
    if real.parent not in allowed:
        raise _bad(path, f"{name!r} links to {str(real)!r}, out of the folder")
    return file


def _compare(path: Path, table: Mapping[str, str], shards: Mapping[str, Source]) -> None:
    """Every tensor lies in the file that the index names, and in no other."""
    held: dict[str, str] = {}
    for file, source in shards.items():
        for tensor in source.tensors:
            if tensor in held:
                raise _bad(path, f"{tensor!r} lies both in {held[tensor]!r} and in {file!r}")
            held[tensor] = file
    for tensor, file in table.items():
        if held.get(tensor) != file:
            where = f"it lies in {held[tensor]!r}" if tensor in held else "which does not hold it"
            raise _bad(path, f"it puts {tensor!r} into {file!r}: {where}")
    extra = [tensor for tensor in held if tensor not in table]
    if extra:
        raise _bad(path, f"it does not list {extra[0]!r}, which lies in {held[extra[0]]!r}")

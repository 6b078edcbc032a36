"""A safetensors file: a header of names, dtypes, shapes and offsets, then the values; numbers only, nothing to run.

The header is read and held against the file's size here, tensor by tensor, so that a bad file is refused with the
name of the tensor that is wrong. The values are views of a private mapping of the file: nothing is read before it is
used, and nothing is copied.

References:
    Hugging Face, safetensors: the format, https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, final

import torch

from ...errors import TransferError
from .base import Source, Stored, part

# The format's own bound: a longer header is an attack or damage.
MOST_HEADER: Final = 100_000_000
_MOST_AXES: Final = 64

_DTYPES: Final[Mapping[str, torch.dtype]] = MappingProxyType(
    {
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "I64": torch.int64,
        "I32": torch.int32,
        "I16": torch.int16,
        "I8": torch.int8,
        "U64": torch.uint64,
        "U32": torch.uint32,
        "U16": torch.uint16,
        "U8": torch.uint8,
        "BOOL": torch.bool,
        "C64": torch.complex64,
        "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2,
        "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
        "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    }
)


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a tensor's bytes lie in the file."""

    begin: int
    end: int


@final
class SafetensorsFile(Source):
    """The tensors of one safetensors file."""

    __slots__ = ("_mapping", "_path", "_spans", "_stamp", "_tensors")

    def __init__(self, path: Path) -> None:
        """Read the header of ``path``.

        Raises:
            TransferError: it is not an intact safetensors file.
        """
        self._path = path
        header, start, self._stamp = _header(path)
        self._tensors, self._spans = _entries(path, header, start, self._stamp[0])
        self._mapping: Any = None

    @property
    def label(self) -> str:
        """The file's path, quoted."""
        return repr(str(self._path))

    @property
    def tensors(self) -> Mapping[str, Stored]:
        """As the header lists them."""
        return MappingProxyType(self._tensors)

    def read(self, name: str, index: tuple[slice, ...] | None = None) -> torch.Tensor:
        """A view of the mapped file; writing to it leaves the file as it is."""
        stored = self._tensors.get(name)
        if stored is None:
            raise TransferError(f"{self.label} has no tensor {name!r}")
        span = self._spans[name]
        if span.begin == span.end:
            return part(torch.empty(stored.shape, dtype=stored.dtype), index)
        # A storage of its own: a model that keeps it shares no memory between its tensors.
        raw = torch.empty(0, dtype=torch.uint8).set_(self._mapped()[span.begin : span.end])
        if span.begin % stored.dtype.itemsize:
            raw = raw.clone()  # values off their own alignment cannot be viewed
        return part(raw.view(stored.dtype).view(stored.shape), index)

    def _mapped(self) -> Any:
        """The file in memory, once; refused where it is no longer the file whose header was read."""
        if self._mapping is None:
            try:
                if _stamp(os.stat(self._path)) != self._stamp:
                    raise TransferError(f"{self.label} was changed while it was being loaded; load it again")
                self._mapping = torch.UntypedStorage.from_file(str(self._path), False, self._stamp[0])
            except (OSError, RuntimeError) as error:
                raise TransferError(f"{self.label} cannot be read ({error})") from error
        return self._mapping


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _bad(path: Path, what: str) -> TransferError:
    return TransferError(
        f"{str(path)!r} is not an intact safetensors file: {what}. Copy or download it again; "
        "safetensors.torch.save_model(model, path) writes one."
    )


def _header(path: Path) -> tuple[dict[str, Any], int, tuple[int, int, int]]:
    """The header as JSON, where the values begin, and the file's stamp."""
    try:
        with path.open("rb") as file:
            stamp = _stamp(os.fstat(file.fileno()))
            length = int.from_bytes(file.read(8), "little")
            if stamp[0] < 8:
                raise _bad(path, f"it has {stamp[0]} bytes")
            if length > MOST_HEADER:
                raise _bad(path, f"it declares a header of {length:,} bytes, the format allows {MOST_HEADER:,}")
            if 8 + length > stamp[0]:
                raise _bad(path, f"it declares a header of {length:,} bytes and has {stamp[0]:,} in all")
            text = file.read(length)
    except OSError as error:
        raise TransferError(f"{str(path)!r} cannot be read ({error})") from error
    try:
        header = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"its header cannot be read ({error})") from error
    if not isinstance(header, dict):
        raise _bad(path, f"its header is a {type(header).__name__}, not an object")
    return header, 8 + length, stamp


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which every name stands once."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice!r} is listed twice")
    return made


def _entries(path: Path, header: dict[str, Any], start: int, size: int) -> tuple[dict[str, Stored], dict[str, _Span]]:
    """Every tensor of the header, held against the file: shapes against bytes, bytes against each other."""
    tensors: dict[str, Stored] = {}
    spans: dict[str, _Span] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, begin, end = _entry(path, name, entry)
        if start + end > size:
            raise _bad(path, f"{name!r} ends at byte {start + end:,}, the file at {size:,}")
        tensors[name] = Stored(shape, dtype, path.name)
        spans[name] = _Span(start + begin, start + end)
    at = start
    for name, span in sorted(spans.items(), key=lambda item: (item[1].begin, item[1].end)):
        if span.begin != at:
            what = "overlaps the tensor before it" if span.begin < at else "leaves a gap before it"
            raise _bad(path, f"{name!r} begins at byte {span.begin:,} and {what}, which ends at {at:,}")
        at = span.end
    if at != size:
        raise _bad(path, f"its tensors end at byte {at:,}, the file at {size:,}")
    return tensors, spans


def _entry(path: Path, name: str, entry: object) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    """A tensor's dtype, shape and offsets, each of the right form and in agreement."""
    match entry:
        case {"dtype": str(word), "shape": list(axes), "data_offsets": [begin, end]} if len(axes) <= _MOST_AXES:
            numbers = [*axes, begin, end]
        case _:
            raise _bad(path, f"the entry of {name!r} is not a dtype, a shape and two offsets")
    if not all(type(n) is int and 0 <= n < 2**63 for n in numbers) or begin > end:
        raise _bad(path, f"{name!r} has the shape {axes} and the offsets {[begin, end]}")
    dtype = _DTYPES.get(word)
    if dtype is None:
        known = ", ".join(_DTYPES)
        raise TransferError(f"{str(path)!r} stores {name!r} as {word!r}, which firstlight cannot read ({known})")
    wanted = math.prod(axes) * dtype.itemsize
    if wanted != end - begin:
        raise _bad(path, f"{name!r} {tuple(axes)} of {word} takes {wanted:,} bytes and is given {end - begin:,}")
    return dtype, tuple(axes), begin, end

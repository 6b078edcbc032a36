"""Weights files to damage, and ways to damage them: what the fuzz tests and ``tools/fuzz_sources.py`` share.

A case is a small program of edits over one good file; ``outcome`` opens the result and says what came of it.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save

from firstlight.errors import ArgumentError, TransferError
from firstlight.transfers.sources import check, open_source

STATE: Final = {
    "a.weight": torch.arange(12.0).view(3, 4),
    "a.bias": torch.ones(3).bfloat16(),
    "steps": torch.tensor(5),
    "none": torch.empty(0, 2),
}
NESTED: Final = {"model": STATE, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "lr": 0.1}, "epoch": 2}

RAN: Final[list[str]] = []


def ran(*words: object) -> None:
    """What a bad pickle would call."""
    RAN.append(repr(words))


class Code:
    """Calls ``ran`` when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return ran, ("unpickled",)


def _saved(content: object, zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


# Pieces of pickle programs: calls, memo tricks, long strings, storages of any size.
PICKLE_PIECES: Final = (
    b"cbuiltins\nexec\n(X\x04\x00\x00\x00passtR.",
    b"c__builtin__\nbytearray\n(J\xff\xff\xff\x7ftR",
    b"cos\nsystem\n(X\x04\x00\x00\x00truetR",
    b"cmutations\nran\n(tR",
    b"\x8c\x09mutations\x8c\x03ran\x93)R",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    b"cbuiltins\ngetattr\n",
    b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x96\xff\xff\xff\x7f\x00\x00\x00\x00",
    b"\x8e\xff\xff\xff\x7f\x00\x00\x00\x00",
    b"r\xff\xff\xff\xff",
    b"j\xff\xff\xff\xff",
    b"\x8b\xff\xff\xff\x7f",
    b"X\xff\xff\xff\xff",
    b"\x82\x01",
    b"((((((((",
    b"}(K\x00K\x00u",
    b"Q",
    b"R",
    b"b",
    b"\x81",
    b"0",
    b"2",
    b".",
    b"K\x00",
    b"J\xff\xff\xff\xff",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
)
JSON_PIECES: Final = (
    b'"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},',
    b'"shape":[9223372036854775807]',
    b"[0,0]",
    b"-1",
    b"1e309",
    b"NaN",
    b"null",
    b'"F8_E4M3"',
    b'"../../etc/passwd"',
    b'"/etc/passwd"',
    b"}",
    b"{",
    b"[" * 3000,
    b"\\u0000",
    b"\xff",
    b" ",
)
INDEX: Final = json.dumps({"metadata": {}, "weight_map": dict.fromkeys(STATE, "one.safetensors")}).encode()

# Each kind: the file's name, its good content, the pieces that may be put into it.
KINDS: Final[dict[str, tuple[str, bytes, tuple[bytes, ...]]]] = {
    "safetensors": ("w.safetensors", save(STATE, {"format": "pt"}), JSON_PIECES),
    "zip": ("w.pt", _saved(STATE, True), PICKLE_PIECES),
    "nested": ("w.ckpt", _saved(NESTED, True), PICKLE_PIECES),
    "old": ("w.pth", _saved(NESTED, False), PICKLE_PIECES),
    "code": ("w.bin", _saved({"model": STATE, "code": Code()}, True), PICKLE_PIECES),
    "bare": ("w.bin", pickle.dumps({"model": {"w": [1.0]}, "code": Code()}), PICKLE_PIECES),
    "index": ("model.safetensors.index.json", INDEX, JSON_PIECES),
}

Edit = tuple[str, int, int]


def damaged(kind: str, edits: Sequence[Edit]) -> bytes:
    """The file of a kind after some edits: (what, where, how), any numbers.

    In a zip archive, ``pickle`` edits change the program inside and the archive around it is made anew.
    """
    _, content, pieces = KINDS[kind]
    for what, where, how in edits:
        if what == "pickle" and content[:2] == b"PK":
            content = _repacked(content, pieces, where, how)
        else:
            content = _edited(content, pieces, what, where, how)
    return content


def _edited(content: bytes, pieces: Sequence[bytes], what: str, where: int, how: int) -> bytes:
    if not content:
        return content
    at = where % len(content)
    match what:
        case "flip":
            return content[:at] + bytes([content[at] ^ (1 << how % 8)]) + content[at + 1 :]
        case "byte":
            return content[:at] + bytes([how % 256]) + content[at + 1 :]
        case "cut":
            return content[:at]
        case "remove":
            return content[:at] + content[at + 1 + how % 16 :]
        case "repeat":
            return content[:at] + content[at : at + how % 64] * 2 + content[at + how % 64 :]
        case "number":
            return content[:at] + (how * 2**24 + how).to_bytes(8, "little", signed=False) + content[at + 8 :]
        case _:
            return content[:at] + pieces[how % len(pieces)] + content[at:]


def _repacked(content: bytes, pieces: Sequence[bytes], where: int, how: int) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {e.filename: archive.read(e) for e in archive.infolist()}
    except Exception:  # an archive that other edits have broken
        return content
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in entries.items():
            program = name.endswith("data.pkl")
            archive.writestr(name, _edited(data, pieces, "piece", where, how) if program else data)
    return made.getvalue()


def outcome(kind: str, content: bytes, folder: Path) -> dict[str, torch.Tensor] | str:
    """Open a file and read all of it: its tensors, or the error's words.

    Raises:
        AssertionError: anything but a ``TransferError`` that names the file, or code was run.
    """
    name, _, _ = KINDS[kind]
    path = folder / name
    path.write_bytes(content)
    RAN.clear()
    try:
        source = open_source(path)
        for tensor, stored in source.tensors.items():
            check(source, tensor, stored.dtype, allow_nonfinite=True)
        read = {
            tensor: source.read(tensor).clone() for tensor in source.tensors if _small(source.tensors[tensor].shape)
        }
    except TransferError as error:
        return _naming(str(error), name)
    except ArgumentError as error:
        raise AssertionError(str(error)) from error
    finally:
        assert not RAN, RAN
    for tensor, values in read.items():
        assert (tuple(values.shape), values.dtype) == (source.tensors[tensor].shape, source.tensors[tensor].dtype)
    return read


def _naming(words: str, name: str) -> str:
    """An error's words, which have to name the file, or the one that an index names, and not the end of memory."""
    assert name in words or "one.safetensors" in words, words
    assert "MemoryError" not in words, words
    return words


def _small(shape: Sequence[int]) -> bool:
    """Whether a tensor may be copied whole: one value may be spread over any shape."""
    count = 1
    for axis in shape:
        count *= axis
    return count <= 2**24

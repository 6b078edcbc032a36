"""A torch checkpoint on disk, opened without running anything in it.

A checkpoint is a pickle with tensors beside it, and a pickle can name any function to call. Three things stand in the
way: what it names is listed before it is opened, ``torch.load(weights_only=True)`` rebuilds tensors and containers
only, and the archive around it is held against the file's size. The tensors are views of the mapped file; the format
before torch 1.6 has no mapping and is read whole.

References:
    PyTorch, torch.load: weights_only, https://docs.pytorch.org/docs/stable/notes/serialization.html.
"""

from __future__ import annotations

import pickle
import pickletools
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch

from ...errors import TransferError

# Names and shapes only, without the values: the largest published checkpoints have pickles of a few MB.
_MOST_PICKLE: Final = 256 * 2**20
_MOST_ENTRIES: Final = 1_000_000
# What no checkpoint of weights needs and what can fill the memory from a few bytes.
_GREEDY: Final = frozenset({"builtins bytearray", "__builtin__ bytearray", "torch._utils _rebuild_wrapper_subclass"})
_CONVERT: Final = (
    "firstlight runs no code from a file. If you trust it, convert it where it was made: "
    "state = torch.load(path, weights_only=False), then safetensors.torch.save_file(tensors, 'weights.safetensors') "
    "with the dict of its tensors (model.state_dict())."
)


def load_checkpoint(path: Path, zipped: bool) -> object:
    """What a checkpoint holds: tensors in dicts and lists, on the CPU.

    Args:
        path: the file.
        zipped: whether it is a zip archive (torch 1.6 and later) or a bare pickle (before).

    Raises:
        TransferError: it is damaged, or wants code to be run.
    """
    if zipped:
        _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecated storages and of torch's own plans; nothing a user can mend
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except TransferError:
        raise
    except pickle.UnpicklingError as error:
        raise _unpickling(path, error) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise TransferError(
            f"{str(path)!r} is not an intact torch checkpoint ({type(error).__name__}: {_first_line(error)}). "
            "Copy or download it again."
        ) from error


def _unpickling(path: Path, error: Exception) -> TransferError:
    words = str(error)
    if "GLOBAL" in words or "global" in words.lower() or "WeightsUnpickler" not in words:
        wanted = words.split("GLOBAL ", 1)[-1].split(" was not", 1)[0] if "GLOBAL " in words else "code"
        return TransferError(f"{str(path)!r} wants {wanted.strip()} to be run, not only tensors to be read. {_CONVERT}")
    return TransferError(f"{str(path)!r} is not an intact torch checkpoint ({_first_line(error)}).")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def _check_archive(path: Path) -> None:
    """The archive is a torch checkpoint's, stored uncompressed, within the file, and its pickle names no code."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(e.filename.endswith("/constants.pkl") for e in entries):
                raise TransferError(f"{str(path)!r} is a TorchScript archive, which holds code. {_SCRIPT}")
            _check_entries(path, entries)
            pickles = [e for e in entries if e.filename.count("/") == 1 and e.filename.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise _bad(path, f"it has {len(pickles)} entries data.pkl, a checkpoint has one")
            program = archive.read(pickles[0])
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise _bad(path, _first_line(error)) from error
    _check_program(path, program)


_SCRIPT: Final = (
    "firstlight runs no code from a file. If you trust it, convert it where it was made: "
    "safetensors.torch.save_file(torch.jit.load(path).state_dict(), 'weights.safetensors')."
)


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > _MOST_ENTRIES:
        raise _bad(path, f"it has {len(entries):,} entries")
    size = path.stat().st_size
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(sorted(names)) if sorted(names)[i - 1] == name)
        raise _bad(path, f"the entry {twice!r} is there twice")
    at = 0
    for entry in sorted(entries, key=lambda e: e.header_offset):
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise _bad(
                path,
                f"the entry {entry.filename!r} is compressed ({entry.compress_size:,} to {entry.file_size:,} bytes); "
                "torch stores its entries as they are",
            )
        if entry.header_offset < at or entry.header_offset + entry.file_size > size:
            raise _bad(path, f"the entry {entry.filename!r} overlaps another, or the end of the file")
        at = entry.header_offset + entry.file_size
        if entry.filename.endswith("/data.pkl") and entry.file_size > _MOST_PICKLE:
            raise _bad(path, f"its pickle has {entry.file_size:,} bytes")


def _bad(path: Path, what: str) -> TransferError:
    return TransferError(
        f"{str(path)!r} is not an intact torch checkpoint: {what}. Copy or download it again; "
        "torch.save(model.state_dict(), path) writes one."
    )


def _check_program(path: Path, program: bytes) -> None:
    """The pickle, read as a list of instructions and not run."""
    try:
        names = set(_globals(program))
    except Exception as error:  # damage can take any form
        raise _bad(path, f"its pickle cannot be read ({_first_line(error)})") from error
    greedy = sorted(names & _GREEDY)
    if greedy:
        raise TransferError(f"{str(path)!r} calls {', '.join(greedy)}, which weights do not need. {_CONVERT}")


def _globals(program: bytes) -> Iterator[str]:
    """Every function or class that a pickle names, as "module name"."""
    strings: list[Any] = []
    for code, argument, _ in pickletools.genops(program):
        if code.name == "GLOBAL":
            yield str(argument)
        elif code.name == "STACK_GLOBAL":
            yield " ".join(str(s) for s in strings[-2:])
        elif isinstance(argument, str) and "UNICODE" in code.name:
            strings.append(argument)

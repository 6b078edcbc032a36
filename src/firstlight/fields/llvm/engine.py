"""The native engine's running half: jobs to packed records, records to threads.

``fill.py`` hands over contiguous CPU tensors. One small tensor goes straight to native code; more work is shared by
``torch.get_num_threads()`` threads that take pieces of 16384 elements until none is left; see ``threads.py``. The
interpreter lock is free while native code runs.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..keys import Key
from ..transforms import CONSTANTS, Transform
from .layout import JOB, PIECE
from .threads import Run, share

DTYPES: Final = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float64: "float64",
    torch.int32: "int32",
}
ALONE: Final = 32768
"""Up to so many elements, waking a thread costs more than it gives."""

RUNS: Final = np.dtype(
    [(name, "<u8") for name in ("pointer", "start", "count", "seed", "stream")]
    + [("constants", f"V{CONSTANTS.size}"), ("kernel", "<u8"), ("end", "<u8")]
)
"""The record of ``JOB``, for many at once."""

Work = tuple[Tensor, Transform, Key, int]
"""A contiguous CPU tensor, what to write, and the field index of its first element."""


class UnavailableError(Exception):
    """This computer cannot run the kernel; the message says why."""


class _State:
    """The native code that is loaded; a forked child has it too, but needs a lock of its own."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.member = 0
        self.kernels: dict[tuple[str, torch.dtype], int] = {}
        self.after_fork()

    def after_fork(self) -> None:
        self.lock = threading.Lock()


_STATE: Final = _State()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_STATE.after_fork)


def kernel(kind: str, dtype: torch.dtype) -> int:
    """The address of a kernel, compiled or loaded on first use.

    Raises:
        UnavailableError: this computer cannot run it.
    """
    address = _STATE.kernels.get((kind, dtype))
    return _load(kind, dtype) if address is None else address


def loaded(kind: str, dtype: torch.dtype) -> int:
    """The address of a kernel if it is loaded, 0 otherwise."""
    return _STATE.kernels.get((kind, dtype), 0)


def _load(kind: str, dtype: torch.dtype) -> int:
    with _STATE.lock:
        try:
            from . import compiler  # imports llvmlite, which `import firstlight` must not
        except (ImportError, OSError) as error:
            raise UnavailableError(f"llvmlite cannot be imported ({error})") from error
        name = DTYPES[dtype]
        reason = compiler.lacks(name)
        if reason is not None:
            raise UnavailableError(reason)
        if _STATE.run is None:
            signature = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p)
            run, _STATE.member = compiler.load("run", "", "run", "member")
            _STATE.run = signature(run)
        if (kind, dtype) not in _STATE.kernels:
            _STATE.kernels[kind, dtype] = compiler.load(kind, name, "kernel")[0]
        return _STATE.kernels[kind, dtype]


def write_one(tensor: Tensor, count: int, transform: Transform, key: Key, start: int, address: int) -> None:
    """Write one small tensor on the calling thread; ``address`` is that of its kernel."""
    end = (((start + count - 1) >> 6) - (start >> 6)) // PIECE + 1
    record = JOB.pack(tensor.data_ptr(), start, count, key.seed, key.stream, transform.packed, address, end)
    _STATE.run(record, 1, None)  # type: ignore[misc]  # loaded with the kernel


def write(works: Sequence[Work]) -> None:
    """Write all tensors, over the threads torch is set to use.

    Raises:
        UnavailableError: this computer cannot run one of the kernels; nothing has been written then.
    """
    records, pieces, elements = [], 0, 0
    for tensor, transform, key, start in works:
        count = tensor.numel()
        if count == 0:
            continue
        pieces += (((start + count - 1) >> 6) - (start >> 6)) // PIECE + 1
        elements += count
        address = kernel(transform.kind, tensor.dtype)
        pointer = tensor.data_ptr()
        records.append(JOB.pack(pointer, start, count, key.seed, key.stream, transform.packed, address, pieces))
    run = _STATE.run
    if run is None:  # nothing to write, so no kernel was loaded
        return
    packed, threads = b"".join(records), min(torch.get_num_threads(), pieces)
    if threads > 1 and elements > ALONE:
        share(run, _STATE.member, packed, len(records), pieces, threads, works)
    else:
        run(packed, len(records), None)


def write_runs(tensor: Tensor, transform: Transform, key: Key, starts: NDArray[np.int64], length: int) -> None:
    """Write a contiguous CPU tensor that holds runs of ``length`` field elements each, from ``starts`` on.

    Raises:
        UnavailableError: this computer cannot run the kernel; nothing has been written then.
    """
    address = kernel(transform.kind, tensor.dtype)
    run = _STATE.run
    if run is None or not length:
        return
    ends = np.cumsum((((starts + (length - 1)) >> 6) - (starts >> 6)) // PIECE + 1)
    records = np.empty(len(starts), RUNS)
    records["pointer"] = tensor.data_ptr() + np.arange(len(starts), dtype=np.uint64) * (length * tensor.itemsize)
    records["start"], records["count"] = starts, length
    records["seed"], records["stream"] = key.seed, key.stream
    records["constants"], records["kernel"], records["end"] = np.void(transform.packed), address, ends
    packed, pieces = records.tobytes(), int(ends[-1])
    threads = min(torch.get_num_threads(), pieces)
    if threads > 1 and tensor.numel() > ALONE:
        share(run, _STATE.member, packed, len(starts), pieces, threads, tensor)
    else:
        run(packed, len(starts), None)

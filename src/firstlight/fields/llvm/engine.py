"""The native engine's running half: jobs to packed records, records to threads.

``fill.py`` hands over contiguous CPU tensors. One small tensor goes straight to native code; more work is shared by
``torch.get_num_threads()`` threads that take pieces of 16384 elements until none is left. Threads are Python threads
that wait in a queue and leave the interpreter lock while native code runs.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Final

import torch
from torch import Tensor

from ..keys import Key
from ..transforms import Transform
from .layout import JOB, PIECE, STREAM

DTYPES: Final = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float64: "float64",
    torch.int32: "int32",
}
ALONE: Final = 32768
"""Up to so many elements, waking a thread costs more than it gives."""
STREAM_BYTES: Final = 1 << 25
"""From so many bytes on, results would not stay in the caches: write past them."""

Work = tuple[Tensor, Transform, Key, int]
"""A contiguous CPU tensor, what to write, and the field index of its first element."""
_Run = Callable[[bytes, int, Any], int]


class Unavailable(Exception):
    """This computer cannot run the kernel; the message says why."""


class _State:
    """What is loaded and which threads wait; a forked child starts with the code but without the threads."""

    def __init__(self) -> None:
        self.run: _Run | None = None
        self.kernels: dict[tuple[str, torch.dtype], int] = {}
        self.after_fork()

    def after_fork(self) -> None:
        self.lock = threading.Lock()
        self.tickets: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self.threads = 0


_STATE: Final = _State()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_STATE.after_fork)


def kernel(kind: str, dtype: torch.dtype) -> int:
    """The address of a kernel, compiled or loaded on first use.

    Raises:
        Unavailable: this computer cannot run it.
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
            raise Unavailable(f"llvmlite cannot be imported ({error})") from error
        name = DTYPES[dtype]
        reason = compiler.lacks(name)
        if reason is not None:
            raise Unavailable(reason)
        if _STATE.run is None:
            signature = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p)
            _STATE.run = signature(compiler.load("run", ""))
        if (kind, dtype) not in _STATE.kernels:
            _STATE.kernels[kind, dtype] = compiler.load(kind, name)
        return _STATE.kernels[kind, dtype]


def write_one(tensor: Tensor, count: int, transform: Transform, key: Key, start: int, address: int) -> None:
    """Write one small tensor on the calling thread; ``address`` is that of its kernel."""
    end = (((start + count - 1) >> 6) - (start >> 6)) // PIECE + 1
    record = JOB.pack(
        tensor.data_ptr(), start, count, key.seed, key.stream, transform.packed, address, end, 0
    )
    _STATE.run(record, 1, None)  # type: ignore[misc]  # loaded with the kernel


def write(works: Sequence[Work]) -> None:
    """Write all tensors, over the threads torch is set to use.

    Raises:
        Unavailable: this computer cannot run one of the kernels; nothing has been written then.
    """
    records, pieces, elements = [], 0, 0
    for tensor, transform, key, start in works:
        count = tensor.numel()
        if count == 0:
            continue
        pointer = tensor.data_ptr()
        size = tensor.element_size()
        pieces += (((start + count - 1) >> 6) - (start >> 6)) // PIECE + 1
        elements += count
        large = count * size >= STREAM_BYTES and (pointer - (start & 63) * size) % 64 == 0
        address = kernel(transform.kind, tensor.dtype)
        records.append(
            JOB.pack(
                pointer, start, count, key.seed, key.stream, transform.packed, address, pieces, STREAM if large else 0
            )
        )
    if records:
        threads = min(torch.get_num_threads(), pieces) if elements > ALONE else 1
        _share(b"".join(records), len(records), pieces, threads, works)


def _share(records: bytes, n: int, pieces: int, threads: int, works: Sequence[Work]) -> None:
    """Run packed jobs on the calling thread and ``threads`` − 1 others."""
    run = _STATE.run
    if run is None:
        raise RuntimeError("no kernel has been loaded")
    if threads == 1:
        run(records, n, None)
        return
    counters = (ctypes.c_int64 * 2)()
    ready: SimpleQueue[None] = SimpleQueue()
    _start_threads(threads - 1)
    for _ in range(threads - 1):
        # The ticket holds the tensors too: their memory outlives this call if an interrupt ends it early.
        _STATE.tickets.put((run, records, n, counters, ready, works))
    # A thread that wakes late finds no piece left and is not waited for. One still at work signals when it is done.
    while run(records, n, counters) < pieces:
        ready.get()


def _start_threads(needed: int) -> None:
    """Make sure that ``needed`` threads wait for tickets."""
    with _STATE.lock:
        while _STATE.threads < needed:
            name = f"firstlight-fields-{_STATE.threads}"
            threading.Thread(target=_serve, args=(_STATE.tickets,), name=name, daemon=True).start()
            _STATE.threads += 1


def _serve(tickets: SimpleQueue[tuple[Any, ...]]) -> None:
    """Take tickets for ever."""
    while True:
        run, records, n, counters, ready, works = tickets.get()
        run(records, n, counters)
        ready.put(None)
        del run, records, n, counters, ready, works  # let go of the tensors before waiting

"""Values on their way into a model: whether they may go, and the copy.

A load has two passes. The first, ``check``, looks at every value a model is about to get and writes nothing; the
second, ``copy_many_``, cannot fail on what it is given. ``load_`` and the writers call both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import torch

from ...errors import TransferError
from .base import Source

_FLOATS: Final = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
# Bytes that one thread copies in one go: large enough that handing them out costs nothing.
_PIECE: Final = 4 * 2**20


def dtype_fault(stored: torch.dtype, wanted: torch.dtype) -> str:
    """Why values of one dtype cannot go into a tensor of another, "" where they can.

    Floating-point values go into each other, integers into wider ones; a quantised, complex or boolean weight is no
    number of another kind, and eight-bit floats mean nothing without their scales.
    """
    if stored == wanted or (stored in _FLOATS and wanted in _FLOATS):
        return ""
    integers = not (stored.is_floating_point or stored.is_complex or wanted.is_floating_point or wanted.is_complex)
    if integers and torch.bool not in (stored, wanted) and torch.can_cast(stored, wanted):
        fits = torch.iinfo(stored).min >= torch.iinfo(wanted).min and torch.iinfo(stored).max <= torch.iinfo(wanted).max
        if fits:
            return ""
    words = f"stored as {_word(stored)}, and the model wants {_word(wanted)}"
    if stored.is_complex or wanted.is_complex:
        return words
    return f"{words}: a quantised weight has to be dequantised with its scales first"


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def bounds(values: torch.Tensor) -> tuple[float, float]:
    """The least and the greatest value, exact, NaN where any value is NaN; (0, 0) of no values.

    One pass at the speed of memory: 25 GB/s on one core where the values are in the cache.
    """
    if values.numel() == 0:
        return 0.0, 0.0
    if values.dtype not in _FLOATS:
        values = values.float()
    low, high = torch.aminmax(values)
    return float(low), float(high)


def check(
    source: Source,
    name: str,
    wanted: torch.dtype,
    *,
    index: tuple[slice, ...] | None = None,
    allow_nonfinite: bool = False,
) -> None:
    """Whether a source's tensor may go into a tensor of the dtype ``wanted``; reads it all, writes nothing.

    Args:
        source, name: the tensor.
        wanted: the dtype of the model's.
        index: the part that will be read, all by default.
        allow_nonfinite: whether NaN, infinity, and values too large for ``wanted`` may pass.

    Raises:
        TransferError: its dtype is no weight's, or a value is NaN, infinite, or infinite once it is cast.
    """
    stored = source.tensors[name]
    place = f" ({stored.place})" if stored.place and stored.place not in source.label else ""
    fault = dtype_fault(stored.dtype, wanted)
    if fault:
        raise TransferError(f"{name!r} in {source.label}{place} is {fault}")
    values = source.read(name, index)
    if allow_nonfinite or not values.is_floating_point():
        return
    low, high = bounds(values)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise TransferError(
            f"{name!r} in {source.label}{place} holds {_count(values)}: the training that wrote it had diverged, or "
            "the file is damaged. Load an earlier checkpoint; allow_nonfinite=True loads it as it is."
        )
    most = torch.finfo(wanted).max
    if max(-low, high) > most:
        raise TransferError(
            f"{name!r} in {source.label}{place} reaches {max(-low, high):.4g}, and {_word(wanted)} ends at {most:.4g}. "
            "Give the model a wider dtype; allow_nonfinite=True loads it with infinities."
        )


def _count(values: torch.Tensor) -> str:
    nan, infinite = int(values.isnan().sum()), int(values.isinf().sum())
    words = [f"{nan:,} NaN"] if nan else []
    words += [f"{infinite:,} infinite"] if infinite else []
    return f"{' and '.join(words)} of {values.numel():,} values"


@torch.no_grad()
def copy_many_(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Copy each second tensor into the first, as ``Tensor.copy_`` does, at the speed of memory.

    Where both lie in the CPU's memory with the same bytes in the same order, the copy is the C library's, which writes
    around the cache; two threads move 1 GB in about 0.2 s. Everything else is ``Tensor.copy_``. Pairs are taken as they
    are needed, so values that are made on the way do not pile up.
    """
    threads = torch.get_num_threads()
    if threads < 2:
        for target, values in pairs:
            for piece in _pieces(target, values):
                _move(piece)
        return
    with ThreadPoolExecutor(threads) as pool:
        for target, values in pairs:
            pieces = _pieces(target, values)
            waiting = [pool.submit(_move, piece) for piece in pieces[1:]]
            for piece in pieces[:1]:
                _move(piece)
            for one in waiting:
                one.result()


_Piece = tuple[torch.Tensor, torch.Tensor]


def _pieces(target: torch.Tensor, values: torch.Tensor) -> list[_Piece]:
    """What is left to move as bytes; none where the copy is done."""
    if not _same_bytes(target, values):
        target.copy_(values)
        return []
    torch.autograd.graph.increment_version(target)  # a write that autograd does not see
    return list(zip(torch.split(_bytes(target), _PIECE), torch.split(_bytes(values), _PIECE), strict=True))


def _move(piece: _Piece) -> None:
    piece[0].numpy()[...] = piece[1].numpy()


def _same_bytes(target: torch.Tensor, values: torch.Tensor) -> bool:
    plain = target.layout is torch.strided and type(target.data) is torch.Tensor and type(values.data) is torch.Tensor
    return (
        plain
        and target.device.type == values.device.type == "cpu"
        and target.dtype == values.dtype
        and target.shape == values.shape
        and target.is_contiguous()
        and values.is_contiguous()
        and target.nbytes >= _PIECE // 4
        and not (target.is_conj() or values.is_conj() or target.is_neg() or values.is_neg())
    )


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().view(-1).view(torch.uint8)

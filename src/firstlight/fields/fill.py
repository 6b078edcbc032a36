"""The one way in: fill tensors with a field, by the fastest engine that the tensor's device has.

Everything a caller may hand over is settled here: dtype, device, memory layout, empty tensors, the field's range.
Below are ``llvm/engine.py`` for contiguous CPU memory and ``reference.py`` for every device with float64; a tensor that
neither writes directly is generated in pieces and copied. Initializers and writers call this.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, final

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ..errors import ArgumentError, UnknownNameError
from . import reference
from .boxes import Box
from .keys import Key
from .llvm import engine as native
from .philox import GROUP
from .tensors import DTYPES, PLAIN, is_flat, parts, refuse_unfit
from .transforms import WORDS, Transform

ENGINES: Final = ("llvm", "reference")
SIZE: Final = 1 << 63
"""Elements of a field."""
BUFFER: Final = 1 << 20
"""Elements that are generated at once for a tensor that cannot be written directly."""
WIDEST: Final = 16
"""Up to so many times a block's elements are computed where that spares short runs."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One tensor to fill: element i, in row-major order, gets element start + i of the field.

    Args:
        tensor: what is written.
        transform: what the field's words become.
        key: which field.
        start: index of the first element, start + numel ≤ 2⁶³.
        box: which block of a whole tensor this one is; i then counts the whole tensor's elements.
    """

    tensor: Tensor
    transform: Transform
    key: Key
    start: int = 0
    box: Box | None = None


def fill_(tensor: Tensor, transform: Transform, key: Key, start: int = 0, engine: str | None = None) -> Tensor:
    """Fill a tensor in place: element i, in row-major order, becomes ``transform`` of element start + i of the field.

    The values depend on (transform, key, start + i) only. float16 and bfloat16 are the float32 value rounded to
    nearest even, float64 is the float32 value widened. Works under ``no_grad``; autograd sees the change.

    Args:
        tensor: float32, float16, bfloat16 or float64; any shape, strides and device but meta.
        transform: ``uniform(...)``, ``normal(...)`` or ``truncated_normal(...)``.
        key: which field.
        start: index of the first element, start + numel ≤ 2⁶³.
        engine: ``"llvm"`` or ``"reference"``; the faster one that is there if not given. Both give the same bits.

    Returns:
        ``tensor``.

    Raises:
        ArgumentError: a start outside the field, an unknown or impossible engine.
        UnsupportedParameterError: a tensor that takes no random values: integer, complex, quantised, meta, lazy,
            sparse, or with elements that share memory.

    >>> import torch
    >>> from firstlight.fields import key, normal
    >>> fill_(torch.empty(3), normal(0.0, 1.0), key(0, "weight"))
    tensor([ 0.8053, -0.4782, -0.5029])
    """
    if engine is None and type(tensor) in PLAIN and tensor.is_cpu and tensor.dtype in DTYPES:
        # One small tensor: what Python does here is most of the time, so nothing is built that is not needed.
        address = native.loaded(transform.kind, tensor.dtype)
        if address and tensor.layout is torch.strided and tensor.is_contiguous() and not tensor.is_neg():
            count = tensor.numel()
            if 0 < count <= native.ALONE and type(start) is int and 0 <= start <= SIZE - count:
                native.write_one(tensor, count, transform, key, start, address)
                increment_version(tensor)
                return tensor
    fill_many_((Job(tensor, transform, key, start),), engine)
    return tensor


def fill_many_(jobs: Sequence[Job], engine: str | None = None) -> None:
    """Fill many tensors in place, as one list of work for all threads; each as ``fill_`` would.

    All jobs are checked before the first is written. Their tensors must not share memory.

    Raises:
        ArgumentError: as ``fill_``.
        UnsupportedParameterError: as ``fill_``.
    """
    if engine is not None and engine not in ENGINES:
        raise UnknownNameError.of("engine", engine, ENGINES)
    for job in jobs:
        _check(job, engine)
    works: list[native.Work] = []
    others: list[Job] = []
    for job in jobs:
        job = _plain(job)
        if (
            job.box is None
            and job.tensor.numel()
            and job.tensor.is_cpu
            and is_flat(job.tensor)
            and _native(job, engine)
        ):
            works.append((job.tensor, job.transform, job.key, operator.index(job.start)))
        else:
            others.append(job)
    native.write(works)
    for tensor, *_ in works:
        increment_version(tensor)
    with torch.no_grad():
        for job in others:
            if job.box is None:
                _fill_indirectly(job, engine)
            else:
                _fill_box(job, job.box, engine)


def values(
    transform: Transform,
    key: Key,
    start: int,
    stop: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Elements [start, stop) of a field as a new one-dimensional tensor.

    Raises:
        ArgumentError: a range outside 0 … 2⁶³.

    >>> from firstlight.fields import key, uniform
    >>> whole = values(uniform(0.0, 1.0), key(7, "weight"), 0, 1000)
    >>> bool((values(uniform(0.0, 1.0), key(7, "weight"), 990, 1000) == whole[990:]).all())
    True
    """
    out = torch.empty(_length(start, stop), dtype=dtype, device=device)
    return fill_(out, transform, key, start)


def words(key: Key, start: int, stop: int) -> Tensor:
    """Elements [start, stop) of the raw field: Philox's 32-bit words, as int64.

    >>> words(Key(0, 0), 0, 1).item() == 0x6627E8D5
    True
    """
    out = torch.empty(_length(start, stop), dtype=torch.int32)
    job = Job(out, WORDS, key, start)
    if out.numel() and _native(job, None):
        native.write([(out, WORDS, key, operator.index(start))])
        return out.long() & 0xFFFFFFFF
    result = out.long()
    reference.fill(result, WORDS, key, start)
    return result


def box_words(key: Key, box: Box, device: torch.device) -> Tensor:
    """The raw field over a block of a tensor, in the block's shape: int32 with the bits of the words."""
    out = torch.empty(box.size, dtype=torch.int32, device=device)
    job = _plain(Job(out, WORDS, key, box=box))
    if not out.numel():
        return out
    if job.box is not None:
        _fill_box(job, job.box, None)
    elif out.is_cpu and _native(job, None):
        native.write([(out, WORDS, key, job.start)])
    else:
        reference.fill(out.view(-1), WORDS, key, job.start)
    return out


def _plain(job: Job) -> Job:
    """The job without its box, where that is one run of the field."""
    if job.box is None:
        return job
    if not job.box.numel:
        return Job(job.tensor, job.transform, job.key)
    first = job.box.first
    if first is None:
        return job
    return Job(job.tensor, job.transform, job.key, operator.index(job.start) + first)


def _length(start: int, stop: int) -> int:
    """Number of elements of a range of the field."""
    if not 0 <= start <= stop <= SIZE:
        raise ArgumentError(f"the range {start} to {stop} is not within the field: give 0 ≤ start ≤ stop ≤ 2**63")
    return stop - start


def _check(job: Job, engine: str | None) -> None:
    """Refuse a job that cannot be done as it stands."""
    tensor = job.tensor
    refuse_unfit(tensor)
    if engine == "llvm" and not tensor.is_cpu:
        raise ArgumentError(f"engine='llvm' writes CPU memory, the tensor is on {tensor.device}: leave engine out")
    if job.transform.kind == "words":
        raise ArgumentError("the raw words are no values of a tensor: use words(key, start, stop)")
    try:
        start = operator.index(job.start)
    except TypeError:
        raise ArgumentError(f"start={job.start!r} is not an integer") from None
    if job.box is not None and job.box.size != tuple(tensor.shape):
        raise ArgumentError(f"{job.box} is no block of the shape {tuple(tensor.shape)}")
    count = tensor.numel() if job.box is None else math.prod(job.box.shape)
    if not 0 <= start <= SIZE - count:
        raise ArgumentError(f"start={start} with {count} elements leaves the field: 0 ≤ start, start + n ≤ 2**63")


@cache
def _warn(reason: str) -> None:
    """Say once that the native engine is not there."""
    warnings.warn(
        f"firstlight's native engine is not available: {reason}. The reference engine gives the same values, slowly.",
        RuntimeWarning,
        stacklevel=2,
    )


def _native(job: Job, engine: str | None) -> bool:
    """Whether the native engine writes this job's kind and dtype; its kernel is loaded then."""
    if engine == "reference":
        return False
    try:
        native.kernel(job.transform.kind, job.tensor.dtype)
    except native.UnavailableError as error:
        if engine == "llvm":
            raise ArgumentError(f"engine='llvm' is not available: {error}; leave engine out") from error
        _warn(str(error))
        return False
    return True


@cache
def _has_float64(device: str) -> bool:
    """Whether a kind of device computes in float64, as the reference engine must."""
    try:
        torch.ones(1, dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):
        return False
    return True


def _fill_indirectly(job: Job, engine: str | None) -> None:
    """Fill a tensor that native code does not write: by the reference engine where it stands, or through a buffer."""
    tensor, start = job.tensor.detach(), operator.index(job.start)
    if not tensor.numel():
        return
    on_cpu = tensor.is_cpu
    by_reference = not _native(job, engine) if on_cpu else _has_float64(tensor.device.type)
    if by_reference and is_flat(tensor):
        reference.fill(tensor.view(-1), job.transform, job.key, start)
        return
    for part, offset in parts(tensor, BUFFER):
        buffer = torch.empty(part.shape, dtype=part.dtype, device=part.device if by_reference else "cpu")
        chunk = Job(buffer, job.transform, job.key, start + offset)
        if by_reference or not _native(chunk, engine):
            reference.fill(buffer.view(-1), job.transform, job.key, start + offset)
        else:
            native.write([(buffer, job.transform, job.key, start + offset)])
        part.copy_(buffer)


def _fill_box(job: Job, box: Box, engine: str | None) -> None:
    """Fill a block of a whole tensor whose elements are not neighbours there, in pieces."""
    tensor, start = job.tensor.detach(), operator.index(job.start)
    by_reference = not _native(job, engine) if tensor.is_cpu else _has_float64(tensor.device.type)
    device = tensor.device if by_reference else torch.device("cpu")
    axis = box.cut
    # A group of 64 is computed at once: where only a few of neighbouring elements are wanted, all are as fast.
    widen = math.prod(box.size[axis:]) < GROUP and box.shape[axis] <= WIDEST * box.size[axis]
    for place, part in box.parts(BUFFER // WIDEST if widen else BUFFER):
        target = tensor[place]
        if not widen and is_flat(target) and target.device == device:
            _fill_runs(target, job, part, start, by_reference)
            continue
        made = part.widened(axis) if widen else part
        buffer = torch.empty(made.size, dtype=tensor.dtype, device=device)
        _fill_runs(buffer, job, made, start, by_reference)
        target.copy_(buffer.narrow(axis, part.start[axis] - made.start[axis], part.size[axis]))
    increment_version(job.tensor)


def _fill_runs(flat: Tensor, job: Job, box: Box, start: int, by_reference: bool) -> None:
    """Fill a contiguous tensor with a block of the field, run by run."""
    starts, length = box.runs()
    starts += start
    if not by_reference:
        native.write_runs(flat, job.transform, job.key, starts, length)
    elif len(starts) == 1:
        reference.fill(flat.view(-1), job.transform, job.key, int(starts[0]))
    else:
        index = torch.from_numpy(starts).to(flat.device)[:, None] + torch.arange(length, device=flat.device)
        reference.fill_at(flat.view(-1), job.transform, job.key, index.view(-1))

"""Which tensors can be filled, and how to walk one whose memory is not its values in order.

``fill.py`` asks here before it writes anything.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor
from torch.nn.parameter import Parameter, is_lazy

from ..errors import UnsupportedParameterError

DTYPES: Final = frozenset((torch.float32, torch.float16, torch.bfloat16, torch.float64))
"""What a tensor of values may hold."""
PLAIN: Final = frozenset((Tensor, Parameter))
"""Types that are known to have memory of their own."""


def refuse_unfit(tensor: Tensor) -> None:
    """Refuse a tensor that takes no random values.

    Raises:
        UnsupportedParameterError: integer, complex, quantised, lazy, meta or sparse tensors, tensors whose elements
            share memory, wrappers without memory.
    """
    if is_lazy(tensor):
        raise UnsupportedParameterError(
            "the tensor is lazily initialised and has no shape yet: run the model once on a batch first"
        )
    call = f"cannot fill a tensor of shape {tuple(tensor.shape)} and dtype {tensor.dtype}"
    if tensor.dtype not in DTYPES:
        raise UnsupportedParameterError(f"{call}: only float32, float16, bfloat16 and float64 take random values")
    if tensor.is_meta:
        raise UnsupportedParameterError(f"{call} on the meta device: give it memory first (model.to_empty(...))")
    if tensor.layout is not torch.strided:
        raise UnsupportedParameterError(f"{call} and layout {tensor.layout}: fill a dense tensor")
    if not tensor.is_contiguous() and _may_overlap(tensor):
        raise UnsupportedParameterError(
            f"{call}: its strides {tensor.stride()} let elements share memory (an expanded tensor?); "
            f"fill the tensor it was expanded from, or a .clone()"
        )
    if type(tensor) not in PLAIN and tensor.numel() and tensor.is_cpu and not _address(tensor):
        raise UnsupportedParameterError(f"{call}: a {type(tensor).__name__} has no memory of its own")


def is_flat(tensor: Tensor) -> bool:
    """Whether the tensor's memory is its values in row-major order."""
    return tensor.is_contiguous() and not tensor.is_neg()


def parts(tensor: Tensor, limit: int, offset: int = 0) -> Iterator[tuple[Tensor, int]]:
    """Views of at most ``limit`` elements that make up the tensor in row-major order, each with its first index."""
    count = tensor.numel()
    if count <= limit:
        yield tensor, offset
        return
    row = count // tensor.shape[0]
    if row > limit:
        for index in range(tensor.shape[0]):
            yield from parts(tensor[index], limit, offset + index * row)
        return
    step = limit // row
    for index in range(0, tensor.shape[0], step):
        yield tensor[index : index + step], offset + index * row


def _address(tensor: Tensor) -> int:
    """Where the tensor's memory begins; 0 for a wrapper (fake, distributed) that has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tensor.data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0


def _may_overlap(tensor: Tensor) -> bool:
    """Whether two elements may share memory: no nesting of the strides shows that they do not."""
    reach = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += stride * (size - 1)
    return False

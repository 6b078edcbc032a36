"""The digest of a tensor's values: a sum over its elements, so that it is the same however the tensor is sharded.

    S = Σᵢ bᵢ · (wᵢ | 1)  mod 2⁶⁴

bᵢ are the bits of element i as a signed integer, i its index in the whole tensor, row-major; wᵢ is word i of a field of
its own (a multilinear hash). A change of one element always changes S; two different tensors agree with a probability
of about 2⁻⁶⁴. It guards against accidents, not against a forger, who can solve for S. Elements of 8 or 16 bytes
count as two or four, each from a field of its own.
"""

from __future__ import annotations

import hashlib
from typing import Final

import torch

from ..fields import Box, Key, box_words, key

CHUNK: Final = 1 << 16
"""Elements that are summed at once on a CPU: what stays in a cache."""
_FIELDS: Final = tuple(key(0, "firstlight digest", str(part)) for part in range(4))


def digest(tensor: torch.Tensor) -> str:
    """The digest of a tensor's dtype, shape and values, in hex.

    >>> digest(torch.zeros(2)) == digest(torch.zeros(1, 2))
    False
    """
    shape = tuple(tensor.shape)
    return named(tensor.dtype, shape, digest_sum(tensor.detach(), Box.whole(shape)))


def named(dtype: torch.dtype, shape: tuple[int, ...], total: int) -> str:
    """The digest, given the sum over all elements of the whole tensor."""
    text = f"{dtype} {shape} {total % 2**64}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def digest_sum(local: torch.Tensor, box: Box) -> int:
    """The part of S that a block of the tensor gives, from 0 to 2⁶⁴ - 1; those of all blocks add up.

    Args:
        local: the block.
        box: where it lies in the whole tensor.
    """
    local = _dense(local)
    total = 0
    for place, part in box.parts(chunk_of(local)):
        for bits, field in _planes(local[place].reshape(-1)):
            total += int((bits * _weights(field, part, local.device)).sum())
    return total % 2**64


def row_sums(local: torch.Tensor, box: Box) -> torch.Tensor:
    """The sum of each slice along axis 0 by itself, as int64: equal slices have equal sums, and only zeros have 0."""
    rows = Box(box.shape[1:], box.start[1:], box.size[1:])
    local = _dense(local)
    chunk = chunk_of(local)
    sums = torch.zeros(local.shape[0], dtype=torch.int64, device=local.device)
    for place, part in rows.parts(chunk):
        step = max(1, chunk // max(1, part.numel))
        weights = [_weights(field, part, local.device) for field in _FIELDS[: max(1, local.itemsize // 4)]]
        for first in range(0, local.shape[0], step):
            some = local[(slice(first, first + step), *place)]
            for (bits, _), weight in zip(_planes(some.reshape(-1)), weights, strict=True):
                sums[first : first + step] += (bits.reshape(some.shape[0], -1) * weight).sum(1)
    return sums


def chunk_of(local: torch.Tensor) -> int:
    """Elements to sum at once: on accelerators so many that starting a kernel does not count."""
    return CHUNK if local.is_cpu else CHUNK << 8


def _weights(field: Key, box: Box, device: torch.device) -> torch.Tensor:
    return box_words(field, box, device).reshape(-1).bitwise_or_(1).long()


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor whose memory is its values."""
    if tensor.is_quantized:
        return tensor.int_repr()
    if tensor.layout is not torch.strided:
        return tensor.to_dense()
    return tensor.resolve_conj().resolve_neg()


def _planes(flat: torch.Tensor) -> list[tuple[torch.Tensor, Key]]:
    """The bits of each element as int64, in parts of at most 32, with the field of each part."""
    flat = flat.contiguous()
    match flat.itemsize:
        case 1:
            return [(flat.view(torch.uint8).long(), _FIELDS[0])]
        case 2:
            return [(flat.view(torch.int16).long(), _FIELDS[0])]
        case 4:
            return [(flat.view(torch.int32).long(), _FIELDS[0])]
        case size:
            words = flat.view(torch.int32).reshape(-1, size // 4).long()
            return [(words[:, i], _FIELDS[i]) for i in range(size // 4)]

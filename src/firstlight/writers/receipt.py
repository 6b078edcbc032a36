"""The receipt: what was written into each parameter, so that it can be checked and repeated.

``apply_`` makes it from what it wrote; a run's log keeps it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from ..plans.records import Entry


@dataclass(frozen=True, slots=True)
class Written:
    """One parameter as it was left.

    Args:
        name: its canonical name; ``aliases`` are the other names of the same tensor.
        decision: the initializer in the words that make it again, or ``Keep(...)``.
        reason: why this decision.
        stream: the 64-bit stream its values were drawn from, ``None`` where nothing was drawn.
        mean, std: of the values it now holds (std over n, not n - 1), NaN where there are none or they are not real.
        digest: SHA-256 over dtype, shape and bytes, in hex; empty where digests were not asked for.
    """

    name: str
    aliases: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    decision: str
    reason: str
    stream: int | None
    mean: float
    std: float
    digest: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What ``init_`` or ``apply_`` did: the scheme, the seed, and every parameter and statistic once.

    ``field_format`` is the version of the random field; equal format, seed and names give equal bits.
    """

    scheme: str
    seed: int
    field_format: int
    written: tuple[Written, ...]
    kept: tuple[Written, ...]

    def __getitem__(self, name: str) -> Written:
        """The record of the parameter ``name``, under any of its names; KeyError where there is none."""
        for record in self:
            if name == record.name or name in record.aliases:
                return record
        raise KeyError(name)

    def __iter__(self) -> Iterator[Written]:
        yield from self.written
        yield from self.kept

    def __str__(self) -> str:
        elements = sum(math.prod(w.shape) for w in self.written)
        kept = f", {len(self.kept)} kept" if self.kept else ""
        return f"{self.scheme}, seed {self.seed}: {len(self.written)} tensors written ({elements:,} values){kept}"


def record(tensors: Iterable[tuple[Entry, torch.Tensor, int | None]], digests: bool) -> tuple[Written, ...]:
    """The records of tensors as they are now, in order; hashing runs beside on torch's number of threads."""
    items = list(tensors)
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        hashes = pool.map(digest, (t for _, t, _ in items)) if digests else iter([""] * len(items))
        moments = pool.map(_moments, (t for _, t, _ in items))
        return tuple(
            Written(
                name=entry.parameter.name,
                aliases=entry.parameter.aliases,
                shape=tuple(tensor.shape),
                dtype=str(tensor.dtype).removeprefix("torch."),
                decision=repr(entry.decision),
                reason=entry.reason,
                stream=stream,
                mean=mean,
                std=std,
                digest=hashed,
            )
            for (entry, tensor, stream), (mean, std), hashed in zip(items, moments, hashes, strict=True)
        )


def digest(tensor: torch.Tensor) -> str:
    """SHA-256, in hex, over a tensor's dtype, shape and row-major bytes.

    >>> digest(torch.zeros(2)) == digest(torch.zeros(1, 2))
    False
    """
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    hashed = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    hashed.update(flat.numpy().data)
    return hashed.hexdigest()


def _moments(tensor: torch.Tensor) -> tuple[float, float]:
    values = tensor.detach()
    if values.numel() == 0 or values.is_complex() or values.is_quantized:
        return float("nan"), float("nan")
    if values.dtype not in (torch.float32, torch.float64):
        values = values.float()
    std, mean = torch.std_mean(values, correction=0)
    return float(mean), float(std)

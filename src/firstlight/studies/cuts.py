"""Which examples go into which part: at random, each class in its share.

``tasks`` cuts data through here; a seed decides the cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..errors import ArgumentError, DataError


def cut(y: torch.Tensor, share: float, seed: int, classes: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of (the rest, a share), each class in the same shares and on both sides."""
    counts = torch.bincount(y, minlength=len(classes)).tolist()
    for count, name in zip(counts, classes, strict=True):
        if count < 2:
            raise DataError(
                f"the class {name!r} has too few examples ({count} left to cut): every class needs one in each "
                "of train, validation and test; drop the class or add examples"
            )
    return taken(y, [min(max(1, round(share * count)), count - 1) for count in counts], seed)


def taken(y: torch.Tensor, wanted: Sequence[int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of (the rest, so many of each class), at random."""
    rng = np.random.Generator(np.random.Philox(seed))
    rest, taken = [], []
    for label, count in enumerate(wanted):
        members = rng.permutation(np.flatnonzero(y.numpy() == label))
        taken.append(members[:count])
        rest.append(members[count:])
    return tuple(torch.from_numpy(np.sort(np.concatenate(part))) for part in (rest, taken))  # type: ignore[return-value]


def subset(y: torch.Tensor, limit: int, seed: int, classes: Sequence[str]) -> torch.Tensor:
    """``limit`` indices: each class in its share, and two of it at least, so that it can be cut."""
    if limit < 2 * len(classes):
        raise ArgumentError(f"limit={limit} is too few for {len(classes)} classes: give at least {2 * len(classes)}")
    counts = torch.bincount(y, minlength=len(classes)).numpy()
    shares = counts * (limit / len(y))
    wanted = np.maximum(np.floor(shares).astype(np.int64), np.minimum(counts, 2))
    while wanted.sum() != limit:
        step = 1 if wanted.sum() < limit else -1
        # The class that is furthest from its share, and can give or take one, does.
        free = wanted < counts if step > 0 else wanted > 2
        wanted[np.argmax(np.where(free, step * (shares - wanted), -np.inf))] += step
    return taken(y, wanted.tolist(), seed + 2)[1]

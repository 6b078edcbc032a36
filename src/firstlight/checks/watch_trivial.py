"""The loss of the best constant prediction, from the targets that a loss's graph holds.

``torch`` keeps the targets of its cross-entropies and squared errors until backward (``grad_fn._saved_target``), so the
watch knows them without being told. The entropy of a sample's frequencies is corrected by Miller (1955), (K - 1) / 2N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

MEAN = 1  # how a graph says reduction="mean"
CALLS, ENOUGH, MOST = 10, 500, 500  # losses that are looked at: ten, and more until there are targets enough
FEWEST = 30  # targets to judge by
COLUMNS = 4096  # targets of more columns are taken as one


@dataclass(slots=True)
class Targets:
    """Statistics of the targets seen: counts of classes, or sums over each column."""

    kind: str = ""
    classes: int = 0
    calls: int = 0
    count: float = 0.0
    sums: torch.Tensor | None = None
    squares: torch.Tensor | None = None
    seen: int = 0

    @property
    def wanted(self) -> bool:
        """Whether another loss should be looked at."""
        return self.calls < CALLS or (self.kind != "" and self.calls < MOST and self.seen < ENOUGH)

    def see(self, loss: torch.Tensor) -> None:
        """Take up the targets of one loss; nothing where its graph does not hold them."""
        self.calls += 1
        node: Any = loss.grad_fn
        name = type(node).__name__
        reader = _READERS.get(name)
        if reader is None or (self.kind and self.kind != name):
            return
        try:
            target, other = node._saved_target.detach(), node._saved_self
            plain = node._saved_reduction == MEAN and getattr(node, "_saved_weight", None) is None
        except (RuntimeError, AttributeError):  # backward has freed them, or this torch does not show them
            return
        if not plain or not target.numel():
            return
        self.kind = name
        self.seen += len(target) if target.dim() else 1
        if reader == "classes":
            self._count(target, other.shape[1] if other.dim() > 1 else other.shape[0], node._saved_ignore_index)
        else:
            self._sum(target.double())

    def _count(self, target: torch.Tensor, classes: int, ignored: int) -> None:
        flat = target.flatten()
        counts = torch.bincount(flat[flat != ignored], minlength=classes).double()
        if self.sums is not None and self.classes != classes:
            return
        self.classes = classes
        self.sums = counts if self.sums is None else self.sums + counts

    def _sum(self, target: torch.Tensor) -> None:
        rows = target.reshape(len(target), -1) if target.dim() > 1 else target.reshape(-1, 1)
        rows = rows if rows.shape[1] <= COLUMNS else target.reshape(-1, 1)
        if self.sums is not None and self.sums.shape != rows[0].shape:
            return
        sums, squares = rows.sum(0), rows.square().sum(0)
        self.sums = sums if self.sums is None else self.sums + sums
        self.squares = squares if self.squares is None else self.squares + squares
        self.count += len(rows)

    @property
    def trivial(self) -> float | None:
        """The loss of the best constant prediction; ``None`` where the targets are not known.

        Cross-entropy: min(log C, H(p) + (K - 1) / 2N). Binary: the mean over columns of H(p). Squares: of the variance.
        """
        if self.sums is None or self.seen < FEWEST:
            return None
        if _READERS[self.kind] == "classes":
            counts = self.sums[self.sums > 0]
            total = float(counts.sum())
            if total == 0:
                return None
            p = counts / total
            entropy = float(-(p * p.log()).sum()) + (len(counts) - 1) / (2 * total)
            return min(math.log(self.classes), entropy) if self.classes > 1 else None
        mean = self.sums / self.count
        if _READERS[self.kind] == "binary":
            p = mean.clamp(1e-12, 1 - 1e-12)
            return float((-p * p.log() - (1 - p) * (1 - p).log()).mean())
        return float((self.squares / self.count - mean.square()).mean()) if self.squares is not None else None

    def packed(self) -> tuple[str, torch.Tensor]:
        """The kind, and all counts and sums as one row of numbers, which may be added to another's."""
        if self.sums is None:
            return "", torch.empty(0, dtype=torch.float64)
        parts = [torch.tensor([self.seen, self.count]), self.sums.flatten()]
        parts += [] if self.squares is None else [self.squares.flatten()]
        return self.kind, torch.cat([p.to("cpu", torch.float64) for p in parts])

    def unpacked(self, row: torch.Tensor) -> Targets:
        """The same with the counts and sums of such a row."""
        sums = row[2:] if self.squares is None else row[2:].chunk(2)[0]
        squares = None if self.squares is None else row[2:].chunk(2)[1]
        return replace(self, seen=int(row[0]), count=float(row[1]), sums=sums, squares=squares)

    def state(self) -> dict[str, Any]:
        """As plain numbers and tensors."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Targets:
        """What ``state`` gave."""
        return cls(**state)


_READERS = {
    "NllLossBackward0": "classes",
    "NllLoss2DBackward0": "classes",
    "BinaryCrossEntropyBackward0": "binary",
    "BinaryCrossEntropyWithLogitsBackward0": "binary",
    "MseLossBackward0": "squares",
}

"""``verify``: whether a model still holds what a receipt says was written, every parameter exactly once.

Reads the receipt that ``apply_`` gave and the model as it is; writes nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import VerificationError
from ..graphs import Slot, slots
from .receipt import Receipt, Written, digest

# Of moments from a receipt without digests: float32 sums in another order differ by less.
_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Check:
    """What is wrong with one tensor, in words."""

    name: str
    fault: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What ``verify`` found.

    Args:
        checked: how many tensors were compared.
        faults: what is wrong, a line each; empty where all is as written.
        by: ``"digest"``, or ``"moments"`` where the receipt has no digests.
    """

    checked: int
    faults: tuple[Check, ...]
    by: str

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def __str__(self) -> str:
        if self.ok:
            return f"all {self.checked} tensors hold what was written (by {self.by})"
        lines = [f"  {c.name}: {c.fault}" for c in self.faults]
        return "\n".join([f"{len(self.faults)} of {self.checked} tensors are not as written (by {self.by}):", *lines])

    def raise_if_failed(self) -> None:
        """VerificationError where something is wrong."""
        if not self.ok:
            raise VerificationError(str(self))


@torch.no_grad()
def verify(model: nn.Module, receipt: Receipt) -> Verification:
    """Whether ``model`` holds what ``receipt`` says.

    Every tensor of the receipt has its shape, dtype and values (by digest; by mean and standard deviation where the
    receipt has no digests), no parameter is missing or in excess, none holds NaN or infinity, and no two tensors that
    were drawn hold the same values, nor do two blocks of one (experts, gates, heads stacked along axis 0).

    Args:
        model: as it is now.
        receipt: what ``init_`` or ``apply_`` gave.

    >>> import firstlight as fl
    >>> model = nn.Linear(4, 4)
    >>> receipt = fl.init_(model, "he_normal")
    >>> print(verify(model, receipt))
    all 2 tensors hold what was written (by digest)
    """
    held: dict[str, Slot] = {}
    for place in slots(model):
        held.setdefault(place.name, place)
    faults: list[Check] = []
    digests: dict[str, list[str]] = defaultdict(list)
    for written in receipt:
        slot = held.get(written.name)
        if slot is None:
            faults.append(Check(written.name, "the model has no such tensor"))
            continue
        fault = _fault(slot.tensor, written)
        if fault:
            faults.append(Check(written.name, fault))
        if written.stream is not None and slot.tensor.numel() > 1:
            digests[digest(slot.tensor)].append(written.name)
            faults += [Check(written.name, f) for f in _repeated_blocks(slot.tensor)]
    known = {n for w in receipt for n in (w.name, *w.aliases)}
    extra = [s.name for s in held.values() if not s.is_buffer and s.name not in known]
    faults += [Check(name, "the receipt does not know it") for name in extra]
    faults += [Check(names[0], f"holds the same values as {', '.join(names[1:])}") for names in _same(digests)]
    by = "digest" if any(w.digest for w in receipt) else "moments"
    return Verification(sum(1 for _ in receipt), tuple(faults), by)


def _fault(tensor: torch.Tensor, written: Written) -> str:
    if tensor.is_meta:
        return "is on the meta device and holds nothing"
    if tuple(tensor.shape) != written.shape:
        return f"has the shape {tuple(tensor.shape)}, was {written.shape}"
    if str(tensor.dtype).removeprefix("torch.") != written.dtype:
        return f"is {str(tensor.dtype).removeprefix('torch.')}, was {written.dtype}"
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        return f"holds {int((~tensor.isfinite()).sum())} values that are NaN or infinite"
    if written.digest:
        return "" if digest(tensor) == written.digest else _moved(tensor, written)
    return "" if _alike(tensor, written) else _moved(tensor, written)


def _moved(tensor: torch.Tensor, written: Written) -> str:
    if not tensor.is_floating_point():
        return "holds other values"
    std, mean = torch.std_mean(tensor.float(), correction=0)
    return (
        f"holds other values: mean {float(mean):.3g}, std {float(std):.3g}; "
        f"was mean {written.mean:.3g}, std {written.std:.3g}"
    )


def _alike(tensor: torch.Tensor, written: Written) -> bool:
    if not tensor.is_floating_point() or tensor.numel() == 0 or math.isnan(written.mean):
        return True
    std, mean = torch.std_mean(tensor.float(), correction=0)
    close = max(abs(written.std), abs(written.mean)) * _TOLERANCE
    return abs(float(mean) - written.mean) <= close and abs(float(std) - written.std) <= close


def _repeated_blocks(tensor: torch.Tensor) -> list[str]:
    """Slices along axis 0 of a stack that hold the same values, where there are matrices to compare."""
    if tensor.dim() < 3 or tensor.shape[0] < 2 or tensor[0].numel() < 16:
        return []
    seen: dict[str, int] = {}
    for i, block in enumerate(tensor):
        first = seen.setdefault(digest(block), i)
        if first != i and bool(block.any()):
            return [f"its blocks {first} and {i} along axis 0 hold the same values"]
    return []


def _same(digests: dict[str, list[str]]) -> list[list[str]]:
    return [names for names in digests.values() if len(names) > 1]

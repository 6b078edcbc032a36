"""``verify``: whether a model still holds what a receipt says was written, every parameter exactly once.

Reads the receipt that ``apply_`` gave and the model as it is; writes nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import VerificationError
from ..graphs import Slot, slots
from .digests import named
from .materials import resharded
from .placements import Held, held
from .receipt import Receipt, Written
from .summaries import LEAST, Summary, repeated_rows, summarized

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
    were drawn hold the same values, nor do two blocks of one (experts, gates, heads stacked along axis 0) or two ranks.
    Tied weights are still tied, others not. Digests do not depend on sharding: a receipt holds for a model on any
    number of ranks. All ranks of a sharded model call it alike, and find the same.

    Args:
        model: as it is now.
        receipt: what ``init_`` or ``apply_`` gave.

    >>> import firstlight as fl
    >>> model = nn.Linear(4, 4)
    >>> receipt = fl.init_(model, "he_normal")
    >>> print(verify(model, receipt))
    all 2 tensors hold what was written (by digest)
    """
    resharded(model)
    places: dict[str, Slot] = {}
    for place in slots(model):
        places.setdefault(place.name, place)
    faults = list(_faults_of_names(places, receipt))
    here = [(w, places[w.name].tensor) for w in receipt if w.name in places]
    real = [(w, held(w.name, t)) for w, t in here if not t.is_meta]
    faults += [Check(w.name, "is on the meta device and holds nothing") for w, t in here if t.is_meta]
    summaries = summarized([h for _, h in real], digests=True, compare=True)
    drawn = [h if w.stream is not None and h.shape == w.shape else None for w, h in real]
    repeats = repeated_rows(drawn)
    digests: dict[str, list[str]] = defaultdict(list)
    for (written, h), summary, repeat in zip(real, summaries, repeats, strict=True):
        faults += [Check(written.name, fault) for fault in _faults(written, h, summary, repeat)]
        if written.stream is not None and math.prod(h.shape) >= LEAST and summary.total:  # 0: all zeros
            digests[named(h.local.dtype, h.shape, summary.total)].append(written.name)
    faults += [
        Check(names[0], f"holds the same values as {', '.join(names[1:])}")
        for names in digests.values()
        if len(names) > 1
    ]
    by = "digest" if any(w.digest for w in receipt) else "moments"
    return Verification(sum(1 for _ in receipt), tuple(faults), by)


def _faults_of_names(places: Mapping[str, Slot], receipt: Receipt) -> Iterator[Check]:
    """Tensors that are missing, in excess, or tied otherwise."""
    known: dict[str, Written] = {}
    owners: dict[int, str] = {}
    for written in receipt:
        known |= dict.fromkeys((written.name, *written.aliases), written)
        if written.name not in places:
            yield Check(written.name, "the model has no such tensor")
            continue
        tensor = places[written.name].tensor
        for alias in written.aliases:
            if alias not in places:
                yield Check(written.name, f"the model has no {alias!r}, another name of this tensor")
            elif places[alias].tensor is not tensor:
                yield Check(written.name, f"tied weights untied: {alias!r} is a tensor of its own")
        other = owners.setdefault(id(tensor), written.name)
        if other != written.name:
            yield Check(written.name, f"is one tensor with {other!r}; they were written apart")
    for place in places.values():
        if not place.is_buffer and place.name not in known:
            yield Check(place.name, "the receipt does not know it")


def _faults(written: Written, h: Held, found: Summary, repeat: tuple[int, int] | None) -> Iterator[str]:
    """What is wrong with one tensor's values."""
    dtype = str(h.local.dtype).removeprefix("torch.")
    if h.shape != written.shape:
        yield f"has the shape {h.shape}, was {written.shape}"
    elif dtype != written.dtype:
        yield f"is {dtype}, was {written.dtype}"
    elif found.unfit:
        yield f"holds {found.unfit} values that are NaN or infinite"
    elif found.total is not None and not _as_written(written, h, found):
        yield _moved(written, h, found)
    if found.apart:
        yield f"replicas disagree: the ranks at {found.apart[0]} and {found.apart[1]} of its mesh hold other values"
    if found.alike and written.stream is not None:
        yield f"shards repeat: the ranks at {found.alike[0]} and {found.alike[1]} of its mesh hold the same values"
    if repeat is not None:
        yield f"its blocks {repeat[0]} and {repeat[1]} along axis 0 hold the same values"


def _as_written(written: Written, h: Held, found: Summary) -> bool:
    if written.digest:
        return found.total is not None and written.digest == named(h.local.dtype, h.shape, found.total)
    if not h.local.is_floating_point() or math.isnan(written.mean):
        return True
    close = max(abs(written.std), abs(written.mean)) * _TOLERANCE
    return abs(found.mean - written.mean) <= close and abs(found.std - written.std) <= close


def _moved(written: Written, h: Held, found: Summary) -> str:
    if not h.local.is_floating_point():
        return "holds other values"
    return (
        f"holds other values: mean {found.mean:.3g}, std {found.std:.3g}; "
        f"was mean {written.mean:.3g}, std {written.std:.3g}"
    )

"""What the processes of a sharded model's training agree on: means of numbers, losses and targets.

All of them must come to the same findings at the same steps, since one that stops, or looks for an operation, leaves
the others waiting. So they only judge by what they have in common, and talk at steps that all of them choose alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..probes.groups import Thing, gathered, groups_of, mesh_of, reduced
from .watch_losses import Losses
from .watch_trivial import Targets


@dataclass(slots=True)
class Ranks:
    """The processes of the largest device mesh of a model's parameters, and what they have not shared yet.

    Args:
        mesh: that mesh.
        losses, validation: this process's own, by step.
        targets: what all processes' targets come to together.
    """

    mesh: Any
    losses: list[tuple[int, torch.Tensor]] = field(default_factory=list)
    validation: list[tuple[float, float]] = field(default_factory=list)
    targets: Targets = field(default_factory=Targets)

    @property
    def size(self) -> int:
        """How many processes."""
        return int(self.mesh.size())

    def copies(self, placements: Sequence[Any], shape: Sequence[int]) -> int:
        """How many processes hold the same values of a parameter that lies so on a mesh of this shape."""
        shards = 1
        for placement, count in zip(placements, shape, strict=True):
            shards *= count if getattr(placement, "dim", None) is not None else 1
        return self.size // shards

    def sum(self, values: torch.Tensor, *, largest: bool = False) -> torch.Tensor:
        """Over all processes, to the bit the same on each."""
        return reduced(values.to(self.mesh.device_type), groups_of(self.mesh), largest=largest).cpu()

    def mean(self, numbers: Sequence[float]) -> tuple[float, ...]:
        """Of each number over all processes."""
        return tuple((self.sum(torch.tensor(numbers, dtype=torch.float64)) / self.size).tolist())

    def from_all(self, own: Thing) -> list[Thing]:
        """Everyone's, in the same order everywhere."""
        return gathered(own, groups_of(self.mesh))

    def share(self, losses: Losses, own: Targets) -> None:
        """The mean over all processes of every loss that each of them has shown, and their targets together.

        A process that is ahead keeps what the others have not shown yet.
        """
        kind, flat = own.packed()
        code = float(zlib.crc32(f"{kind} {own.classes} {len(flat)}".encode()))
        counts = [-float(len(self.losses)), -float(len(self.validation)), code, -code]
        first, second, most, least = self.sum(torch.tensor(counts, dtype=torch.float64), largest=True).tolist()
        shown, validated = int(-first), int(-second)
        given = [loss.detach().to("cpu", torch.float64).reshape(1) for _, loss in self.losses[:shown]]
        numbers = [v for _, v in self.validation[:validated]]
        alike = most == -least and kind != ""
        packed = torch.cat([*given, torch.tensor(numbers, dtype=torch.float64), *([flat] if alike else [])])
        if not len(packed):
            return
        packed = self.sum(packed)
        means = (packed[: shown + validated] / self.size).tolist()
        for (step, _), value in zip(self.losses[:shown], means, strict=False):
            losses.add(step, value)
        losses.validation += [(at, v) for (at, _), v in zip(self.validation[:validated], means[shown:], strict=True)]
        if alike:
            self.targets = own.unpacked(packed[shown + validated :])
        del self.losses[:shown], self.validation[:validated]


def ranks_of(parameters: Sequence[torch.Tensor]) -> Ranks | None:
    """The processes that parameters are spread over; ``None`` where they are not."""
    mesh = mesh_of(parameters)
    return None if mesh is None else Ranks(mesh)

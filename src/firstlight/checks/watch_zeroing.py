"""Whether gradients are zeroed between two steps, seen from what a backward finds in ``.grad`` as it arrives.

Looks at one parameter in the first steps. A backward that finds nothing, or zeros, says that they are; gradients that
are accumulated on purpose do so once a step, and a network whose gradients another loss has filled in between too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.tensor import DTensor

STEPS = 6  # that are looked at; the first has nothing to find


@dataclass(slots=True)
class Zeroing:
    """Looks at the last of the parameters, which most often is the smallest: a head's bias.

    Args:
        missed: steps in a row, from the second on, before which no backward found an empty gradient.
    """

    parameters: Sequence[torch.nn.Parameter]
    missed: int = 0
    _steps: int = 0
    _arrived: bool = False
    _empty: bool = False
    _handle: Any = None

    @property
    def looking(self) -> bool:
        """Whether the hook is on."""
        return self._handle is not None

    def start(self) -> None:
        """Put the hook on; a sharded model's gradients are not its parameters' own in backward."""
        if self.parameters and self._steps < STEPS and not isinstance(self.parameters[-1], DTensor):
            self._handle = self.parameters[-1].register_hook(self._arrives)  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """Take it off."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _arrives(self, _: torch.Tensor) -> None:
        found = self.parameters[-1].grad
        self._arrived = True
        self._empty |= found is None or found.is_sparse or not bool(found.any())

    def stepped(self) -> None:
        """The optimizer steps: what has been seen since the last time is one step's."""
        self._steps += 1
        if self._steps > 1:
            if self._empty or not self._arrived:
                self.missed, self._steps = 0, STEPS
            else:
                self.missed += 1
        self._arrived = self._empty = False
        if self._steps >= STEPS:
            self.stop()

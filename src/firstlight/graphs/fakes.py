"""A copy of a model on fake tensors: the same modules and ties, shapes and dtypes, no memory.

``recorder`` runs the copy, so that the user's model is never touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from ..errors import ModelError
from .copies import copied


@dataclass(frozen=True, slots=True)
class Fakes:
    """The fake of every real tensor met so far, by the real one's id; the real ones are kept, so that ids stay."""

    mode: FakeTensorMode
    made: dict[int, tuple[torch.Tensor, torch.Tensor]]

    def of(self, real: torch.Tensor) -> torch.Tensor:
        """The fake of a tensor: on the CPU, whatever device the real one is on."""
        if id(real) not in self.made:
            self.made[id(real)] = (self._make(real), real)
        return self.made[id(real)][0]

    def _make(self, real: torch.Tensor) -> torch.Tensor:
        if real.layout is not torch.strided:
            return self.mode.from_tensor(real.detach())
        with self.mode:
            fake = torch.empty_strided(real.shape, real.stride(), dtype=real.dtype, device="cpu")
        if isinstance(real, nn.Parameter):
            return nn.Parameter(fake, requires_grad=real.requires_grad)
        return fake

    def model(self, model: nn.Module) -> nn.Module:
        """A copy of the model in which every tensor is a fake; ties stay ties.

        Raises:
            ModelError: the model cannot be copied.
        """
        memo: dict[int, object] = {id(t): self.of(t) for t in tensors(model)}
        try:
            twin = copied(model, memo)
        except Exception as error:
            raise ModelError(
                f"{type(model).__name__} cannot be copied ({type(error).__name__}: {error}), and tracing runs a copy: "
                "plan it from its modules alone, without inputs"
            ) from error
        return twin.eval()

    def arguments(self, value: Any) -> Any:
        """A fake for every tensor in nested arguments."""
        return pytree.tree_map_only(torch.Tensor, self.of, value)


def new_fakes() -> Fakes:
    """No fakes yet, and a mode to make them in."""
    return Fakes(FakeTensorMode(allow_non_fake_inputs=True), {})


def tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    """Every tensor that a model's modules hold, registered or as an attribute."""
    for module in model.modules():
        held: tuple[Mapping[str, object], ...] = (module._parameters, module._buffers, vars(module))
        for values in held:
            yield from (t for t in values.values() if isinstance(t, torch.Tensor))

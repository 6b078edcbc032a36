"""A copy of a model on fake tensors: the same modules and ties, shapes and dtypes, no memory.

``recorder`` runs the copy, so that the user's model is never touched.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._mode_utils import no_dispatch

from ..errors import ModelError
from .copies import copied

_CPU = torch.device("cpu")


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
        fake = self.new(real.shape, real.stride(), real.dtype)
        if isinstance(real, nn.Parameter):
            fake._is_param = True  # as nn.Parameter marks what is no plain tensor
            fake.requires_grad_(real.requires_grad)
        return fake

    def new(self, shape: torch.Size, stride: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A fake on the CPU, made by hand: as a call under the mode it would take thirty times as long."""
        with no_dispatch():
            inner = torch.empty_strided(shape, stride, dtype=dtype, device="meta")
        return FakeTensor(self.mode, inner, _CPU)

    def model(self, model: nn.Module) -> nn.Module:
        """A copy of the model in which every tensor is a fake; ties stay ties.

        Raises:
            ModelError: the model cannot be copied.
        """
        memo: dict[int, object] = {id(t): self.of(t) for t in tensors(model)}
        # A module holds a dozen empty containers, and deepcopy takes longer over them than over all the rest.
        held = (v for m in model.modules() for v in vars(m).values())
        memo |= {id(v): type(v)() for v in held if type(v) in (dict, OrderedDict, set, list) and not v}
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

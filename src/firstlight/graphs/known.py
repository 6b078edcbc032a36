"""Real values beside the fake ones: what a forward computes from numbers that are known without weights.

Positions, masks and rotations come out exactly, and so do the questions that a model asks of its integer inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from .ops import words
from .tape import Ref

LARGEST = 1_000_000
# Their value is not a function of what they read.
_RANDOM = words(
    "rand randn randint rand_like randn_like randint_like bernoulli multinomial normal uniform dropout empty"
)
UNKNOWN = object()


class Known:
    """The real values of outputs, by the node and its output's number."""

    def __init__(self) -> None:
        """None yet."""
        self._values: dict[tuple[int, int], torch.Tensor] = {}

    def put(self, node: int, output: int, value: torch.Tensor) -> None:
        """Remember a value, unless it is too large or has no storage."""
        if value.numel() <= LARGEST and not value.is_meta and value.layout is torch.strided:
            self._values[node, output] = value

    def get(self, ref: Ref) -> torch.Tensor | None:
        """The value that a call read, where it is known whole."""
        return None if ref.also else self._values.get((ref.node, ref.output))

    def run(self, function: Callable[..., object], name: str, args: object, kwargs: object) -> object:
        """What the call gives on real values; ``UNKNOWN`` where an operand's is not known or it cannot be run."""
        if name in _RANDOM:
            return UNKNOWN
        leaves, spec = pytree.tree_flatten((args, kwargs), is_leaf=lambda x: isinstance(x, Ref))
        real = [self.get(leaf) if isinstance(leaf, Ref) else leaf for leaf in leaves]
        if any(isinstance(leaf, Ref) and value is None for leaf, value in zip(leaves, real, strict=True)):
            return UNKNOWN
        try:
            with _disable_current_modes(), torch.no_grad():
                # A copy of each: the call may write in place.
                own = [v.detach().cpu().clone() if isinstance(v, torch.Tensor) else v for v in real]
                real_args, real_kwargs = pytree.tree_unflatten(own, spec)
                result = function(*real_args, **real_kwargs)
                return real_args[0] if name == "setitem" else result
        except Exception:  # whatever it is, the value is not known
            return UNKNOWN


def tensors_in(value: object) -> list[torch.Tensor]:
    """The tensors within nested values, in order; dataclasses and mappings are looked into."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [t for part in value for t in tensors_in(part)]
    if value is None or isinstance(value, bool | int | float | str):
        return []
    if isinstance(value, Mapping):
        return [t for key, part in value.items() if key != "past_key_values" for t in tensors_in(part)]
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        return [t for field in fields for t in tensors_in(getattr(value, field, None))]
    return []

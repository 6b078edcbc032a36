"""Copies of a module on which its own ``reset_parameters`` runs, so that the model and the global random state stay.

A sharded parameter, or one on the meta device, is an ordinary one of its whole shape in the copy.
"""

from __future__ import annotations

import torch
from torch import nn

from ..errors import ParameterError
from ..fields import key
from ..graphs import Slot
from ..graphs.copies import copied
from .placements import is_distributed


def reset_twin(slot: Slot, seed: int, device: torch.device | None) -> nn.Module:
    """A copy of the module that holds ``slot``'s tensor, after its own ``reset_parameters``.

    It runs under a random state of its own, seeded by the seed and the module's name.

    Args:
        slot: where the tensor hangs.
        seed: of the whole plan.
        device: where a parameter on the meta device is made.

    Raises:
        ParameterError: the module cannot be copied, or its method raised.
    """
    kind = type(slot.owner).__name__
    memo: dict[int, object] = {}
    for tensor in (*slot.owner.parameters(), *slot.owner.buffers()):
        if tensor.is_meta or is_distributed(tensor):
            memo[id(tensor)] = _ordinary(tensor, device)
    try:
        twin = copied(slot.owner, memo)
    except Exception as error:
        raise ParameterError(
            f"{kind} ({slot.module!r}) cannot be copied, and its reset_parameters runs on a copy: {error!r}. Give its "
            f"parameters initializers: rules={{'{slot.name}': fl.Normal(0.02)}}"
        ) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, slot.module, "reset_parameters").stream & (2**63 - 1))
        try:
            twin.reset_parameters()  # type: ignore[operator]
        except Exception as error:
            raise ParameterError(f"reset_parameters of {kind} ({slot.module!r}) raised: {error!r}") from error
    return twin


def _ordinary(tensor: torch.Tensor, device: torch.device | None) -> torch.Tensor:
    where = device if tensor.is_meta else tensor.device
    whole = torch.zeros(tuple(tensor.shape), dtype=tensor.dtype, device=where or torch.device("cpu"))
    return nn.Parameter(whole, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else whole

"""What a watch asks of a model and its optimizers at first: which parameters are trained, who else has hooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from ..errors import ModelError
from ..graphs.names import canonical_child, join


def trained(model: nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> list[tuple[str, nn.Parameter]]:
    """The parameters that are trained, in the model's order, by canonical name; complex ones are left out."""
    held = {id(p) for o in optimizers for g in o.param_groups for p in g["params"]}
    chosen = [
        (canonical(model, name), p)
        for name, p in model.named_parameters()
        if p.requires_grad and not p.is_complex() and (not held or id(p) in held)
    ]
    if held and not chosen:
        raise ModelError(
            "the optimizer holds none of the model's trained parameters: give the optimizer that was made of "
            "model.parameters()"
        )
    return chosen


def canonical(model: nn.Module, name: str) -> str:
    """The path of a parameter or module without wrappers."""
    path, at = "", model
    *parents, last = name.split(".")
    for part in parents:
        path = join(path, canonical_child(at, part))
        at = getattr(at, part)
    return join(path, last)


def hooked(model: nn.Module) -> bool:
    """Whether backward passes of our own would be seen by hooks of others."""
    return any(p._backward_hooks for p in model.parameters()) or any(
        m._backward_hooks or m._backward_pre_hooks for m in model.modules()
    )


def plain_momentum(optimizers: Sequence[torch.optim.Optimizer]) -> float | None:
    """β of plain SGD; ``None`` for others, whose steps are not along the gradient."""
    if not optimizers or not all(isinstance(o, torch.optim.SGD) for o in optimizers):
        return None
    return max(float(g["momentum"]) for o in optimizers for g in o.param_groups)

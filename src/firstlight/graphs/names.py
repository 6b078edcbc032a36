"""Canonical names: what a parameter is called once wrappers are taken off.

The graph names every parameter this way, and the random field is keyed by these names, so wrapping a model in
``torch.compile``, ``DistributedDataParallel``, FSDP or activation checkpointing changes no weight.
"""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

# Children that only wrappers have; nobody else uses these names.
WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


def canonical_child(parent: nn.Module, child: str) -> str | None:
    """The name of ``parent``'s child without wrappers: ``None`` where the parent is one.

    ``module`` is also a name people use, so it is dropped only below the classes that wrap by that name.
    """
    if child in WRAPPERS:
        return None
    if child == "module" and isinstance(parent, DataParallel | DistributedDataParallel):
        return None
    return child


def unwrapped(model: nn.Module) -> nn.Module:
    """What DataParallel, DistributedDataParallel and torch.compile wrap."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def join(prefix: str, name: str | None) -> str:
    """The dotted path of ``name`` below ``prefix``; either may be empty."""
    return f"{prefix}.{name}" if prefix and name else prefix or name or ""

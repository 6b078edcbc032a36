"""Copies of modules, also of sharded ones: what torch.distributed hung on a module is left behind.

``fakes`` makes the copy that is traced, and ``writers`` the one on which ``reset_parameters`` runs.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable

from torch import nn

_KEPT_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def copied(module: nn.Module, memo: dict[int, object]) -> nn.Module:
    """A deep copy, with ``memo``'s tensors in the places of its own.

    FSDP2 gives modules a class that refuses to be copied, and hooks that gather shards; tensor parallelism gives them
    hooks that distribute what they read. The copy is of the class below and has the user's hooks alone.
    """
    if not any(_is_sharded(m) for m in module.modules()):
        return copy.deepcopy(module, memo)
    return _structure(module, memo)


def _structure(module: nn.Module, memo: dict[int, object]) -> nn.Module:
    known = memo.get(id(module))
    if isinstance(known, nn.Module):
        return known
    own: type[nn.Module] = next(b for b in type(module).__mro__ if not _is_distributed(b.__module__))
    twin: nn.Module = own.__new__(own)
    nn.Module.__init__(twin)
    memo[id(module)] = twin
    for name, value in vars(module).items():
        if name == "_modules":
            twin._modules = {n: m if m is None else _structure(m, memo) for n, m in value.items()}
        elif name in _KEPT_HOOKS:
            hooks = {i: copy.deepcopy(h, memo) for i, h in value.items() if not _is_distributed(_origin(h))}
            vars(twin)[name] = OrderedDict(hooks)
        elif name.endswith("_with_kwargs") or ("hook" not in name and not _is_state(name)):
            vars(twin)[name] = copy.deepcopy(value, memo)
    return twin


def _is_sharded(module: nn.Module) -> bool:
    hooks = (h for name in _KEPT_HOOKS for h in vars(module)[name].values())
    return any(_is_distributed(b.__module__) for b in type(module).__mro__) or any(
        _is_distributed(_origin(h)) for h in hooks
    )


def is_parallel(model: nn.Module) -> bool:
    """Whether a module's inputs or outputs are distributed, as tensor parallelism does."""
    hooks = (h for m in model.modules() for name in _KEPT_HOOKS for h in vars(m)[name].values())
    return any(_origin(h).startswith("torch.distributed.tensor") for h in hooks)


def _is_state(name: str) -> bool:
    return "composable" in name or name.startswith("_fsdp")


def _origin(hook: Callable[..., object]) -> str:
    return getattr(getattr(hook, "func", hook), "__module__", None) or ""


def _is_distributed(module: str) -> bool:
    return module.startswith(("torch.distributed.fsdp", "torch.distributed.tensor", "torch.distributed._composable"))

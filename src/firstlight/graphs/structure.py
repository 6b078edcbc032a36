"""A model's graph from its modules alone: every parameter once, with its role and declared axes.

Takes a live model; gives the ``Graph`` that schemes read. No forward is run, so what only the data flow could tell
(the nonlinearity that follows, residual depth) is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from ..errors import ModelError, UnsupportedParameterError
from ..initializers.layout import Layout
from .axes import Axes, matching_axes, type_names
from .modules import declare
from .names import canonical_child, join
from .records import Declared, Graph, Parameter, Role


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor hangs in a live model: the module that owns it and both its names."""

    name: str
    owner: nn.Module
    local_name: str
    module: str
    tensor: torch.Tensor
    is_buffer: bool


def slots(model: nn.Module) -> Iterator[Slot]:
    """Every registered tensor of ``model`` in module order, a shared one under each of its names."""
    yield from _slots(model, "", frozenset())


def _slots(module: nn.Module, path: str, above: frozenset[int]) -> Iterator[Slot]:
    if id(module) in above:  # a module that contains itself would never end
        return
    for is_buffer, tensors in ((False, module._parameters), (True, module._buffers)):
        for local, tensor in tensors.items():
            if tensor is not None:
                yield Slot(join(path, local), module, local, path, tensor, is_buffer)
    for child_name, child in module._modules.items():
        if child is not None:
            child_path = join(path, canonical_child(module, child_name))
            yield from _slots(child, child_path, above | {id(module)})


def structure(model: nn.Module, axes: Mapping[str, Axes] | None = None) -> Graph:
    """The graph of ``model`` as its modules tell it.

    Args:
        model: any module; it is only read.
        axes: what the user declares, by rule pattern (see ``plans.rules``): the axes of weights no table knows.

    Raises:
        ModelError: two different tensors have one canonical name.
        UnsupportedParameterError: a lazy parameter has no shape yet, or FSDP1 has flattened it.
    """
    groups: dict[int, list[Slot]] = {}
    flattens = any(t.__name__ == "FullyShardedDataParallel" for m in model.modules() for t in type(m).__mro__)
    for slot in slots(model):
        _refuse_lazy(slot)
        _refuse_flattened(slot, flattens)
        groups.setdefault(id(slot.tensor), []).append(slot)
    _refuse_collisions(groups)
    parameters, statistics = [], []
    for group in groups.values():
        parameter = _parameter(group, axes or {})
        if not group[0].is_buffer:
            parameters.append(parameter)
        elif parameter.role is not Role.UNKNOWN:
            statistics.append(parameter)
    return Graph(tuple(parameters), tuple(statistics))


def _parameter(group: list[Slot], axes: Mapping[str, Axes]) -> Parameter:
    """One record for a tensor from all the places it hangs; an embedding's reading wins over its tied uses."""
    readings = [(slot, _reading(slot, axes)) for slot in sorted(group, key=lambda s: s.name)]
    known = [r for r in readings if r[1].role is not Role.UNKNOWN] or readings
    slot, declared = next((r for r in known if r[1].role is Role.EMBEDDING), known[0])
    names = [s.name for s, _ in readings]
    return Parameter(
        name=names[0],
        aliases=tuple(dict.fromkeys(names[1:])),
        module=slot.module,
        module_types=type_names(slot.owner),
        local_name=slot.local_name,
        declared=declared,
        dtype=slot.tensor.dtype,
        trainable=slot.tensor.requires_grad,
        tied_roles=tuple(d.role for s, d in readings if s is not slot),
        resets=_resets_itself(slot.owner),
    )


def _resets_itself(module: nn.Module) -> bool:
    method = getattr(type(module), "reset_parameters", None)
    return callable(method) and not getattr(method, "__module__", "").startswith("torch.nn.")


def _reading(slot: Slot, axes: Mapping[str, Axes]) -> Declared:
    shape = tuple(slot.tensor.shape)
    own = matching_axes(axes, slot.name, type_names(slot.owner), slot.local_name)
    if own is not None:
        return Declared(Role.DECLARED, own.layout(slot.name, shape))
    declared = declare(slot.owner).get(slot.local_name)
    if declared is None:
        return Declared(Role.UNKNOWN, Layout.vector(shape))
    if declared.layout.shape != shape:  # a subclass that keeps the name and changes the meaning
        return Declared(Role.UNKNOWN, Layout.vector(shape))
    if slot.is_buffer and declared.role not in (Role.RUNNING_MEAN, Role.RUNNING_VARIANCE, Role.BATCHES_SEEN):
        return replace(declared, role=Role.UNKNOWN)
    return replace(declared, native=True)


def _refuse_lazy(slot: Slot) -> None:
    if isinstance(slot.tensor, UninitializedParameter | UninitializedBuffer):
        raise UnsupportedParameterError(
            f"{slot.name!r} of {type(slot.owner).__name__} is lazily initialized and has no shape yet. "
            "Run one forward pass on example inputs first: model(inputs)."
        )


def _refuse_flattened(slot: Slot, flattens: bool) -> None:
    """FSDP1 hangs one long vector, or pieces of it, where the parameters were, until it runs the module."""
    if not flattens or slot.is_buffer:
        return
    declared = declare(slot.owner).get(slot.local_name)
    shape = tuple(slot.tensor.shape)
    if slot.local_name == "_flat_param" or (len(shape) == 1 and declared and declared.layout.shape != shape):
        raise UnsupportedParameterError(
            f"{slot.name!r} {shape} is flattened by FullyShardedDataParallel (FSDP1), and which weights it holds is "
            "not known. Initialize before wrapping, within FullyShardedDataParallel.summon_full_params(...), or shard "
            "with fully_shard (FSDP2)."
        )


def _refuse_collisions(groups: Mapping[int, list[Slot]]) -> None:
    owners: dict[str, int] = {}
    for key, group in groups.items():
        for slot in group:
            if owners.setdefault(slot.name, key) != key:
                raise ModelError(
                    f"two different tensors are both called {slot.name!r} once wrapper names are dropped. "
                    "Rename one of the attributes."
                )

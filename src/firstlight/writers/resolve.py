"""From a plan and a live model to what will be written where: every check stands here, before the first write.

``apply_`` writes what this returns; nothing in here changes the model.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import ArgumentError, ParameterError, TransferError, UnsupportedParameterError
from ..fields import Key, key
from ..graphs import Role, Slot, slots
from ..initializers import Initializer, sample
from ..initializers.draws import Built, Draw
from ..initializers.magnitudes import norm_over
from ..plans import Entry, Keep, NormOf, OwnReset, Plan, check_covered
from ..transfers import Loaded
from .materials import refuse_unknowable
from .placements import is_distributed
from .twins import reset_twin

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True)
class Write:
    """One tensor of the model, what it will hold (``None``: it is kept), and the key its values come from."""

    entry: Entry
    tensor: torch.Tensor
    draw: Draw | None
    key: Key


def resolve(model: nn.Module, plan: Plan, seed: int, device: torch.device | None = None) -> tuple[Write, ...]:
    """What ``plan`` means for ``model``, every tensor once.

    Args:
        model: it is only read.
        plan: one decision for each parameter.
        seed: of all draws.
        device: where tensors on the meta device will be made; ``None`` where they are refused.

    Raises:
        ArgumentError: the seed is not a 64-bit count, or an initializer does not fit its parameter.
        UncoveredParameterError: the plan leaves a parameter undecided.
        UnsupportedParameterError: a parameter is complex, quantised, integer, or has no storage.
        ParameterError: the plan was made for another model, or for one with other ties.
        TransferError: weights from a file cannot be read or do not fit.
    """
    seed = checked_seed(seed)
    places: dict[str, Slot] = {}
    for slot in slots(model):
        places.setdefault(slot.name, slot)
    _refuse_unsupported_uncovered(plan, places, device)
    check_covered(plan)
    _check_whole(plan, places)
    _check_ties(plan, places)
    if device is not None:
        drawn = (e.parameter.name for e in plan.entries if not isinstance(e.decision, Keep | None))
        refuse_unknowable(model, [id(places[name].tensor) for name in drawn if name in places])
    site = _Site(places, seed, device)
    given = _own_resets(plan, site)
    given |= _magnitudes(plan, site, given)
    return tuple(_write(entry, site, given) for entry in plan.entries)


@dataclass(frozen=True, slots=True)
class _Site:
    """A model's tensors by name, and what all of a plan's draws share."""

    places: Mapping[str, Slot]
    seed: int
    device: torch.device | None


def checked_seed(seed: int) -> int:
    """``seed`` as an int from 0 to 2⁶⁴ - 1, or ArgumentError."""
    try:
        value = operator.index(seed)
    except TypeError:
        raise ArgumentError(f"seed={seed!r} is no whole number: give one from 0 to 2**64 - 1") from None
    if not 0 <= value < 2**64:
        raise ArgumentError(f"seed={seed} lies outside 0 to 2**64 - 1")
    return value


def _write(entry: Entry, site: _Site, given: Mapping[str, torch.Tensor]) -> Write:
    parameter = entry.parameter
    slot = site.places.get(parameter.name)
    if slot is None or tuple(slot.tensor.shape) != parameter.layout.shape:
        found = "it has no such tensor" if slot is None else f"there it has the shape {tuple(slot.tensor.shape)}"
        raise ParameterError(
            f"the plan for {parameter.name!r} {parameter.layout.shape} was made for another model: {found}. "
            "Make the plan from the model it is applied to."
        )
    target = key(site.seed, parameter.name)
    if isinstance(entry.decision, Keep) or entry.decision is None:
        return Write(entry, slot.tensor, None, target)
    _refuse_unsupported(parameter.name, slot.tensor, site.device, counter=_takes_integers(entry))
    if isinstance(entry.decision, OwnReset | NormOf):
        return Write(entry, slot.tensor, _given(given[parameter.name]), target)
    try:
        draw = entry.decision.draw(parameter.layout)
    except (ArgumentError, TransferError) as error:
        raise type(error)(f"{parameter.name!r} {parameter.layout.shape}: {error}") from error
    return Write(entry, slot.tensor, draw, target)


def _takes_integers(entry: Entry) -> bool:
    """Whether a tensor of whole numbers may be written: a counter, or what was saved beside the weights."""
    return entry.parameter.role is Role.BATCHES_SEEN or isinstance(entry.decision, Loaded)


def _check_whole(plan: Plan, places: Mapping[str, Slot]) -> None:
    """Every parameter exactly once: ParameterError for a plan that lacks some, or has one twice."""
    planned = [entry.parameter.name for entry in plan.entries]
    known = {name for entry in plan.entries for name in entry.parameter.names}
    missing = [name for name, slot in places.items() if not slot.is_buffer and name not in known]
    twice = sorted({name for name in planned if planned.count(name) > 1}) if len(set(planned)) < len(planned) else []
    if missing or twice:
        what = (
            f"lacks {', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}" if missing else f"has {twice[0]} twice"
        )
        raise ParameterError(
            f"the plan {what}: a plan that is applied says what becomes of every parameter once. Apply the whole plan; "
            "fl.Keep() leaves a parameter as it is."
        )


def _check_ties(plan: Plan, places: Mapping[str, Slot]) -> None:
    """What the plan takes for one tensor is one in the model, and what it takes for two are two."""
    planned: dict[int, str] = {}
    for entry in plan.entries:
        name = entry.parameter.name
        found = {id(places[n].tensor): n for n in reversed(entry.parameter.names) if n in places}
        if len(found) > 1:
            other = next(n for n in found.values() if n != name)
            raise ParameterError(
                f"the plan was made when {name!r} and {other!r} were one tensor, and they are two now. Tie them again "
                "(model.tie_weights(), or assign the one parameter to both modules; to_empty() and .to('meta') untie "
                "weights), or make the plan from the model as it is."
            )
        for place in found:
            if planned.setdefault(place, name) != name:
                raise ParameterError(
                    f"the plan decides on {planned[place]!r} and {name!r} apart, and in the model they are one tensor: "
                    "make the plan from the model it is applied to"
                )


def _refuse_unsupported_uncovered(plan: Plan, places: Mapping[str, Slot], device: torch.device | None) -> None:
    """A complex parameter that no rule covers: a rule to draw it, which that error suggests, would not help."""
    for parameter in plan.uncovered:
        if parameter.name in places:
            _refuse_unsupported(parameter.name, places[parameter.name].tensor, device, counter=False)


def _refuse_unsupported(name: str, tensor: torch.Tensor, device: torch.device | None, *, counter: bool) -> None:
    fault = ""
    if tensor.is_quantized:
        fault = "is quantised; initialize the float model, then quantise it"
    elif tensor.is_complex():
        fault = f"is complex ({tensor.dtype}); hold its real and imaginary parts as two real parameters"
    elif tensor.dtype not in _FLOATS and not counter:
        fault = f"has the dtype {tensor.dtype}; initial weights are float16, bfloat16, float32 or float64"
    elif tensor.is_meta and device is None:
        fault = "is on the meta device and has no storage; say where it is to be made, device='cpu', or call to_empty"
    elif tensor.layout is not torch.strided:
        fault = f"has the sparse layout {tensor.layout}; initialize its dense form"
    if fault:
        raise UnsupportedParameterError(
            f"the parameter {name!r} {fault}. To leave it as it is: rules={{{name!r}: fl.Keep()}}"
        )


def _given(values: torch.Tensor) -> Built:
    def build(key: Key, device: torch.device) -> torch.Tensor:  # noqa: ARG001 - already drawn
        return values.to(device)

    return Built(build, mean=None, std=None, random=False)


def _own_resets(plan: Plan, site: _Site) -> dict[str, torch.Tensor]:
    """What the modules' own ``reset_parameters`` give, by parameter name, drawn on copies."""
    values: dict[str, torch.Tensor] = {}
    done: dict[int, nn.Module] = {}
    for entry in plan.entries:
        slot = site.places.get(entry.parameter.name)
        if slot is None or not isinstance(entry.decision, OwnReset):
            continue
        if id(slot.owner) not in done:
            done[id(slot.owner)] = reset_twin(slot, site.seed, site.device)
        drawn = getattr(done[id(slot.owner)], slot.local_name)
        if tuple(drawn.shape) != tuple(slot.tensor.shape):
            raise ParameterError(f"reset_parameters of {slot.module!r} changes the shape of {slot.local_name!r}")
        values[entry.parameter.name] = drawn.detach()
    return values


def _magnitudes(plan: Plan, site: _Site, given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The norms of weight norms' directions, as they will be written: drawn again, from the same key."""
    directions = {entry.parameter.name: entry for entry in plan.entries}
    values: dict[str, torch.Tensor] = {}
    for entry in plan.entries:
        slot = site.places.get(entry.parameter.name)
        if slot is None or not isinstance(entry.decision, NormOf):
            continue
        name = entry.decision.direction
        if name not in directions or name not in site.places:
            raise ParameterError(f"{entry.parameter.name!r} is the norm of {name!r}, which the model does not have")
        direction = _direction(directions[name], site.places[name], site, given)
        values[slot.name] = norm_over(direction, slot.tensor.shape)
    return values


def _direction(entry: Entry, slot: Slot, site: _Site, given: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """All of a direction, also where this process holds a part of it."""
    tensor = slot.tensor
    if isinstance(entry.decision, Initializer):
        where = (site.device if tensor.is_meta else tensor.device) or torch.device("cpu")
        return sample(entry.decision, entry.parameter.layout, site.seed, slot.name, tensor.dtype, where)
    if slot.name in given:
        return given[slot.name]
    if tensor.is_meta:
        raise UnsupportedParameterError(f"{slot.name!r} is kept on the meta device, and its norm is wanted")
    return tensor.detach().full_tensor() if is_distributed(tensor) else tensor.detach()  # type: ignore[attr-defined]

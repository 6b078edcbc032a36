"""Memory for parameters on the meta device, and hanging it into the model once it holds their values.

``apply`` asks first what cannot be made, then makes tensors beside the model, writes them, and installs them at the
end, so that an error leaves the model as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn

from ..errors import ArgumentError, UnsupportedParameterError
from ..graphs import Slot, slots
from ..graphs.names import join
from .placements import is_distributed


def checked_device(device: str | torch.device | None) -> torch.device | None:
    """The device to make memory on, or ArgumentError."""
    if device is None:
        return None
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(f"device={device!r} is no device: {error}") from None
    if found.type == "meta":
        raise ArgumentError("device='meta' has no memory: give the device that the model is to be on")
    return found


def resharded(model: nn.Module) -> None:
    """Hang FSDP2's shards back into their modules: what is written into gathered parameters would be lost."""
    for module in model.modules():
        if any(base.__name__ == "FSDPModule" for base in type(module).__mro__):
            module.reshard()  # type: ignore[operator]


def made(written: Iterable[tuple[str, torch.Tensor]], device: torch.device) -> dict[int, torch.Tensor]:
    """A tensor with memory on ``device`` for each that is on meta, by the old one's id; not yet in the model.

    Raises:
        UnsupportedParameterError: a parameter of a type that only its own library can make.
        ArgumentError: a sharded one whose mesh is on devices of another type.
    """
    fresh: dict[int, torch.Tensor] = {}
    for name, old in written:
        if not old.is_meta or id(old) in fresh:
            continue
        if is_distributed(old):
            kind = old.device_mesh.device_type  # type: ignore[attr-defined]
            if kind != device.type:
                raise ArgumentError(f"device={str(device)!r}: {name!r} is sharded over a mesh of {kind} devices")
        elif type(old) not in (torch.Tensor, nn.Parameter):
            raise UnsupportedParameterError(
                f"{name!r} is a {type(old).__name__} on the meta device, which only its own library can give memory: "
                "call model.to_empty(device=...) first"
            )
        new = torch.empty_like(old.detach(), device=device)
        if isinstance(old, nn.Parameter):
            new = nn.Parameter(new, requires_grad=old.requires_grad)
        new.__dict__.update(old.__dict__)
        fresh[id(old)] = new
    return fresh


def install(model: nn.Module, fresh: Mapping[int, torch.Tensor]) -> None:
    """Put the tensors made in the places of the old ones, a tied one in all of its places."""
    for place in list(slots(model)):
        new = fresh.get(id(place.tensor))
        if new is not None:
            setattr(place.owner, place.local_name, new)


def refuse_unknowable(model: nn.Module, written: Iterable[int]) -> None:
    """Refuse a model with tensors on meta that no plan gives values: they would hold whatever the memory held.

    Args:
        model: as it is, on meta in whole or part.
        written: the ids of the tensors that the plan writes.

    Raises:
        UnsupportedParameterError: naming them, and what to do.
    """
    known = set(written)
    kept: list[str] = []
    others: list[str] = []
    for name, place in _on_meta(model):
        if place is None:
            others.append(name)
        elif id(place.tensor) not in known:
            (others if place.is_buffer else kept).append(name)
    if kept:
        raise UnsupportedParameterError(
            f"{_listed(kept)} on the meta device, and the plan keeps what has no values. "
            f'Give an initializer (rules={{{kept[0]!r}: fl.Zeros()}}; frozen="init" for all that are frozen), or load '
            "them first."
        )
    if others:
        path, _, local = others[0].rpartition(".")
        raise UnsupportedParameterError(
            f"{_listed(others)} on the meta device and no parameters: what a module computed when it was built "
            "(rotary frequencies, masks) cannot be drawn, and memory alone would be garbage. Build those modules again "
            f"outside of torch.device('meta') and put them in place, or set the values before: "
            f"model.get_submodule({path!r}).{local} = values."
        )


def _on_meta(model: nn.Module) -> Iterator[tuple[str, Slot | None]]:
    """Every tensor on meta by name, once: registered ones with their slot, then plain attributes of modules."""
    seen: set[int] = set()
    for place in slots(model):
        if place.tensor.is_meta and id(place.tensor) not in seen:
            seen.add(id(place.tensor))
            yield place.name, place
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor) and value.is_meta and id(value) not in seen:
                yield join(path, name), None


def _listed(names: list[str]) -> str:
    some = ", ".join(repr(n) for n in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{some}{more} {'is' if len(names) == 1 else 'are'}"

"""Which module runs: hooks on the recorder's copy keep the path, and what the deepest module was given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from .axes import type_names
from .known import tensors_in
from .names import canonical_child, join


@dataclass(frozen=True, slots=True)
class Place:
    """A module: its canonical path, its class and bases, and whether the user has it in training mode."""

    path: str
    types: tuple[str, ...]
    training: bool


class Paths:
    """Where the forward of ``twin``, a copy of ``model``, is."""

    def __init__(self, twin: nn.Module, model: nn.Module) -> None:
        """At the model itself."""
        self._places: dict[int, Place] = {}
        self._top = Place("", type_names(model), model.training)
        self._stack: list[tuple[int, Place, object]] = []
        self._twin = twin
        self._walk(twin, model, "")

    def _walk(self, twin: nn.Module, model: nn.Module, path: str) -> None:
        if id(twin) in self._places:
            return
        self._places[id(twin)] = Place(path, type_names(model), model.training)
        for (name, child), own in zip(twin._modules.items(), model._modules.values(), strict=True):
            if child is not None and own is not None:
                self._walk(child, own, join(path, canonical_child(model, name)))

    @property
    def here(self) -> Place:
        """The deepest module that is running."""
        return self._stack[-1][1] if self._stack else self._top

    def deepest(self) -> tuple[str, str, str, str]:
        """The deepest module's path and class, what it was given, and its own parameters, in words."""
        if not self._stack:
            return "", self._top.types[0] if self._top.types else "", "no tensors", ""
        module, place, given = self._stack[-1]
        held = next((m._parameters for m in self._twin.modules() if id(m) == module), {})
        own = "".join(f", {n} {tuple(p.shape)}" for n, p in held.items() if p is not None)
        shown = ", ".join(f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in tensors_in(given))
        return place.path, place.types[0] if place.types else "", shown or "no tensors", own

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow the copy's modules while this lasts; observers that the user hung on them do not run."""
        handles = []
        for module in self._twin.modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            for key, hook in list(module._forward_hooks.items()):
                if not getattr(hook, "__module__", type(hook).__module__).startswith("torch."):
                    del module._forward_hooks[key]
            handles.append(module.register_forward_pre_hook(self._enter, prepend=True, with_kwargs=True))
            handles.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        place = self._places.get(id(module), Place(self.here.path, type_names(module), module.training))
        self._stack.append((id(module), place, (args, kwargs)))

    def _leave(self, module: nn.Module, args: object, out: object) -> None:
        # What raised below, and was caught by the model, left its own places behind.
        while self._stack and self._stack.pop()[0] != id(module):
            pass

"""Which module of the user's model runs: global hooks keep the path, so that nothing is hung on the model itself."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from ..graphs.known import tensors_in
from ..graphs.names import canonical_child, join


@dataclass(slots=True)
class Visit:
    """A module that is running: its canonical path, its class, what it was given, and how often it called what."""

    module: nn.Module | None
    path: str
    kind: str
    given: object = None
    calls: Counter[str] = field(default_factory=Counter)
    seen: int = 0


Leaving = Callable[[Visit, nn.Module, object], None]


class Follower:
    """Where the forward of a model is."""

    def __init__(self, model: nn.Module) -> None:
        """At the model itself."""
        self._paths: dict[int, str] = {}
        self._model = model
        self._top = Visit(None, "", type(model).__name__)
        self._stack: list[Visit] = []
        self._thread = threading.get_ident()
        self._walk(model, "")

    def _walk(self, module: nn.Module, path: str) -> None:
        if id(module) in self._paths:
            return
        self._paths[id(module)] = path
        for name, child in module._modules.items():
            if child is not None:
                self._walk(child, join(path, canonical_child(module, name)))

    @property
    def here(self) -> Visit:
        """The deepest module that is running."""
        return self._stack[-1] if self._stack else self._top

    def restart(self) -> None:
        """Before another forward of the same model."""
        self._stack.clear()
        self._top = Visit(None, "", type(self._model).__name__)

    def deepest(self) -> str:
        """The deepest module, what it was given and the shapes of its own parameters, in words."""
        visit = self.here
        held = {} if visit.module is None else visit.module._parameters
        own = "".join(f", {n} {tuple(p.shape)}" for n, p in held.items() if p is not None)
        where = f"the module {visit.path!r} ({visit.kind}{own})" if visit.path else f"{visit.kind}{own}"
        shown = ", ".join(f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in tensors_in(visit.given))
        return f"{where}, which was given {shown or 'no tensors'}"

    @contextmanager
    def followed(self, leaving: Leaving | None = None) -> Iterator[None]:
        """Follow the model's modules in this thread while this lasts; ``leaving`` is told of each that returns."""

        def enter(module: nn.Module, args: object) -> None:
            if id(module) in self._paths and threading.get_ident() == self._thread:
                self._stack.append(Visit(module, self._paths[id(module)], type(module).__name__, args))

        def leave(module: nn.Module, _args: object, out: object) -> None:
            if id(module) not in self._paths or threading.get_ident() != self._thread:
                return
            # What raised below, and was caught by the model, left its own visits behind.
            while self._stack:
                visit = self._stack.pop()
                if visit.module is module:
                    self.here.seen += visit.seen
                    if leaving is not None:
                        leaving(visit, module, out)
                    return

        handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def first_tensor(out: object) -> torch.Tensor | None:
    """The first tensor of floating point numbers in what a call or a module gave."""
    return next((t for t in tensors_in(out) if t.is_floating_point()), None)

"""The writer of the tape: turns calls on fake tensors into nodes, and tensors into what made them.

``recorder`` hands in every call; a tensor is known by its identity, and by its storage once something was written into
it in place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from .fakes import Fakes
from .guesses import QUESTIONS, REFUSED, NoGuessError, by_shape, guess, is_data_dependent, reshared, with_numbers
from .known import LARGEST, UNKNOWN, Known, tensors_in
from .ops import words
from .paths import Paths
from .repeats import Repeats
from .tape import CONSTANT, INPUT, PARAMETER, Flow, Node, Ref, Tape

# They read a tensor's form and none of its values.
_BY_FORM = words("zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty rand_like randn_like")
# Their running statistics are no value of the forward's.
_KEEPS_STATISTICS = words("batch_norm instance_norm")
_LEAVES = (int, float, str, type(None), torch.dtype, torch.device)
Arguments = tuple[tuple[object, ...], dict[str, object]]


class Writer:
    """Nodes as they come."""

    def __init__(self, fakes: Fakes, paths: Paths) -> None:
        """An empty tape."""
        self.paths = paths
        self.inside = False
        self._fakes = fakes
        self._nodes: list[Node] = []
        self._places: dict[int, tuple[int, int]] = {}
        self._aliases: dict[int, torch.Tensor] = {}
        self._alive: list[torch.Tensor] = []  # so that no id is used twice
        self._owners: dict[int, int] = {}
        self._writes: dict[int, list[int]] = defaultdict(list)
        self._written: set[int] = set()
        self._known = Known()
        self._repeats = Repeats(fakes)
        self._guesses: list[str] = []

    def tape(self, outputs: list[torch.Tensor]) -> Tape:
        """What was written, with the model's outputs."""
        return Tape(tuple(self._nodes), tuple(map(self._ref, outputs)), tuple(self._guesses))

    def put_source(self, op: str, fake: torch.Tensor, name: str = "", real: torch.Tensor | None = None) -> None:
        """A tensor that no call made."""
        flow = {PARAMETER: Flow.WEIGHTS, INPUT: Flow.DATA}.get(op, Flow.FIXED)
        stray = op == CONSTANT and isinstance(fake, torch.nn.Parameter) and fake.requires_grad
        node = Node(
            len(self._nodes), op, flow, (tuple(fake.shape),), (fake.dtype,), name=name, value=real, parameter=stray
        )
        self._nodes.append(node)
        self._bind(fake, node.id, 0)
        if real is not None and op != PARAMETER:
            self._known.put(node.id, 0, real.detach())

    def name_strays(self, named: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Give trainable parameters that no module holds the names by which the model's attributes reach them."""
        for name, tensor in named if any(n.parameter for n in self._nodes) else ():
            place = self._places.get(id(tensor))
            if place is not None and self._nodes[place[0]].parameter:
                self._nodes[place[0]] = replace(self._nodes[place[0]], name=name)

    def put_alias(self, real: torch.Tensor, fake: torch.Tensor) -> None:
        """The user's own tensor, which a function that a module holds may read: the call is given the fake."""
        self._aliases[id(real)] = fake

    def note_writes(self, func: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Remember which storages an operator writes into, as its schema says."""
        schema = func._schema  # type: ignore[attr-defined]
        if not schema.is_mutable:
            return
        for i, argument in enumerate(schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[i] if i < len(args) else kwargs.get(argument.name)
                self._written |= {s for t in tensors_in(given) if (s := _storage(t)) is not None}

    def call(
        self, func: Callable[..., object], name: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        """Run a call and write it down, if it made or changed a tensor."""
        self.inside, self._written = True, set()
        if any(id(t) in self._aliases for t in tensors_in((args, kwargs))):
            args, kwargs = pytree.tree_map_only(torch.Tensor, self._own, (args, kwargs))
        try:
            read: Arguments = _with_refs((args, kwargs), self._ref)
            out, guessed = self._run(func, name, args, kwargs, read)
            made = tensors_in(out)
            changed = self._changed(name, args, kwargs)
            if made or changed:
                self._put_call(func, name, read, made or changed[:1], changed, guessed)
        finally:
            self.inside = False
        return out

    def _own(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._aliases.get(id(tensor), tensor)

    def _put_call(
        self,
        func: Callable[..., object],
        name: str,
        read: Arguments,
        made: list[torch.Tensor],
        changed: list[torch.Tensor],
        guessed: str,
    ) -> None:
        place, here = len(self._nodes), self.paths.here
        by_form = name in _BY_FORM
        flow = Flow.FIXED if by_form else self._flow(read)
        values = self._values(func, name, read, made, flow)
        for i, value in enumerate(values):
            self._known.put(place, i, value)
        self._nodes.append(
            Node(
                id=place,
                op=CONSTANT if by_form else name,
                flow=flow,
                shapes=tuple(tuple(t.shape) for t in made),
                dtypes=tuple(t.dtype for t in made),
                args=() if by_form else read[0],
                kwargs=MappingProxyType({} if by_form else read[1]),
                function=None if by_form else func,
                module=here.path,
                module_types=here.types,
                value=values[0] if values else None,
                training=here.training,
                guess=guessed,
            )
        )
        for i, tensor in enumerate(made):
            self._bind(tensor, place, i)
        for tensor in changed:
            storage = _storage(tensor)
            if storage is not None and place not in self._writes[storage]:
                self._writes[storage].append(place)
            self._bind(tensor, place, 0)

    def _flow(self, read: Arguments) -> Flow:
        flows = {self._nodes[n].flow for ref in _refs(read) for n in ref.nodes}
        return next((f for f in (Flow.DATA, Flow.WEIGHTS) if f in flows), Flow.FIXED)

    def _values(
        self, func: Callable[..., object], name: str, read: Arguments, made: list[torch.Tensor], flow: Flow
    ) -> list[torch.Tensor]:
        """The outputs' real values, where they follow from numbers that are known."""
        counts = not any(t.is_floating_point() or t.is_complex() for t in made)
        if sum(t.numel() for t in made) > LARGEST or not (flow is Flow.FIXED or (flow is Flow.DATA and counts)):
            return []
        if name in _BY_FORM:
            with _disable_current_modes():
                read = pytree.tree_map_only(Ref, self._blank, read)
        real = tensors_in(self._known.run(func, name, *read))
        if any(isinstance(t, FakeTensor) for t in real):  # a scripted function keeps the mode it was traced in
            return []
        return real if [t.shape for t in real] == [t.shape for t in made] else []

    def _run(
        self,
        func: Callable[..., object],
        name: str,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        read: Arguments,
    ) -> tuple[object, str]:
        """What the call gives, and what had to be guessed for it."""
        key = self._repeats.key(func, name, args, kwargs)
        again = None if key is None else self._repeats.get(key)
        if again is not None:
            return again, ""
        try:
            if name in REFUSED:
                return by_shape(func, name, args, kwargs), ""
            out = func(*args, **kwargs)
            if key is not None and not self._written:
                self._repeats.put(key, out, tensors_in((args, kwargs)))
            return out, ""
        except Exception as error:
            known = self._known.run(func, name, *read)
            if known is not UNKNOWN:
                return self._fakes.arguments(known), ""
            try:
                return self._past(func, name, args, kwargs, error)
            except NoGuessError:
                raise error from None

    def _past(
        self,
        func: Callable[..., object],
        name: str,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        error: Exception,
    ) -> tuple[object, str]:
        """Past a call that fake tensors cannot answer, with a note of what was guessed."""
        if is_data_dependent(error) and name in QUESTIONS:
            return guess(name, args, kwargs), self._noted(f"{name}: guessed at a value that depends on data")
        shared = reshared(name, args, kwargs) if self._guesses else None
        if shared is not None:
            return func(*shared, **kwargs), self._noted(f"{name}: took equal parts for sizes that depend on data")
        asked: list[str] = []

        def number(tensor: torch.Tensor) -> int:
            value = self._known.get(self._ref(tensor))
            if value is None:
                asked.append(f"{name}: took 1 for a number that depends on data")
            return 1 if value is None else int(value)

        changed = with_numbers(args, kwargs, number)
        if changed is not None:
            return func(*changed[0], **changed[1]), self._noted(asked[0]) if asked else ""
        if is_data_dependent(error):
            return guess(name, args, kwargs), self._noted(f"{name}: guessed at a value that depends on data")
        return by_shape(func, name, args, kwargs), ""

    def _noted(self, what: str) -> str:
        where = self.paths.here.path
        self._guesses.append(f"{what}, in {where!r}" if where else what)
        return what

    def _blank(self, ref: Ref) -> torch.Tensor:
        dtypes = self._nodes[ref.node].dtypes
        return torch.zeros(ref.shape, dtype=dtypes[min(ref.output, len(dtypes) - 1)])

    def _changed(self, name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> list[torch.Tensor]:
        """The arguments that the call wrote into."""
        if not self._written or name in _KEEPS_STATISTICS:
            return []
        found = [t for t in tensors_in((args, kwargs)) if _storage(t) in self._written]
        return found[:1] if name == "setitem" else found

    def _ref(self, tensor: torch.Tensor) -> Ref:
        """What made a tensor's value: the call that made it, or what was written into its storage since."""
        storage = _storage(tensor)
        place = self._places.get(id(tensor))
        if place is None and storage in self._owners:
            place = (self._owners[storage], 0)  # an alias that was made out of sight
        if place is None:
            self.put_source(CONSTANT, tensor, "", tensor if type(tensor) is torch.Tensor else None)
            place = self._places[id(tensor)]
        since = [w for w in self._writes.get(storage, ()) if w > place[0]] if storage is not None else []
        shape = tuple(tensor.shape)
        if not since:
            return Ref(place[0], place[1], shape)
        return Ref(since[-1], 0, shape, (*since[-2::-1], place[0]))

    def _bind(self, tensor: torch.Tensor, node: int, output: int) -> None:
        self._places[id(tensor)] = (node, output)
        self._alive.append(tensor)
        storage = _storage(tensor)
        if storage is not None:
            self._owners.setdefault(storage, node)


def _with_refs(value: Any, ref: Callable[[torch.Tensor], Ref]) -> Any:
    """Nested arguments with a ref for every tensor, as pytree does it, which takes several times as long."""
    if isinstance(value, torch.Tensor):
        return ref(value)
    if type(value) is tuple or type(value) is list:
        return type(value)([_with_refs(part, ref) for part in value])
    if type(value) is dict:
        return {key: _with_refs(part, ref) for key, part in value.items()}
    return value if isinstance(value, _LEAVES) else pytree.tree_map_only(torch.Tensor, ref, value)


def _refs(read: object) -> list[Ref]:
    if isinstance(read, Ref):
        return [read]
    if type(read) is tuple or type(read) is list:
        return [ref for part in read for ref in _refs(part)]
    if type(read) is dict:
        return [ref for part in read.values() for ref in _refs(part)]
    if isinstance(read, _LEAVES):
        return []
    return [leaf for leaf in pytree.tree_leaves(read, is_leaf=lambda x: isinstance(x, Ref)) if isinstance(leaf, Ref)]


def _storage(tensor: torch.Tensor) -> int | None:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):
        return None

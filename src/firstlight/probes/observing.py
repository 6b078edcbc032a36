"""One forward of the real model, watched call by call: large tensors are looked at while they are there, none is kept.

A function mode sees every call of a torch function. What comes from the inputs, what from weights, how many weight
calls lie behind a value and which axis holds its units is carried along with the tensors. ``measuring`` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from ..graphs.callnames import call_name
from ..graphs.known import tensors_in
from ..graphs.names import join
from ..graphs.ops import (
    ATTENTION,
    CONVS,
    EMBEDDINGS,
    FORM,
    MATMULS,
    SUMS,
    TRANSPOSED_CONVS,
    WEIGHT_CALLS,
    words,
)
from ..graphs.structure import slots
from .attentions import attention_focus
from .following import Follower, Visit, first_tensor
from .kinds import kind_by_name
from .losses import LOSSES, LossCall, read_loss
from .parts import Backward, Forward, Kind
from .shards import Shard, put_together, shard_of
from .statistics import (
    Form,
    Limits,
    backward_statistics,
    focus,
    form_of,
    forward_statistics,
    looked,
    looked_back,
    part,
)
from .together import Together

_CHANNELS_FIRST = CONVS | TRANSPOSED_CONVS | words("batch_norm group_norm instance_norm local_response_norm")
_UNITS_LAST = words("linear layer_norm rms_norm scaled_dot_product_attention lstm gru rnn_tanh rnn_relu") | (
    MATMULS | EMBEDDINGS
)
_HANDS = 6  # through which a value may go out of sight: an input that is cut, handed through by FSDP2, gathered
_MHA = "multi_head_attention_forward"


@dataclass(frozen=True, slots=True)
class Trail:
    """What is known of a tensor: whether inputs are in it, which parameters alone made it, its depth, its call."""

    data: bool
    weights: tuple[str, ...] = ()
    depth: int = 0
    unit: int = -1
    op: str = ""
    shard: Shard | None = None  # of a value of which tensor parallelism gives this process a part


@dataclass(slots=True)
class Seen:
    """A place as it was observed; the gradient comes later."""

    module: str
    module_type: str
    op: str
    kind: Kind
    parameters: tuple[str, ...]
    depth: int
    shape: tuple[int, ...]
    dtype: str
    occurrence: int
    forward: Forward | None = None
    entropy: float | None = None
    logits: float | None = None
    backward: Backward | None = None
    calls: int = 1
    hooked: bool = False
    latest: tuple[torch.Tensor, int, Shard | None] | None = None  # of a repeated call: the last value, its units' axis
    last_forward: Forward | None = None
    last_backward: Backward | None = None
    returned: bool = False  # of a repeated call: whether a gradient has come to one of the later values
    ends: dict[str, torch.Tensor] = field(default_factory=dict)  # of a sharded model, by record: −min, max of each unit


@dataclass(slots=True)
class Observed:
    """What one forward showed."""

    places: list[Seen] = field(default_factory=list)
    losses: list[LossCall] = field(default_factory=list)


class Observer(TorchFunctionMode):
    """Watches the calls of a model on ``batch`` samples; entered for the forward, and again for the backward pass."""

    def __init__(
        self, model: nn.Module, follower: Follower, batch: int, limits: Limits, *, sharded: bool = False
    ) -> None:
        """Nothing seen yet; of a ``sharded`` model each unit's range is kept, to be held against other processes'."""
        super().__init__()
        self._sharded = sharded
        self._nodes: dict[object, Trail] = {}  # of a sharded model, by the node of autograd's graph
        self.found = Observed()
        self.again = False  # in the backward pass: what runs then was seen before
        self.hidden = False  # whether a weight ran with gradients off
        self._follower = follower
        self._batch, self._limits = batch, limits
        self._forward, self._backward = Together(forward_statistics), Together(backward_statistics)
        self._trails: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._names: dict[Callable[..., object], str] = {}
        self._keys: dict[tuple[str, str, int], Seen] = {}
        self._deepest = 0
        self._own = False
        self._given: frozenset[int] = frozenset()  # where the model's outputs lie
        names: dict[int, str] = {}
        held = list(slots(model))
        for slot in held:
            if not slot.is_buffer:
                known = names.get(id(slot.tensor))
                names[id(slot.tensor)] = slot.name if known is None else min(known, slot.name)
            else:
                self._trails[slot.tensor] = Trail(False)
        self._parameters = names
        plain = (s for s in held if not s.is_buffer and type(s.tensor) is nn.Parameter)
        self._stored = {key: names[id(s.tensor)] for s in plain if (key := _address(s.tensor))}
        self._aliases = {s.name: names[id(s.tensor)] for s in held if not s.is_buffer}

    def put_inputs(self, inputs: object) -> None:
        """The model's inputs: what is made of them is data."""
        for i, tensor in enumerate(tensors_in(inputs)):
            self._trails[tensor] = Trail(True, unit=1 if tensor.dim() >= 4 else -1)
            if tensor.is_floating_point():
                self._place(f"input {i}", Kind.INPUT, (), 0, tensor, i, tensor, unit=1 if tensor.dim() >= 4 else -1)

    def put_output(self, out: object) -> None:
        """What the model gave."""
        tensor = first_tensor(out)
        self._given = frozenset(t.data_ptr() for t in tensors_in(out) if t.layout is torch.strided)
        if tensor is not None:
            trail = self._trail(tensor)
            self._follower.restart()
            self._add_latest()
            self._place("output", Kind.OUTPUT, (), trail.depth, tensor, 0, tensor, unit=trail.unit, shard=trail.shard)

    def settle(self) -> None:
        """Look at what still waits, once no more can come."""
        with self.aside(), torch._C.DisableTorchFunction():
            self._forward.settle()
            self._backward.settle()
        for seen in self.found.places:
            if seen.forward is not None and seen.entropy is not None:
                seen.forward = replace(seen.forward, entropy=seen.entropy, logits=seen.logits)

    def left(self, visit: Visit, module: nn.Module, out: object) -> None:
        """A module returned: one that hides its calls (scripted, a kernel of its own) is a place itself."""
        opaque = not visit.calls and not visit.seen and any(True for _ in module.parameters())
        tensor = first_tensor(out) if opaque else None
        if tensor is None or self.again:
            return
        names = tuple(sorted({self._parameters[id(p)] for p in module.parameters() if id(p) in self._parameters}))
        self._deepest += 1
        self._trails[tensor] = Trail(True, depth=self._deepest, unit=1 if tensor.dim() >= 4 else -1)
        here = Visit(module, visit.path, visit.kind)
        self._place(type(module).__name__, Kind.WEIGHT, names, self._deepest, tensor, 0, tensor, here=here)

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        name = self._names.get(func)
        if name is None:
            name = self._names.setdefault(func, call_name(func))
        if name in FORM or self._own:
            return func(*args, **(kwargs or {}))
        return self._call(func, name, args, kwargs or {})

    def _call(
        self, func: Callable[..., object], op: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        here = self._follower.here
        occurrence = here.calls[op]
        here.calls[op] += 1
        here.seen += 1
        read = tensors_in((args, kwargs))
        trails = [self._trail(t) for t in read]
        if op in LOSSES and not self.again:
            self.found.losses.append(read_loss(op, args, kwargs, self._given))
        out = func(*args, **kwargs)
        made = tensors_in(out)
        if op in LOSSES and not self.again and made and made[0].numel() == 1:
            self.found.losses[-1] = replace(self.found.losses[-1], gave=float(made[0].detach()))
        if not made or not read:
            return out
        trail = self._joined(op, args, read, trails, made[0])
        for tensor in made:
            self._trails[tensor] = trail
            if self._sharded and tensor.grad_fn is not None:
                self._nodes[tensor.grad_fn] = trail
        if trail.data and made[0].is_floating_point():
            kind = self._kind(op, read, trails)
            if kind is not None:
                self.hidden |= kind is Kind.WEIGHT and not torch.is_grad_enabled()
                self._observe(op, kind, occurrence, read, trails, trail, args, kwargs, made[0])
        return out

    def _trail(self, tensor: torch.Tensor) -> Trail:
        if self._sharded and isinstance(tensor, nn.Parameter) and self._gathered(tensor):
            return Trail(False, self._gathered(tensor))  # whatever made it of shards
        found = self._trails.get(tensor)  # type: ignore[no-untyped-call]
        if found is not None and (found.data or found.weights or tensor.grad_fn is None):
            return found  # type: ignore[no-any-return]
        name = self._parameters.get(id(tensor))
        if name is not None:
            return Trail(False, (name,))
        if isinstance(tensor, nn.Parameter):
            return Trail(False, self._gathered(tensor))
        if tensor.grad_fn is not None or self.again or hasattr(tensor, "full_tensor"):
            return replace(self._behind(tensor), shard=shard_of(tensor))  # made out of sight, or distributed there
        shared = self._stored.get(_address(tensor))
        return Trail(False, () if shared is None else (shared,))  # parameter.data, and views of it

    def _behind(self, tensor: torch.Tensor) -> Trail:
        """What is known of the value that another one was made of out of sight: gathered, cut, or handed through."""
        node, nth = tensor.grad_fn, tensor.output_nr
        for _ in range(_HANDS):
            known = self._nodes.get(node)
            if known is not None and known.data:
                return known
            following = () if node is None else node.next_functions
            if not following:
                break
            node, nth = following[min(nth, len(following) - 1)]
        return Trail(True, depth=self._deepest)

    def _gathered(self, tensor: torch.Tensor) -> tuple[str, ...]:
        """The name of a parameter that stands in a shard's place while its module runs."""
        visit = self._follower.here
        held = {} if visit.module is None else visit.module._parameters
        return tuple(self._aliases.get(n, n) for n in (join(visit.path, k) for k, p in held.items() if p is tensor))

    def _joined(
        self, op: str, args: tuple[object, ...], read: list[torch.Tensor], trails: list[Trail], out: torch.Tensor
    ) -> Trail:
        data = [t for t in trails if t.data]
        names = tuple(dict.fromkeys(n for t in trails if not t.data for n in t.weights))
        if not data:
            return Trail(False, names, op=op)
        depth = max(t.depth for t in data) + (op in WEIGHT_CALLS and bool(names))
        self._deepest = max(self._deepest, depth)
        parts = ((r, t.shard) for r, t in zip(read, trails, strict=True) if t.shard is not None)
        shard = next((s for r, s in parts if r.shape == out.shape and not hasattr(out, "full_tensor")), None)
        return Trail(True, (), depth, _unit(op, args, read, trails, out), op, shard)

    def _kind(self, op: str, read: list[torch.Tensor], trails: list[Trail]) -> Kind | None:
        if op in WEIGHT_CALLS and any(t.weights for t in trails if not t.data):
            return Kind.WEIGHT
        named = kind_by_name(op)
        if named is not None:
            return named
        if _divides_by_spread(op, read, trails):
            return Kind.NORM
        if op in SUMS and len(read) == 2 and read[0].shape == read[1].shape and read[0].dim() > 1:
            a, b = trails
            return Kind.JOIN if a.data and b.data and a.depth != b.depth else None
        return None

    def _observe(
        self,
        op: str,
        kind: Kind,
        occurrence: int,
        read: list[torch.Tensor],
        trails: list[Trail],
        trail: Trail,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        out: torch.Tensor,
    ) -> None:
        pairs = [(t, n) for t, tr in zip(read, trails, strict=True) if not tr.data for n in tr.weights]
        names = tuple(dict.fromkeys(n for _, n in sorted(pairs, key=lambda p: -p[0].dim())))
        unit, shard = trail.unit, trail.shard
        seen = self._place(op, kind, names, trail.depth, out, occurrence, out, unit=unit, shard=shard)
        if seen is None:
            return
        if kind is Kind.SOFTMAX:
            axis = kwargs.get("dim", args[1] if len(args) > 1 else -1)
            axis = axis if isinstance(axis, int) else -1
            with self.aside():
                logs = out.detach() if op == "log_softmax" else read[0].detach().log_softmax(axis)
                seen.entropy, seen.logits = focus(logs, axis)
        elif op in ATTENTION or op == _MHA:
            with self.aside():
                seen.entropy, seen.logits = attention_focus(op, args, kwargs)

    def _place(
        self,
        op: str,
        kind: Kind,
        names: tuple[str, ...],
        depth: int,
        value: torch.Tensor,
        occurrence: int,
        hooked: torch.Tensor,
        *,
        unit: int = -1,
        shard: Shard | None = None,
        here: Visit | None = None,
    ) -> Seen | None:
        """Write a place down, unless it was met before; the place only where it is new."""
        visit = here or self._follower.here
        key = (visit.path, op, occurrence)
        known = self._keys.get(key)
        if known is not None:
            if not self.again:
                known.calls += 1
                self._repeated(known, value, unit, shard)
            elif not known.hooked:
                self._hook(known, hooked, self._form(hooked, unit), shard)
            return None
        if self.again:
            return None
        form, dtype = self._form(value, unit), str(value.dtype).removeprefix("torch.")
        shape = tuple(value.shape if shard is None else shard.shape)
        seen = Seen(visit.path, visit.kind, op, kind, names, depth, shape, dtype, occurrence)
        self._add_value(seen, "forward", value, form, shard)
        self._keys[key] = seen
        self.found.places.append(seen)
        self._hook(seen, hooked, form, shard)
        return seen

    def _form(self, value: torch.Tensor, unit: int) -> Form:
        return form_of(tuple(value.shape), self._batch, unit)

    def _repeated(self, seen: Seen, value: torch.Tensor, unit: int, shard: Shard | None) -> None:
        """Keep the latest value of a call that runs again; the first gradient to arrive is that to the last of them."""
        seen.latest = (value.detach(), unit, shard)
        if not value.requires_grad:
            return
        form = self._form(value, unit)

        def arrived(gradient: torch.Tensor | None) -> None:
            if gradient is not None and not seen.returned:
                seen.returned = True
                self._add_gradient(gradient, form, partial(setattr, seen, "last_backward"), shard)

        value.register_hook(arrived)  # type: ignore[no-untyped-call]

    def _add_latest(self) -> None:
        """The last value of every repeated call, once no more can come."""
        for seen in self.found.places:
            if seen.latest is not None:
                value, unit, shard = seen.latest
                self._add_value(seen, "last_forward", value, self._form(value, unit), shard)
                seen.latest = None

    def _add_value(self, seen: Seen, record: str, value: torch.Tensor, form: Form, shard: Shard | None) -> None:
        with self.aside():
            value = put_together(value, shard)
            x = part(value, form, self._batch, self._limits)
            self._forward.add(x, looked(value, x, seen.op), partial(setattr, seen, record))
            if self._sharded and x.numel():
                low, high = x.detach().nan_to_num(0.0, 0.0, 0.0).flatten(0, -2).aminmax(dim=0)
                seen.ends[record] = torch.cat([-low, high])

    def _add_gradient(
        self, gradient: torch.Tensor, form: Form, put: Callable[[Backward], None], shard: Shard | None
    ) -> None:
        # A gradient comes while the mode watches: of a plain one its calls need not pass here to be let through.
        unseen = torch._C.DisableTorchFunction() if type(gradient) is torch.Tensor else nullcontext()
        with self.aside(), unseen:
            gradient = put_together(gradient, shard)
            x = part(gradient, form, self._batch, self._limits)
            self._backward.add(x, looked_back(gradient, x), put)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The calls made here are the probe's own."""
        before, self._own = self._own, True
        try:
            with torch.no_grad():
                if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
                    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
                        yield
                else:
                    yield
        finally:
            self._own = before

    def _hook(self, seen: Seen, tensor: torch.Tensor, form: Form, shard: Shard | None) -> None:
        """Take the gradient's statistics when it comes; an input's own gradient is not asked for."""
        if not tensor.requires_grad or seen.kind is Kind.INPUT:
            return
        seen.hooked = True

        def arrived(gradient: torch.Tensor | None) -> None:
            if gradient is not None:  # a function of the user's own may give none
                self._add_gradient(gradient, form, partial(setattr, seen, "backward"), shard)

        tensor.register_hook(arrived)  # type: ignore[no-untyped-call]


def _address(tensor: torch.Tensor) -> int:
    """Where a tensor's storage lies; 0 for one that has none."""
    plain = type(tensor) in (torch.Tensor, nn.Parameter) and tensor.layout is torch.strided
    return tensor.untyped_storage().data_ptr() if plain else 0


def _unit(op: str, args: tuple[object, ...], read: list[torch.Tensor], trails: list[Trail], out: torch.Tensor) -> int:
    """Which axis of an output holds its units."""
    rank = out.dim()
    if op in _CHANNELS_FIRST:
        return max(rank - len(_spatial(op, rank)) - 1, 0)
    if op in _UNITS_LAST or rank < 3:
        return -1
    source, before = next((r, t) for r, t in zip(read, trails, strict=True) if t.data)
    unit = before.unit % source.dim() if source.dim() else 0
    if op == "permute":
        order = args[1] if len(args) == 2 and isinstance(args[1], list | tuple) else args[1:]
        found = [i for i, a in enumerate(order) if isinstance(a, int) and a % rank == unit]
        return found[0] if found else -1
    if op in ("transpose", "swapaxes", "swapdims") and len(args) == 3:
        a, b = (x % rank if isinstance(x, int) else -1 for x in args[1:])
        return b if unit == a else a if unit == b else unit
    if source.dim() == rank:
        return unit
    return 1 if rank >= 4 and before.unit == 1 else -1


def _divides_by_spread(op: str, read: list[torch.Tensor], trails: list[Trail]) -> bool:
    """Whether a call ends a norm that is written out: x · rsqrt(mean x² + ε), or x / sqrt(…)."""
    if op not in _LAST_OF_NORM or len(read) != 2 or not all(t.data for t in trails):
        return False
    ends = _LAST_OF_NORM[op]
    pairs = [(1, 0)] if op == "div" else [(1, 0), (0, 1)]
    return any(trails[i].op in ends and read[i].shape[-1:] == (1,) and read[j].shape[-1] > 1 for i, j in pairs)


_LAST_OF_NORM = {"mul": ("rsqrt", "reciprocal"), "div": ("sqrt", "std", "norm")}


def _spatial(op: str, rank: int) -> range:
    """The spatial axes: as many as a convolution's name says; behind a norm, all after the channels."""
    if op[-2:] in ("1d", "2d", "3d"):
        return range(int(op[-2]))
    return range(max(rank - 2, 0))

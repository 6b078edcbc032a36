"""What each parameter holds and which gradient reaches it; which units, blocks and tensors are copies of another.

``measuring`` hands in one parameter after the other with its gradient.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from ..graphs import Graph, Parameter, Status, slots
from .packaged import packaged
from .parts import Weight
from .shards import put_together
from .sums import finite, second_moments, shares_of_zeros
from .together import Together
from .updates import Updates

_CLOSE = 1e-5
_SOME = 64  # so many values of a draw differ, also in bfloat16


def weigh(
    model: nn.Module,
    graph: Graph,
    gradients: Mapping[int, torch.Tensor | None] | None,
    updates: Updates | None,
) -> tuple[Weight, ...]:
    """The records of all parameters.

    Args:
        model: as it stands.
        graph: of it, traced or from its modules alone.
        gradients: by the parameter's id, ``None`` for one that no gradient reaches; ``None`` without a backward pass.
        updates: of the optimizer, if one was given.
    """
    live = {s.name: s.tensor for s in slots(model) if not s.is_buffer}
    with torch.no_grad():
        found = _looked_at([(p, live[p.name]) for p in graph.parameters], gradients or {})
        copies, installed = _Copies(), packaged(model)
        return tuple(
            _weigh(t, gradients is not None, graph.tape is not None, updates, copies, installed) for t in found
        )


@dataclass(frozen=True, slots=True)
class _Moments:
    """Of one tensor, over what is finite.

    Args:
        mean_abs: of a gradient alone; ``alike`` of a value alone: whether two of its units may be equal.
        constant: whether all values are the same; ``lost`` how many are not finite.
    """

    mean: float = 0.0
    second: float = 0.0
    mean_abs: float | None = None
    low: float = 0.0
    high: float = 0.0
    zeros: float = 0.0
    lost: int = 0
    constant: bool = False
    alike: bool = False


@dataclass(slots=True)
class _Tensor:
    """A parameter and its gradient as they stand, the shape and dtype of its values as one, and the moments of both."""

    parameter: Parameter
    live: torch.Tensor
    gradient: torch.Tensor | None
    shape: torch.Size
    dtype: torch.dtype
    of_values: _Moments = field(default_factory=_Moments)
    of_gradient: _Moments | None = None


def _looked_at(
    parameters: Sequence[tuple[Parameter, torch.Tensor]], gradients: Mapping[int, torch.Tensor | None]
) -> list[_Tensor]:
    """The moments of every parameter and gradient; of small ones of one shape together."""
    by_axis: dict[int | None, Together[None, _Moments]] = {}
    of_gradients: Together[None, _Moments] = Together(_gradient_moments)
    found = []
    for parameter, live in parameters:
        values = whole(live)
        t = _Tensor(parameter, live, gradients.get(id(live)), values.shape, values.dtype)
        axis = parameter.layout.out_axis if _has_rows(t.shape, parameter) else None
        by_axis.setdefault(axis, Together(partial(_value_moments, axis=axis)))
        by_axis[axis].add(values, None, partial(setattr, t, "of_values"))
        found.append(t)
    for waiting in by_axis.values():
        waiting.settle()
    for t in found:
        if t.gradient is not None:
            of_gradients.add(whole(t.gradient), None, partial(setattr, t, "of_gradient"))
    of_gradients.settle()
    return found


def _value_moments(x: torch.Tensor, _: Sequence[None], spare: bool, *, axis: int | None) -> list[_Moments]:
    """Of tensors (tensors, …) whose units are counted along an axis of each."""
    if not x.numel():
        return [_Moments()] * len(x)
    low, high = _range(x)
    constant = [a == b for a, b in zip(low, high, strict=True)]
    x, means, lost = finite(x)
    if any(lost):
        low, high = _range(x)
    largest = [max(-a, b) for a, b in zip(low, high, strict=True)]
    alike = [False] * len(x)
    if axis is not None:
        alike = [len(set(keys)) < len(keys) for keys in _keys(x.movedim(axis + 1, 1).flatten(2)).tolist()]
    seconds = second_moments(x, largest)
    zeros = shares_of_zeros(x, spare)
    rest = zip(means, seconds, low, high, zeros, lost, constant, alike, strict=True)
    return [_Moments(mean, second, None, *others) for mean, second, *others in rest]


def _gradient_moments(x: torch.Tensor, _: Sequence[None], spare: bool) -> list[_Moments]:
    if not x.numel():
        return [_Moments()] * len(x)
    x, means, lost = finite(x)
    sizes = (x.abs_() if spare else x.abs()).reshape(len(x), -1)
    seconds = second_moments(sizes, sizes.amax(1).tolist())
    rest = zip(means, seconds, sizes.mean(1).tolist(), shares_of_zeros(sizes, spare=True), lost, strict=True)
    return [_Moments(mean, second, size, zeros=zeros, lost=n) for mean, second, size, zeros, n in rest]


def _range(x: torch.Tensor) -> tuple[list[float], list[float]]:
    flat = x.reshape(len(x), -1)
    return flat.amin(1).tolist(), flat.amax(1).tolist()


def _weigh(
    t: _Tensor, went_back: bool, traced: bool, updates: Updates | None, copies: _Copies, installed: frozenset[str]
) -> Weight:
    parameter, tensor, gradient = t.parameter, t.live, t.gradient
    of_value, of_gradient = t.of_values, t.of_gradient
    rows = _rows(whole(tensor), parameter) if of_value.alike else None
    twin = _twins(rows, None)
    options = None if updates is None else updates.of(tensor)
    second = of_value.second
    step = None
    if updates is not None and gradient is not None:
        step = updates.first(tensor, *_own(tensor, gradient))
    use = parameter.uses[0] if parameter.uses else None
    return Weight(
        name=parameter.name,
        aliases=parameter.aliases,
        module_type=parameter.module_types[0] if parameter.module_types else "",
        local_name=parameter.local_name,
        shape=tuple(tensor.shape),
        dtype=str(tensor.dtype).removeprefix("torch."),
        trainable=tensor.requires_grad,
        role=str(parameter.role),
        fan_in=float(parameter.layout.fan_in),
        fan_out=float(parameter.layout.fan_out),
        blocks=parameter.layout.blocks,
        mean=of_value.mean,
        second=second,
        largest=max(-of_value.low, of_value.high),
        zeros=of_value.zeros,
        constant=of_value.constant,
        nonfinite=of_value.lost,
        count=t.shape.numel(),
        meets=next((u.meets for u in parameter.uses if u.meets), ""),
        head=parameter.is_head,
        normalized=use is not None and use.normalized,
        branch=next(
            ((u.branch.stream, u.branch.index, u.branch.total) for u in parameter.uses if u.branch is not None), None
        ),
        used=parameter.status is not Status.UNUSED if traced else None,
        reached=gradient is not None if went_back else None,
        grad_mean_abs=None if of_gradient is None else of_gradient.mean_abs,
        grad_second=None if of_gradient is None else of_gradient.second,
        grad_zeros=None if of_gradient is None else of_gradient.zeros,
        grad_nonfinite=None if of_gradient is None else of_gradient.lost,
        gradient_ratio=(of_gradient.second / second) ** 0.5 if of_gradient is not None and second > 0 else None,
        update_ratio=step / second**0.5 if step is not None and math.isfinite(step) and second > 0 else None,
        in_optimizer=None if updates is None else options is not None,
        lr=None if updates is None else updates.rate(tensor),
        units=t.shape[parameter.layout.out_axis or 0] if _has_rows(t.shape, parameter) else 0,
        twins=twin,
        gradient_twins=_twins(rows, _rows(whole(gradient), parameter)) if twin and gradient is not None else 0,
        twin_blocks=_twins(_blocks(whole(tensor), parameter), None) if _has_blocks(t) else 0,
        duplicate_of="" if of_value.constant or t.shape.numel() < 2 else copies.earlier(t),
        packaged=parameter.name in installed,
    )


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The values as one tensor in at least float32, gathered where they are sharded."""
    x = put_together(tensor).detach()
    if x.layout is not torch.strided:
        x = x.to_dense()
    if x.is_complex():
        x = torch.view_as_real(x)
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _own(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """As they are, and whole where they are sharded: torch averages uneven shards as if they were even."""
    return [whole(t) if hasattr(t, "full_tensor") else t.detach() for t in tensors]


def _has_rows(shape: torch.Size, parameter: Parameter) -> bool:
    axis = parameter.layout.out_axis
    return axis is not None and len(shape) >= 2 and shape[axis] >= 2


def _rows(x: torch.Tensor | None, parameter: Parameter) -> torch.Tensor | None:
    """One row for each output unit; ``None`` where the parameter maps nothing."""
    if x is None or not _has_rows(x.shape, parameter):
        return None
    return x.movedim(parameter.layout.out_axis or 0, 0).flatten(1)


def _has_blocks(t: _Tensor) -> bool:
    """Whether it stacks maps along its first axis, and is not one number throughout."""
    layout = t.parameter.layout
    stacked = len(t.shape) == 3 and layout.out_axis not in (None, 0) and layout.in_axis not in (None, 0)
    return (layout.blocks > 1 or stacked) and not t.of_values.constant


def _blocks(x: torch.Tensor, parameter: Parameter) -> torch.Tensor:
    """One row for each of the maps that are stacked along the first axis."""
    blocks = parameter.layout.blocks
    return x.reshape(blocks, -1) if blocks > 1 else x.flatten(1)


def _twins(rows: torch.Tensor | None, beside: torch.Tensor | None) -> int:
    """How many rows equal another one; with ``beside``, how many of those are equal (to rounding) in it as well."""
    if rows is None or rows.shape[0] < 2 or not rows.shape[1]:
        return 0
    keys = _keys(rows)
    order = torch.argsort(keys)
    if beside is not None:
        first = torch.argsort(_keys(beside), stable=True)
        order = first[torch.argsort(keys[first], stable=True)]
    near = keys[order[1:]] == keys[order[:-1]]
    if not bool(near.any()):
        return 0
    pairs = near.nonzero().flatten()
    a, b = order[pairs], order[pairs + 1]
    same = (rows[a] == rows[b]).all(1)
    if beside is not None:
        room = _CLOSE * torch.maximum(beside[a].abs().amax(1), beside[b].abs().amax(1))
        same &= ((beside[a] - beside[b]).abs().amax(1)) <= room
    return int(torch.unique(torch.cat([a[same], b[same]])).numel())


def _keys(rows: torch.Tensor) -> torch.Tensor:
    """One number for each row, equal where rows are: every row's products are summed in the same order."""
    generator = torch.Generator().manual_seed(rows.shape[-1])
    direction = torch.rand(rows.shape[-1], generator=generator).to(rows) + 0.5
    return (rows * direction).sum(-1)


class _Copies:
    """Finds tensors that have the draw of an earlier one."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._seen: dict[tuple[object, ...], list[_Tensor]] = defaultdict(list)

    def earlier(self, t: _Tensor) -> str:
        """The name of the earlier parameter that has exactly these values; "" for none, and for what no draw made."""
        # Numbers that do not depend on the order in which values are looked at: of copies they are equal to the bit.
        key = (t.shape, t.dtype, t.of_values.low, t.of_values.high, t.of_values.zeros)
        for other in self._seen[key]:
            if torch.equal(whole(other.live), whole(t.live)):
                return other.parameter.name if _is_drawn(whole(t.live)) else ""
        self._seen[key].append(t)
        return ""


def _is_drawn(x: torch.Tensor) -> bool:
    """Whether most of its values differ, zeros aside: an identity, a shift or a grid is laid down, and no draw."""
    values = x[x != 0]
    some = values[:: max(1, len(values) // _SOME)]
    return 2 * len(torch.unique(some)) > len(some)


def trainable(model: nn.Module) -> Sequence[nn.Parameter]:
    """The parameters that ask for a gradient, each once."""
    return [p for p in model.parameters() if p.requires_grad]

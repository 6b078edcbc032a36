"""What each parameter holds and which gradient reaches it; which units, blocks and tensors are copies of another.

``measuring`` hands in one parameter after the other with its gradient.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ..graphs import Graph, Parameter, Status, slots
from .packaged import packaged
from .parts import Weight
from .statistics import count_nonfinite, second_moment
from .updates import Updates

_CLOSE = 1e-5


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
    seen: dict[tuple[tuple[int, ...], float], list[tuple[str, torch.Tensor]]] = defaultdict(list)
    installed = packaged(model)
    found = []
    for parameter in graph.parameters:
        tensor = live[parameter.name]
        gradient = None if gradients is None else gradients.get(id(tensor))
        found.append(
            _weigh(parameter, tensor, gradient, gradients is not None, graph.tape is not None, updates, seen, installed)
        )
    return tuple(found)


@torch.no_grad()
def _weigh(
    parameter: Parameter,
    tensor: torch.Tensor,
    gradient: torch.Tensor | None,
    went_back: bool,
    traced: bool,
    updates: Updates | None,
    seen: dict[tuple[tuple[int, ...], float], list[tuple[str, torch.Tensor]]],
    installed: frozenset[str],
) -> Weight:
    w = whole(tensor)
    g = None if gradient is None else whole(gradient)
    mean, second, largest, zeros, lost = _moments(w)
    low, high = (float(v) for v in w.aminmax()) if w.numel() else (0.0, 0.0)
    constant = bool(w.numel()) and low == high
    rows, stacked = _rows(w, parameter), _blocks(w, parameter)
    twin = _twins(rows, None)
    of_gradient = _moments(g) if g is not None else None
    sizes = None if g is None or not g.numel() else g.abs().nan_to_num(nan=0.0, posinf=0.0)
    options = None if updates is None else updates.of(tensor)
    step = None if updates is None or g is None else updates.first(tensor, gradient if gradient is not None else g)
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
        mean=mean,
        second=second,
        largest=largest,
        zeros=zeros,
        constant=constant,
        nonfinite=lost,
        count=w.numel(),
        meets=next((u.meets for u in parameter.uses if u.meets), ""),
        head=parameter.is_head,
        normalized=use is not None and use.normalized,
        branch=next(
            ((u.branch.stream, u.branch.index, u.branch.total) for u in parameter.uses if u.branch is not None), None
        ),
        used=parameter.status is not Status.UNUSED if traced else None,
        reached=g is not None if went_back else None,
        grad_mean_abs=None if sizes is None else float(sizes.mean()),
        grad_second=None if of_gradient is None else of_gradient[1],
        grad_zeros=None if of_gradient is None else of_gradient[3],
        grad_nonfinite=None if of_gradient is None else of_gradient[4],
        gradient_ratio=(of_gradient[1] / second) ** 0.5 if of_gradient is not None and second > 0 else None,
        update_ratio=step / second**0.5 if step is not None and math.isfinite(step) and second > 0 else None,
        in_optimizer=None if updates is None else options is not None,
        lr=None if updates is None else updates.rate(tensor),
        units=0 if rows is None else rows.shape[0],
        twins=twin,
        gradient_twins=_twins(rows, _rows(g, parameter)) if twin and g is not None else 0,
        twin_blocks=0 if constant else _twins(stacked, None),
        duplicate_of="" if constant or w.numel() < 2 else _copy_of(parameter.name, w, seen),
        packaged=parameter.name in installed,
    )


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The values as one tensor in at least float32, gathered where they are sharded."""
    gathered = getattr(tensor.detach(), "full_tensor", None)
    x: torch.Tensor = tensor.detach() if gathered is None else gathered()
    if x.layout is not torch.strided:
        x = x.to_dense()
    if x.is_complex():
        x = torch.view_as_real(x)
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _moments(x: torch.Tensor) -> tuple[float, float, float, float, int]:
    """Mean, second moment, largest size, share of zeros, and how many are not finite."""
    n, lost = x.numel(), count_nonfinite(x)
    if not n:
        return 0.0, 0.0, 0.0, 0.0, 0
    if lost:
        x = torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = x.aminmax()
    largest = float(torch.maximum(-low, high))
    zeros = 1.0 - float(torch.count_nonzero(x)) / n
    return float(x.mean()), second_moment(x, largest), largest, zeros, lost


def _rows(x: torch.Tensor | None, parameter: Parameter) -> torch.Tensor | None:
    """One row for each output unit; ``None`` where the parameter maps nothing."""
    axis = parameter.layout.out_axis
    if x is None or axis is None or x.dim() < 2 or x.shape[axis] < 2:
        return None
    return x.movedim(axis, 0).flatten(1)


def _blocks(x: torch.Tensor, parameter: Parameter) -> torch.Tensor | None:
    """One row for each of the maps that are stacked along the first axis."""
    blocks = parameter.layout.blocks
    layout = parameter.layout
    if blocks > 1:
        return x.reshape(blocks, -1)
    if x.dim() == 3 and layout.out_axis not in (None, 0) and layout.in_axis not in (None, 0):
        return x.flatten(1)
    return None


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
    generator = torch.Generator().manual_seed(rows.shape[1])
    direction = torch.rand(rows.shape[1], generator=generator).to(rows) + 0.5
    return (rows * direction).sum(1)


def _copy_of(
    name: str, w: torch.Tensor, seen: dict[tuple[tuple[int, ...], float], list[tuple[str, torch.Tensor]]]
) -> str:
    """The earlier parameter that has exactly these values; "" for none."""
    key = (tuple(w.shape), float(w.flatten()[:64].double().sum()))
    for other, values in seen[key]:
        if torch.equal(values, w):
            return other
    seen[key].append((name, w))
    return ""


def trainable(model: nn.Module) -> Sequence[nn.Parameter]:
    """The parameters that ask for a gradient, each once."""
    return [p for p in model.parameters() if p.requires_grad]

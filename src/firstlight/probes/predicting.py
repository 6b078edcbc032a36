"""A ``Light`` from theory alone, for a model whose parameters hold no values: along the traced graph, from a plan.

``measuring`` turns to it for models on the meta device. What has no formula here is ``None``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..graphs import Node, Parameter, Tape, slots, trace
from ..graphs.residuals import joins
from ..graphs.tape import INPUT, Flow
from ..graphs.walks import is_weight_call
from ..moments import Backward, Propagation, Signal, planned
from ..plans import Plan
from ..schemes import plan as plan_of
from .depths import depth_scales, streams_of
from .foreseen import foreseen, returned
from .kinds import kind_by_name
from .parts import Backward as Gradient
from .parts import Forward, Kind, LossFunction, Place, Weight
from .predicted import propagated
from .records import Light
from .starting import start_of
from .updates import Updates


def predict(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    loss_fn: LossFunction | None = None,
    *,
    plan: Plan | None = None,
    updates: Updates | None = None,
) -> Light:
    """How the signal will travel through a model, forward and backward, once a plan is carried out.

    Args:
        model: any module that can be traced; its parameters may be on the meta device.
        inputs: example inputs.
        targets, loss_fn: what gives the loss, of outputs drawn as they will be; else a projection of the outputs.
        plan: what the parameters will be; torch's own defaults where none is given.
        updates: of the optimizer, if one was given.

    Returns:
        A record whose numbers follow from theory; what only values could tell is ``None``, or 0.

    Raises:
        ModelError: torch's defaults are not known for every parameter, and no plan is given.
        ArgumentError: the loss does not fit.
    """
    graph = trace(model, inputs)
    made = plan_of(model, inputs, "torch") if plan is None else plan
    if plan is None and made.uncovered:
        lost = made.uncovered[0].name
        raise ModelError(
            f"{type(model).__name__} is on the meta device, so there are no values to measure, and torch's default for "
            f"{lost!r} is not known: give plan=fl.plan(model, inputs), or probe the model after fl.init_"
        )
    tape = graph.tape or Tape((), ())
    weights = planned(made.entries, tape)
    batch = next((n.shape[0] for n in tape if n.op == INPUT and n.shape), 0)
    forward = propagated(tape, weights)
    start = start_of(tape, forward, targets, loss_fn, batch)
    back = Backward(forward, start.gradients)
    places = _places(tape, forward, back, batch, start.sizes)
    first = next(iter(model.parameters()))
    live = {s.name: s.tensor for s in slots(model) if not s.is_buffer}
    return Light(
        model=type(model).__name__,
        training=model.training,
        device=str(first.device),
        dtype=str(first.dtype).removeprefix("torch."),
        places=places,
        weights=tuple(_weight(p, weights.get(p.name), back, updates, live[p.name]) for p in graph.parameters),
        batch=batch,
        loss=start.loss,
        streams=streams_of(places),
        depth_scales=depth_scales(places),
        projected=start.loss is None,
        analytic=True,
        optimizer="" if updates is None else updates.name,
        notes=(f"no values to measure: predicted from the plan {made.scheme}", *start.notes, *_unsaid(tape, back)),
        graph=graph,
    )


def _unsaid(tape: Tape, back: Backward) -> tuple[str, ...]:
    """What the gradient could not be followed through."""
    lost = sorted({tape[n].op for n, why in back.fallbacks.items() if not why.endswith(": sampled")})
    return (f"no gradient is predicted behind {', '.join(lost)}: it could not be followed",) if lost else ()


def _places(
    tape: Tape, forward: Propagation, back: Backward, batch: int, sizes: Mapping[int, float]
) -> tuple[Place, ...]:
    known = joins(tape)
    depths: dict[int, int] = defaultdict(int)
    found: list[tuple[Node, Kind]] = []
    for node in tape:
        weighs = node.flow is Flow.DATA and is_weight_call(tape, node)
        depths[node.id] = max((depths[i] for i in node.inputs), default=0) + weighs
        if node.flow is not Flow.DATA or not node.dtypes or not node.dtypes[0].is_floating_point:
            continue
        kind = Kind.WEIGHT if weighs else Kind.JOIN if node.id in known else kind_by_name(node.op)
        kind = Kind.INPUT if node.op == INPUT else kind
        if kind is not None:
            found.append((node, kind))
    output = next(
        (tape[r.node] for r in tape.outputs if tape[r.node].flow is Flow.DATA and _is_real(tape[r.node])), None
    )
    last = max(len(found) - (output is None), 1)
    places = []
    for i, (node, kind) in enumerate(found):
        join = known.get(node.id)
        places.append(
            Place(
                index=i,
                module=node.module,
                module_type=node.module_types[0] if node.module_types else "",
                op=node.op,
                kind=kind,
                parameters=_read(tape, node),
                node=node.id,
                position=i / last,
                depth=depths[node.id],
                shape=node.shape,
                dtype=str(node.dtypes[0]).removeprefix("torch."),
                forward=_forward(node, forward, batch),
                backward=None if kind is Kind.INPUT else _backward(node, back, sizes),
                branch=None if join is None else (join.place.stream, join.place.index, join.place.total),
            )
        )
    if output is not None:
        places.append(_output(output, len(found), depths[output.id], forward, back, batch, sizes))
    return tuple(places)


def _output(
    node: Node, index: int, depth: int, forward: Propagation, back: Backward, batch: int, sizes: Mapping[int, float]
) -> Place:
    """What the model gives, as a place of its own."""
    return Place(
        index=index,
        module="",
        module_type="",
        op="output",
        kind=Kind.OUTPUT,
        parameters=(),
        node=None,
        position=1.0,
        depth=depth,
        shape=node.shape,
        dtype=str(node.dtypes[0]).removeprefix("torch."),
        forward=_forward(node, forward, batch),
        backward=_backward(node, back, sizes),
    )


def _is_real(node: Node) -> bool:
    return bool(node.dtypes) and node.dtypes[0].is_floating_point


def _forward(node: Node, done: Propagation, batch: int) -> Forward:
    signal = done.signals[node.id]
    root = done.signals.get(signal.root, signal) if signal.root is not None else signal
    return foreseen(node, signal, root, batch, done.entropies.get(node.id))


def _backward(node: Node, back: Backward, sizes: Mapping[int, float]) -> Gradient | None:
    g = back.signals.get(node.id)
    if g is None or back.is_lost(node.id):
        return None
    return returned(g, back.zeros(node.id), math.prod(node.shape), sizes.get(node.id))


def _read(tape: Tape, node: Node) -> tuple[str, ...]:
    """The parameters that a call reads, through views and casts, the one of most axes first."""
    found: dict[str, int] = {}
    waiting = [i for i in node.inputs if tape[i].flow is Flow.WEIGHTS]
    while waiting:
        source = tape[waiting.pop(0)]
        if source.name:
            found.setdefault(source.name, len(source.shape))
        waiting += [i for i in source.inputs if tape[i].flow is Flow.WEIGHTS]
    return tuple(sorted(found, key=lambda n: -found[n]))


def _weight(
    parameter: Parameter, signal: Signal | None, back: Backward, updates: Updates | None, tensor: torch.Tensor
) -> Weight:
    layout = parameter.layout
    g, said = back.weights.get(parameter.name), not back.is_weight_lost(parameter.name)
    gradient = g.second if g is not None and said and parameter.trainable else None
    mean, second = (signal.mean, signal.second) if signal is not None else (0.0, 0.0)
    use = parameter.uses[0] if parameter.uses else None
    branch = next((u.branch for u in parameter.uses if u.branch is not None), None)
    return Weight(
        name=parameter.name,
        aliases=parameter.aliases,
        module_type=parameter.module_types[0] if parameter.module_types else "",
        local_name=parameter.local_name,
        shape=layout.shape,
        dtype=str(parameter.dtype).removeprefix("torch."),
        trainable=parameter.trainable,
        role=str(parameter.role),
        fan_in=float(layout.fan_in),
        fan_out=float(layout.fan_out),
        blocks=layout.blocks,
        mean=mean,
        second=second,
        largest=abs(mean) if signal is not None and signal.variance == 0 else 0.0,
        zeros=float(signal is not None and second == 0),
        constant=signal is not None and signal.variance == 0,
        nonfinite=0,
        count=layout.numel,
        meets=next((u.meets for u in parameter.uses if u.meets), ""),
        head=parameter.is_head,
        normalized=use is not None and use.normalized,
        branch=None if branch is None else (branch.stream, branch.index, branch.total),
        used=bool(parameter.uses),
        reached=(gradient is not None) if said and back.signals else None,
        grad_mean_abs=None if gradient is None else math.sqrt(2 / math.pi * gradient),
        grad_second=gradient,
        grad_zeros=None if gradient is None else float(gradient == 0),
        grad_nonfinite=None if gradient is None else 0,
        gradient_ratio=math.sqrt(gradient / second) if gradient is not None and second > 0 else None,
        update_ratio=_update(updates, tensor, second, gradient),
        in_optimizer=None if updates is None else updates.of(tensor) is not None,
        lr=None if updates is None else updates.rate(tensor),
        units=layout.shape[layout.out_axis] if layout.out_axis is not None and len(layout.shape) > 1 else 0,
    )


def _update(updates: Updates | None, tensor: torch.Tensor, second: float, gradient: float | None) -> float | None:
    if updates is None or gradient is None or not second > 0:
        return None
    step = updates.expected(tensor, math.sqrt(second), math.sqrt(gradient))
    return step / math.sqrt(second) if step is not None and math.isfinite(step) else None


def is_predicted(model: nn.Module) -> bool:
    """Whether a model holds no values: a parameter or buffer of it is on the meta device."""
    return any(t.is_meta for t in (*model.parameters(), *model.buffers()))

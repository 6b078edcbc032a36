"""A ``Light`` from theory alone, for a model whose parameters hold no values: along the traced graph, from a plan.

``measuring`` turns to it for models on the meta device. Forward only: what has no formula here is ``None``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..errors import ModelError
from ..graphs import Node, Parameter, Tape, trace
from ..graphs.residuals import joins
from ..graphs.tape import Flow
from ..graphs.walks import is_weight_call
from ..moments import Signal, planned
from ..plans import Plan
from ..schemes import plan as plan_of
from .depths import depth_scales, streams_of
from .kinds import kind_by_name
from .parts import Forward, Kind, Place, Weight
from .predicted import propagated
from .records import Light


def predict(model: nn.Module, inputs: Any, plan: Plan | None = None) -> Light:
    """How the signal will travel through a model, forward, once a plan is carried out.

    Args:
        model: any module that can be traced; its parameters may be on the meta device.
        inputs: example inputs.
        plan: what the parameters will be; torch's own defaults where none is given.

    Returns:
        A record whose places have moments and cosines; what only values could tell (zeros, dead units) is 0.

    Raises:
        ModelError: torch's defaults are not known for every parameter, and no plan is given.
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
    places = _places(tape, propagated(tape, weights))
    first = next(iter(model.parameters()))
    batch = next((n.shape[0] for n in tape if n.op == "input" and n.shape), 0)
    return Light(
        model=type(model).__name__,
        training=model.training,
        device=str(first.device),
        dtype=str(first.dtype).removeprefix("torch."),
        places=places,
        weights=tuple(_weight(p, weights.get(p.name)) for p in graph.parameters),
        batch=batch,
        streams=streams_of(places),
        depth_scales=depth_scales(places),
        analytic=True,
        notes=(f"no values to measure: predicted from the plan {made.scheme}, forward only",),
        graph=graph,
    )


def _places(tape: Tape, signals: Mapping[int, Signal]) -> tuple[Place, ...]:
    known = joins(tape)
    depths: dict[int, int] = defaultdict(int)
    found: list[tuple[Node, Kind]] = []
    for node in tape:
        weighs = node.flow is Flow.DATA and is_weight_call(tape, node)
        depths[node.id] = max((depths[i] for i in node.inputs), default=0) + weighs
        if node.flow is not Flow.DATA or not node.dtypes or not node.dtypes[0].is_floating_point:
            continue
        kind = Kind.WEIGHT if weighs else Kind.JOIN if node.id in known else kind_by_name(node.op)
        kind = Kind.INPUT if node.op == "input" else kind
        if kind is not None:
            found.append((node, kind))
    last = max(len(found) - 1, 1)
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
                forward=_forward(signals[node.id], node),
                branch=None if join is None else (join.place.stream, join.place.index, join.place.total),
            )
        )
    return tuple(places)


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


def _forward(signal: Signal, node: Node) -> Forward:
    """What theory says of a value: its moments and the cosine between two samples."""
    second = signal.second
    cosine = min(1.0, (signal.shared + signal.mean**2) / second) if second > 0 else None
    local = min(1.0, (signal.local + signal.mean**2) / second) if second > 0 and len(node.shape) > 2 else None
    return Forward(
        mean=signal.mean,
        second=second,
        largest=0.0,
        zeros=0.0,
        dead=0.0,
        constant=None,
        rows=0,
        units=0,
        nonfinite=0,
        count=0,
        cosine=cosine,
        position_cosine=local,
    )


def _weight(parameter: Parameter, signal: Signal | None) -> Weight:
    layout = parameter.layout
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
        largest=0.0,
        zeros=0.0,
        constant=False,
        nonfinite=0,
        count=layout.numel,
        meets=next((u.meets for u in parameter.uses if u.meets), ""),
        head=parameter.is_head,
        normalized=use is not None and use.normalized,
        branch=None if branch is None else (branch.stream, branch.index, branch.total),
        used=bool(parameter.uses),
    )


def is_predicted(model: nn.Module) -> bool:
    """Whether a model holds no values: a parameter or buffer of it is on the meta device."""
    return any(t.is_meta for t in (*model.parameters(), *model.buffers()))

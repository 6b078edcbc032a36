"""LSUV-like calibration: run the plan's own draws on a real batch and scale each weight until its output is as wanted.

For each weight call in the order of the forward, y its output and t the second moment it should have:
w ← w √(t / mean y²). Only scales change. After Mishkin & Matas 2016, All you need is a good init, arXiv 1511.06422; the
tape is run again in place of hooks, so the model is never touched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch

from ..errors import ArgumentError
from ..graphs.ops import VIEWS
from ..graphs.records import Graph
from ..graphs.tape import PARAMETER, Flow, Tape
from ..initializers import Initializer, Normal, Orthogonal, Uniform, VarianceScaling, sample
from ..initializers.magnitudes import norm_over
from ..moments import replay
from ..plans import Entry, NormOf, Plan

REFERENCE = "Mishkin & Matas 2016, arXiv 1511.06422"
PASSES, CLOSE = 4, 0.01


def calibrated(plan: Plan, graph: Graph, seed: int = 0) -> Plan:
    """The plan with each weight's scale corrected by what its draws give on the traced inputs.

    Args:
        plan: of the traced model.
        graph: traced with the batch to measure on; its tape holds the inputs.
        seed: whose draws are measured; apply the plan with the same one.

    Returns:
        The plan; each corrected entry's reason says by how much, and how far its output's standard deviation then is
        from the one it should have.

    Raises:
        ArgumentError: the graph was not traced, has no real inputs, or a call cannot be run again.
    """
    if graph.tape is None:
        raise ArgumentError("calibrate= needs inputs=: it measures on a batch")
    wanted = _wanted(plan, graph)
    factors = dict.fromkeys((name for name, _ in wanted.values()), 1.0)
    errors: dict[str, float] = {}
    for _ in range(PASSES):
        values = _values(plan, graph.tape, seed, factors)
        errors = _pass(graph.tape, wanted, values, factors)
        if max(errors.values(), default=0.0) < CLOSE:
            break
    return plan.map(lambda e: _entry(e, factors, errors))


def _wanted(plan: Plan, graph: Graph) -> dict[int, tuple[str, float]]:
    """For each call that decides a weight's scale: the weight, and the second moment its output should have."""
    entries = {e.parameter.name: e for e in plan.entries}
    found: dict[int, tuple[str, float]] = {}
    for parameter in graph.parameters:
        entry = entries.get(parameter.name)
        use = next(iter(parameter.uses), None)
        if entry is None or use is None or parameter.layout.out_axis is None or parameter.layout.fan_in == 1:
            continue
        plain = all(op in VIEWS or op == "_weight_norm" for op in use.through)
        if plain and use.node not in found and _scaled(entry, 1.0) is not None:
            closes = use.branch is not None and not use.normalized
            found[use.node] = (parameter.name, 1 / use.branch.total if closes and use.branch is not None else 1.0)
    return found


def _values(plan: Plan, tape: Tape, seed: int, factors: Mapping[str, float]) -> dict[str, torch.Tensor]:
    """Every parameter as the plan draws it, scaled as found so far."""
    held = {n.name: n for n in tape if n.op == PARAMETER}
    values: dict[str, torch.Tensor] = {}
    for entry in (e for e in plan.entries if e.parameter.name in held):
        name, node = entry.parameter.name, held[entry.parameter.name]
        if isinstance(entry.decision, Initializer):
            values[name] = sample(entry.decision, entry.parameter.layout, seed, name, node.dtypes[0])
            values[name].mul_(factors.get(name, 1.0))
        elif node.value is not None:
            values[name] = node.value.clone()
        elif not isinstance(entry.decision, NormOf):
            raise ArgumentError(f"calibrate= needs the value of {name!r}, which is kept and on the meta device")
    for entry in plan.entries:
        if isinstance(entry.decision, NormOf) and entry.parameter.name in held:
            node = held[entry.parameter.name]
            norm = norm_over(values[entry.decision.direction], torch.Size(node.shape))
            values[entry.parameter.name] = norm.to(node.dtypes[0])
    return values


def _pass(
    tape: Tape, wanted: Mapping[int, tuple[str, float]], values: dict[str, torch.Tensor], factors: dict[str, float]
) -> dict[str, float]:
    """One forward in which each weight is corrected as it is met; |std / wanted - 1| before the correction."""
    errors: dict[str, float] = {}
    try:
        for node, found in replay(tape, values):
            if node.id not in wanted or node.flow is not Flow.DATA:
                continue
            name, target = wanted[node.id]
            square = float(found[0].double().square().mean())
            if not (math.isfinite(square) and square > 0):
                continue
            factor = math.sqrt(target / square)
            errors[name] = abs(1 / factor - 1)
            factors[name] *= factor
            # Biases are zero at the start, so the output scales with its weight.
            found[0].mul_(factor)
    except ArithmeticError as error:
        raise ArgumentError(f"calibrate= cannot run this model's calls again: {error}") from error
    return errors


def _entry(entry: Entry, factors: Mapping[str, float], errors: Mapping[str, float]) -> Entry:
    name = entry.parameter.name
    if name not in errors:
        return entry
    decision = _scaled(entry, factors[name])
    why = f"{entry.reason}; on the batch times {factors[name]:.3g}, then |std - 1| = {errors[name]:.2g}"
    reference = "; ".join(filter(None, (entry.reference, REFERENCE)))
    return replace(entry, decision=decision, reason=why, reference=reference)


def _scaled(entry: Entry, factor: float) -> Initializer | None:
    """The initializer with values ``factor`` times as large; ``None`` for one that has no scale."""
    match entry.decision:
        case Normal(mean=0, std=std):
            return Normal(std=std * factor)
        case Orthogonal(gain=gain):
            return Orthogonal(gain * factor)
        case Uniform(low=low, high=high) if low == -high:
            return Uniform(low * factor, high * factor)
        case VarianceScaling(scale=scale, mode=mode, distribution=distribution):
            return VarianceScaling(scale * factor**2, mode, distribution)
        case _:
            return None

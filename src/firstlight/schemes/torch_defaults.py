"""The ``torch`` scheme: the distributions torch's modules give themselves when they are built.

The same distributions through firstlight's field, so equal on any device and independent of the order of layers.
A module that no table knows but that brings ``reset_parameters`` is reset by it.
"""

from __future__ import annotations

import math

from ..graphs.records import Graph, Parameter, Role
from ..initializers.base import Initializer
from ..initializers.constant import Constant, Ones, Zeros
from ..initializers.elementwise import Normal, Uniform
from ..plans import Plan
from ..plans.records import Decision, Entry, OwnReset
from .records import Scheme

REFERENCE = "torch.nn source; pytorch#18182 on why it is so and cannot change"


def torch_scheme(label: str = "torch") -> Scheme:
    """What each module's own ``reset_parameters`` would give.

    Linear, convolutional and bilinear weights and biases: U(±1/√n), with n the count torch takes for the fan-in
    (for a transposed convolution that is out · k, its axes read in the wrong order). Embeddings: N(0, 1). Recurrent
    layers: U(±1/√hidden) for everything. Attention's fused projection: Xavier over the fused shape.
    """

    def plan(graph: Graph) -> Plan:
        return Plan(label, tuple(_entry(p) for p in (*graph.parameters, *graph.statistics)))

    return Scheme(label, plan)


def _entry(parameter: Parameter) -> Entry:
    decision = _decision(parameter)
    reason = "no rule knows this parameter" if decision is None else "as the module initializes itself"
    return Entry(parameter, decision, reason, REFERENCE if decision is not None else "")


def _decision(p: Parameter) -> Decision | None:
    if p.resets:
        return OwnReset()
    if not p.declared.native and p.role is not Role.DECLARED:
        return None  # what a class of the user's own sets its parameters to is not known
    shape = p.layout.shape
    match p.role:
        # Of torch's own attention; a linear layer that makes queries has its default fan.
        case Role.ATTENTION | Role.QUERY | Role.KEY | Role.VALUE if (
            not p.declared.default_fan
        ):  # Xavier over the fused shape: q, k and v as one map
            limit = math.sqrt(6 / (shape[0] + shape[1]))
            return Uniform(-limit, limit)
        case Role.TOKEN_BIAS:
            return Normal(std=1 / math.sqrt(shape[2]))
        case Role.EMBEDDING | Role.POSITIONAL | Role.RELATIVE_BIAS:
            return Normal(std=1.0)
        case Role.NORM_SCALE | Role.RUNNING_VARIANCE:
            return Ones()
        case Role.NORM_SHIFT | Role.RUNNING_MEAN | Role.BATCHES_SEEN:
            return Zeros()
        case Role.SLOPE:
            return Constant(0.25)
        case Role.DECLARED:
            return _around_zero(p.layout.fan_in)
        case Role.UNKNOWN:
            return None
        case _:
            return _around_zero(p.declared.default_fan)


def _around_zero(n: float) -> Initializer:
    """U(±1/√n), and zeros where torch leaves zeros or a layer has no inputs."""
    return Uniform(-1 / math.sqrt(n), 1 / math.sqrt(n)) if n > 0 else Zeros()

"""An initializer as a model-wide scheme: weights by it, everything else by the rule of its role.

Every scheme but ``torch`` and ``pretrained`` is this file with another initializer: biases zero, norms the identity,
embeddings and recurrent weights by their own rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import UnknownNameError
from ..graphs.records import Graph, Parameter, Role
from ..initializers.base import Initializer
from ..initializers.constant import Constant, Ones, PerBlock, Zeros
from ..initializers.elementwise import Normal
from ..initializers.orthogonal import Orthogonal
from ..plans import Plan
from ..plans.records import Decision, Entry, Keep, NormOf
from .records import Scheme

WEIGHTS = frozenset(
    {
        Role.LINEAR,
        Role.CONV,
        Role.CONV_TRANSPOSED,
        Role.BILINEAR,
        Role.ATTENTION,
        Role.QUERY,
        Role.KEY,
        Role.VALUE,
        Role.OUT,
        Role.RECURRENT_INPUT,
        Role.RECURRENT_HIDDEN,
        Role.RECURRENT_PROJECTION,
        Role.DECLARED,
    }
)

Choose = Callable[[Parameter], Initializer]


@dataclass(frozen=True, slots=True)
class Recurrence:
    """How recurrent layers are set.

    Args:
        hidden: ``"orthogonal"`` gives each gate's hidden-to-hidden matrix its own orthogonal draw, whose powers
            neither vanish nor explode (Saxe et al. 2014, arXiv 1312.6120); ``"same"`` takes the scheme's initializer.
        forget_bias: an LSTM's forget gate starts open by this much (Gers et al. 2000; 1 after Jozefowicz et al.
            2015); 0 leaves it zero like every bias.
    """

    hidden: str = "orthogonal"
    forget_bias: float = 1.0

    def __post_init__(self) -> None:
        if self.hidden not in ("orthogonal", "same"):
            raise UnknownNameError.of("choice for recurrent=", self.hidden, ("orthogonal", "same"))
        Constant(self.forget_bias)  # refuses NaN and infinity


_NORM = "Ioffe & Szegedy 2015, arXiv 1502.03167"


def _kept(reason: str, reference: str = "") -> tuple[Decision, str, str]:
    return Keep(reason), reason, reference


_FIXED: Mapping[Role, tuple[Decision, str, str]] = {
    Role.BIAS: (Zeros(), "biases start at zero: no unit is favoured", "Glorot & Bengio 2010"),
    Role.TOKEN_BIAS: (Zeros(), "an extra key/value token starts at zero, like a bias", ""),
    Role.NORM_SHIFT: (Zeros(), "a norm starts as the identity", _NORM),
    Role.SLOPE: (Constant(0.25), "a PReLU's slope starts at 1/4", "He et al. 2015, arXiv 1502.01852"),
    Role.POSITIONAL: (
        Normal(std=0.02),
        "positions start small beside what they are added to",
        "Devlin et al. 2019, arXiv 1810.04805",
    ),
    Role.TOKEN: (Normal(std=0.02), "a learned token starts small", "Touvron et al. 2021, arXiv 2012.12877"),
    Role.RELATIVE_BIAS: (Zeros(), "attention starts without a preference for a distance", ""),
    Role.SCALE: _kept("a scale of the module's own, which no rule knows: its value is left"),
    Role.STATE_SPACE: _kept(
        "a state space's rates hold their module's recipe: their values are left", "Gu et al. 2022, arXiv 2206.11893"
    ),
    Role.RUNNING_MEAN: (Zeros(), "old statistics describe old weights", ""),
    Role.RUNNING_VARIANCE: (Ones(), "old statistics describe old weights", ""),
    Role.BATCHES_SEEN: (Zeros(), "old statistics describe old weights", ""),
}


def weights_scheme(label: str, choose: Choose, reason: str, reference: str, recurrence: Recurrence) -> Scheme:
    """The scheme that gives every weight ``choose``'s initializer and every other role its fixed rule."""

    def entry(parameter: Parameter) -> Entry:
        fixed = fixed_entry(parameter, recurrence)
        if fixed is not None:
            return fixed
        if parameter.role in WEIGHTS:
            return Entry(parameter, choose(parameter), reason, reference)
        return embedding_entry(parameter) if parameter.role is Role.EMBEDDING else undecided(parameter)

    def plan(graph: Graph) -> Plan:
        return Plan(label, tuple(entry(p) for p in (*graph.parameters, *graph.statistics)))

    return Scheme(label, plan)


def embedding_entry(parameter: Parameter) -> Entry:
    """N(0, 1): a looked-up row has fan_in 1, so it enters with unit variance; a table tied to a head, 1/√width."""
    width = parameter.layout.shape[1]
    if any(role in WEIGHTS for role in parameter.tied_roles):
        why = "tied to an output layer: logits of unit variance ask for 1/√width"
        return Entry(parameter, Normal(std=1 / math.sqrt(width)), why, "Press & Wolf 2017, arXiv 1608.05859")
    return Entry(parameter, Normal(std=1.0), "a looked-up row has fan_in 1: unit variance", "LeCun et al. 1998")


def undecided(parameter: Parameter) -> Entry:
    """No rule: whoever applies the plan hears of it."""
    return Entry(parameter, None, "no rule knows this parameter")


def fixed_entry(parameter: Parameter, recurrence: Recurrence) -> Entry | None:
    """What every scheme gives a role that is no weight: biases zero, norms the identity; ``None`` for a weight."""
    role = parameter.role
    if role is Role.RECURRENT_HIDDEN and recurrence.hidden == "orthogonal":
        why = "each gate's recurrent matrix is orthogonal: its powers keep every norm"
        return Entry(parameter, Orthogonal(), why, "Saxe et al. 2014, arXiv 1312.6120")
    if role is Role.GATE_BIAS:
        return _gates(parameter, recurrence.forget_bias)
    if role is Role.NORM_SCALE:
        why = "a norm starts as the identity" + ("" if parameter.declared.neutral else ": its module adds one")
        return Entry(parameter, Constant(parameter.declared.neutral), why, _NORM)
    if role is Role.LAYER_SCALE:
        return _layer_scale(parameter)
    if role is Role.MAGNITUDE:
        why = "a weight norm's magnitude starts as its direction's norm: the weight is the direction as drawn"
        reference = "Salimans & Kingma 2016, arXiv 1602.07868"
        return Entry(parameter, NormOf(parameter.declared.direction), why, reference)
    return Entry(parameter, *_FIXED[role]) if role in _FIXED else None


def _layer_scale(parameter: Parameter) -> Entry:
    """0.1 for streams of up to 18 branches, 1e-5 up to 24, 1e-6 beyond, as CaiT has it for blocks."""
    branches = max((use.branch.total for use in parameter.uses if use.branch is not None), default=1)
    value = 0.1 if branches <= 36 else 1e-5 if branches <= 48 else 1e-6
    why = f"a branch's scale starts small: {value:g} for a stream of {branches} branches"
    return Entry(parameter, Constant(value), why, "Touvron et al. 2021, arXiv 2103.17239")


def _gates(parameter: Parameter, forget_bias: float) -> Entry:
    gates = parameter.declared.gates
    if "forget" not in gates or forget_bias == 0:
        return Entry(parameter, Zeros(), "biases start at zero: no unit is favoured", "Glorot & Bengio 2010")
    values = tuple(forget_bias if gate == "forget" else 0.0 for gate in gates)
    why = f"the forget gate starts open by {forget_bias:g}, so memory outlives the first steps; the rest is zero"
    return Entry(parameter, PerBlock(values), why, "Gers et al. 2000; Jozefowicz et al. 2015")

"""The model as data: what each parameter is.

``structure`` makes a ``Graph`` from a model's modules; a scheme reads it and decides; nothing here holds a tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch

from ..initializers.layout import Layout
from .tape import Tape


class Role(StrEnum):
    """What a parameter, or a tracked statistic, does in its module."""

    LINEAR = "linear weight"
    CONV = "conv weight"
    CONV_TRANSPOSED = "transposed conv weight"
    BILINEAR = "bilinear weight"
    ATTENTION = "attention q/k/v weight"
    EMBEDDING = "embedding"
    RECURRENT_INPUT = "recurrent input weight"
    RECURRENT_HIDDEN = "recurrent hidden weight"
    RECURRENT_PROJECTION = "recurrent projection"
    DECLARED = "weight, axes declared by the user"
    QUERY = "attention q weight"
    KEY = "attention k weight"
    VALUE = "attention v weight"
    OUT = "attention output weight"
    POSITIONAL = "positions"
    RELATIVE_BIAS = "attention bias"
    TOKEN = "token"
    SCALE = "scale"
    LAYER_SCALE = "branch scale"
    MAGNITUDE = "weight norm's magnitude"
    STATE_SPACE = "state space"
    BIAS = "bias"
    GATE_BIAS = "gate biases"
    TOKEN_BIAS = "attention key/value token"
    NORM_SCALE = "norm scale"
    NORM_SHIFT = "norm shift"
    SLOPE = "activation slope"
    RUNNING_MEAN = "running mean"
    RUNNING_VARIANCE = "running variance"
    BATCHES_SEEN = "batches seen"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Declared:
    """What a module's own table says of one of its tensors.

    ``gates`` names the gates stacked along axis 0 of a recurrent tensor; ``zero_row`` is an embedding's padding
    entry, which is no word and stays zero. ``default_fan`` is the n of the U(±1/√n) that torch itself draws a weight
    or bias from, 0 where torch leaves zeros; ``native`` says whether one of torch's own modules declared it.
    ``neutral`` is the value at which a scale changes nothing: 0 where the module adds one to it. ``direction`` names
    the parameter that a weight norm's magnitude belongs to.
    """

    role: Role
    layout: Layout
    gates: tuple[str, ...] = ()
    zero_row: int | None = None
    default_fan: float = 0
    native: bool = False
    neutral: float = 1.0
    direction: str = ""


class Status(StrEnum):
    """How a parameter's role is known."""

    STRUCTURE = "from its module alone"
    TRACED = "traced"
    GUESSED = "guessed"
    UNUSED = "not used in this forward"
    OPAQUE = "used by a call nothing is known of"


@dataclass(frozen=True, slots=True)
class Branch:
    """Where a residual branch joins its stream.

    Args:
        join: the call on the tape that adds it.
        stream: which stream of the model, counted from 0.
        index, total: the branch is the ``index``-th of ``total`` (from 1) that the stream takes up.
    """

    join: int
    stream: int
    index: int
    total: int


@dataclass(frozen=True, slots=True)
class Use:
    """One call that reads a parameter, and what the parameter does there.

    Args:
        node: the call, by its place on the tape.
        op: its name; ``module`` the path of the module it ran in.
        role, layout: what the parameter is in this call; the layout's shape is that of the whole parameter.
        through: the calls that lie between the parameter and this one (a weight norm, a cast).
        meets: the nonlinearity that the call's output meets next, "" where it meets none.
        normalized: whether a normalization follows, before the next weight and before the branch joins its stream.
        branch: the residual branch that it closes, if it does.
        head: whether its output leaves the model without another weight.
        neutral: the value at which a scale changes nothing there.
        direction: the parameter whose magnitude it is, for a weight norm's.
    """

    node: int
    op: str
    module: str
    role: Role
    layout: Layout
    through: tuple[str, ...] = ()
    meets: str = ""
    normalized: bool = False
    branch: Branch | None = None
    head: bool = False
    neutral: float = 1.0
    direction: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter (or tracked statistic) of a model, each tensor once.

    Args:
        name: its canonical name, the first in alphabetical order where it is tied.
        aliases: the other canonical names of the same tensor.
        module_types: the class of the module that holds it and its bases, for messages and for rules.
        local_name: its name within that module.
        declared: what it is; the role is ``UNKNOWN`` where nobody said.
        tied_roles: the roles it has under its other names.
        resets: whether its module brings a ``reset_parameters`` that is not torch's own.
        status: how its role is known.
        uses: the calls of a traced forward that read it, in order.
    """

    name: str
    aliases: tuple[str, ...]
    module: str
    module_types: tuple[str, ...]
    local_name: str
    declared: Declared
    dtype: torch.dtype
    trainable: bool
    tied_roles: tuple[Role, ...] = ()
    resets: bool = False
    status: Status = Status.STRUCTURE
    uses: tuple[Use, ...] = ()

    @property
    def role(self) -> Role:
        """What the parameter does."""
        return self.declared.role

    @property
    def layout(self) -> Layout:
        """Its axes and fans."""
        return self.declared.layout

    @property
    def is_head(self) -> bool:
        """Whether its output leaves the model without another weight."""
        return any(use.head for use in self.uses)

    @property
    def names(self) -> tuple[str, ...]:
        """All its canonical names."""
        return (self.name, *self.aliases)


@dataclass(frozen=True, slots=True)
class Graph:
    """Every parameter of a model, each tensor once, in module order, and the statistics its norms track.

    Args:
        tape: the forward that was traced; ``None`` where the graph is known from the modules alone.
    """

    parameters: tuple[Parameter, ...]
    statistics: tuple[Parameter, ...]
    tape: Tape | None = None

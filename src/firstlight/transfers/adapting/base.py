"""What every adaptation is: a rule that, for a tensor whose shape differs from the model's, gives the step between.

One file beside this one is one rule, with its work; ``adapt`` asks those that are switched on, in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ...graphs.records import Graph, Role
from ...initializers.base import Initializer
from ..records import Match, Shape, Step, Target


@dataclass(frozen=True, slots=True)
class Model:
    """What the rules may know of the model as a whole.

    Args:
        graph: every parameter.
        head: the path of the module that a new task replaces; "" where there is none.
        first_conv: the name of the first convolution's weight; "" where there is none.
        changed_tables: the old and new number of entries of every embedding whose number differs.
        stacks: how many equal maps a module's weight stacks along axis 0, by the module's path, where they are several.
    """

    graph: Graph
    head: str = ""
    first_conv: str = ""
    changed_tables: frozenset[tuple[int, int]] = frozenset()
    stacks: Mapping[str, int] = field(default_factory=dict)

    @property
    def sees(self) -> bool:
        """Whether it has a convolution over two or more axes: positions then lie on a grid."""
        return any(p.role is Role.CONV and len(p.layout.shape) > 3 for p in self.graph.parameters)


@dataclass(frozen=True, slots=True)
class Case:
    """One tensor whose shape differs.

    Args:
        target: what it is to become.
        match: where it comes from; ``match.shape`` is the shape it has.
        model: what is around it.
        option: what the user said of the rule that is asked; ``True`` for its default.
    """

    target: Target
    match: Match
    model: Model
    option: object = True

    @property
    def given(self) -> Shape:
        """The shape in the source."""
        return self.match.shape

    @property
    def wanted(self) -> Shape:
        """The shape in the model."""
        return self.target.shape

    @property
    def differing(self) -> tuple[int, ...]:
        """The axes whose sizes differ, where the ranks agree."""
        return tuple(i for i, (a, b) in enumerate(zip(self.given, self.wanted, strict=True)) if a != b)


@dataclass(frozen=True, slots=True)
class Fresh:
    """A rule's word that the tensor should start anew, and why."""

    why: str


Answer = Step | tuple[Step, ...] | Fresh | None


@dataclass(frozen=True, slots=True)
class Adaptation:
    """One rule.

    Args:
        name: what switches it on and off.
        adapt: the step for a case; ``None`` where the rule has nothing to say; raises ArgumentError for an option
            that it does not know.
        reference: the work it is from; "" for common practice.
        asked: whether it has to be asked for by name, because it makes another network of the weights.
    """

    name: str
    adapt: Callable[[Case], Answer]
    reference: str = ""
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Supply:
    """A rule that finds values for tensors that nothing matched: blocks a deeper model has more, folded norms.

    Args:
        name, reference, asked: as an ``Adaptation``'s.
        supply: from the model's tensors, the matches so far, the source's unused shapes, what is known of the model,
            and the option, to new or changed matches and reasons.
    """

    name: str
    supply: Callable[[Sequence[Target], Mapping[str, Match], Mapping[str, Shape], Model, object], Supplied]
    reference: str = ""
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Supplied:
    """What a ``Supply`` found.

    Args:
        matches: new ones, or such as replace others.
        decisions: initializers for tensors that get no values of the source's, and why.
        reasons: why a target stays fresh.
    """

    matches: Mapping[str, Match] = field(default_factory=dict)
    decisions: Mapping[str, tuple[Initializer, str]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


def sizes(shape: Shape) -> str:
    """A shape in words: ``14×14``."""
    return "×".join(map(str, shape)) or "a scalar"

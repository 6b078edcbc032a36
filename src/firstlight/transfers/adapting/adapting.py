"""``adapt``: from matches whose shapes differ to matches that fit, by the rules that are switched on.

Takes what ``matching`` found; gives a match that fits, a decision, or a reason for every tensor it was asked about.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ...errors import ArgumentError, UnknownNameError
from ...graphs.records import Graph, Parameter, Role
from ...initializers.base import Initializer
from ..matching.words import FUSIONS
from ..matching.words import role as claimed
from ..records import Match, Shape, Target
from .base import Adaptation, Case, Fresh, Model, Supply
from .channels import CHANNELS
from .deepening import DEEPEN
from .folding import BATCH_NORM
from .heads import HEAD
from .inflation import INFLATE
from .patches import PATCH
from .positions import POSITIONS
from .relative_bias import RELATIVE_BIAS
from .selection import SELECT
from .stacking import STACK
from .vocabulary import VOCABULARY
from .widening import WIDEN

SHAPES = (VOCABULARY, HEAD, CHANNELS, INFLATE, PATCH, POSITIONS, RELATIVE_BIAS, SELECT, WIDEN)
SUPPLIES = (BATCH_NORM, STACK, DEEPEN)
Adapt = bool | Collection[str] | Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Adapted:
    """What became of the matches.

    Args:
        matches: those that fit, by target.
        decisions: initializers for tensors that get no values of the source's, with the reason.
        reasons: for targets that stay fresh though something matched, or could have.
    """

    matches: Mapping[str, Match]
    decisions: Mapping[str, tuple[Initializer, str]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


def adaptations() -> tuple[Adaptation | Supply, ...]:
    """Every rule there is."""
    return (*SHAPES, *SUPPLIES)


def chosen_options(adapt: Adapt) -> dict[str, object]:
    """The rules that are switched on, each with its option.

    Args:
        adapt: ``True`` for all that keep the network what it is, ``False`` for none, a collection of names, or a
            mapping from names to options; ``"default"`` among the names stands for what ``True`` means.

    Raises:
        UnknownNameError: no rule has such a name.
    """
    usual: dict[str, object] = {a.name: True for a in adaptations() if not a.asked}
    if isinstance(adapt, bool):
        return usual if adapt else {}
    if isinstance(adapt, str):
        adapt = (adapt,)
    if not isinstance(adapt, Collection):
        raise ArgumentError(f"adapt={adapt!r}: give True, False, names, or a dict from names to options")
    given: dict[str, object] = dict(adapt) if isinstance(adapt, Mapping) else dict.fromkeys(adapt, True)
    known = [*(a.name for a in adaptations()), "default"]
    for name in given:
        if name not in known:
            raise UnknownNameError.of("adaptation", str(name), known)
    options = usual if given.pop("default", False) else {}
    options |= {name: option for name, option in given.items() if option is not False}
    if "stack" in options and "deepen" in options:
        raise ArgumentError("adapt= names 'stack' and 'deepen', which fill the same blocks: give one")
    return options


def adapt_matches(
    targets: Sequence[Target],
    matches: Mapping[str, Match],
    unused: Mapping[str, Shape],
    graph: Graph,
    options: Mapping[str, object],
    head: str = "",
) -> Adapted:
    """The matches that fit, after every rule that is on had its word.

    Args:
        targets: the model's tensors.
        matches: what was found for them.
        unused: the source's tensors that nothing took.
        graph: the model's.
        options: as ``chosen_options`` gives them.
        head: the path of the module that a new task replaces.
    """
    model = _model(targets, matches, graph, head)
    fitting: dict[str, Match] = {}
    reasons: dict[str, str] = {}
    for target in targets:
        match = matches.get(target.name)
        if match is not None:
            made = _adapted(Case(target, match, model), options)
            if isinstance(made, Match):
                fitting[target.name] = made
            else:
                reasons[target.name] = made
    decisions: dict[str, tuple[Initializer, str]] = {}
    for rule in SUPPLIES:
        if rule.name in options:
            supplied = rule.supply(targets, fitting, unused, model, options[rule.name])
            fitting |= supplied.matches
            decisions |= supplied.decisions
            reasons |= supplied.reasons
    return Adapted(fitting, decisions, {n: r for n, r in reasons.items() if n not in fitting})


def _adapted(case: Case, options: Mapping[str, object]) -> Match | str:
    """The match with the steps that make it fit, or why there are none."""
    while case.given != case.wanted:
        for rule in SHAPES:
            if rule.name in options:
                answer = rule.adapt(Case(case.target, case.match, case.model, options[rule.name]))
                if isinstance(answer, Fresh):
                    return answer.why
                if answer is not None:
                    steps = answer if isinstance(answer, tuple) else (answer,)
                    case = Case(case.target, case.match.then(*steps), case.model)
                    break
        else:
            return _unfit(case, options)
    return case.match


def _unfit(case: Case, options: Mapping[str, object]) -> str:
    """Why nothing fits, and which rule that is off would."""
    names = ", ".join(case.match.tensors)
    would = []
    for rule in SHAPES:
        if rule.name not in options:
            answer = rule.adapt(Case(case.target, case.match, case.model))
            if answer is not None:
                would.append(repr(rule.name))
    hint = f"; adapt={{{', '.join(would)}}} would fit it" if would else ""
    return f"{names} has the shape {case.match.shape}{hint}"


def _model(targets: Sequence[Target], matches: Mapping[str, Match], graph: Graph, head: str) -> Model:
    changed = {
        (m.shape[0], t.shape[0])
        for t in targets
        if t.parameter.role is Role.EMBEDDING
        and (m := matches.get(t.name)) is not None
        and len(m.shape) == len(t.shape)
        and m.shape[0] != t.shape[0]
    }
    convs = [p.name for p in graph.parameters if p.role is Role.CONV]
    stacks = {p.module: n for p in graph.parameters if (n := _stack(p)) > 1}
    return Model(graph, head, convs[0] if convs else "", frozenset(changed), stacks)


def _stack(parameter: Parameter) -> int:
    """How many equal maps a weight stacks along axis 0, by the graph, or by its name where the graph is not traced."""
    if parameter.role not in (Role.LINEAR, Role.ATTENTION, Role.RECURRENT_INPUT, Role.RECURRENT_HIDDEN):
        return 1
    if parameter.layout.blocks > 1 or parameter.uses:
        return parameter.layout.blocks
    return len(FUSIONS.get(claimed(parameter.module.split("."), "map"), ("",)))

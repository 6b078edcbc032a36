"""Rules: what the user says of single parameters, over what the scheme would choose.

A rule means parameters by a glob over names or over ``ModuleType.parameter`` (see ``graphs.axes.matches``), or by a
``Selector``; its value is an initializer, ``Keep``, or ``Axes`` (which the graph reads, so that the scheme covers the
weight). The first rule that means a parameter stands.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace

from ..errors import ArgumentError, UncoveredParameterError
from ..graphs.axes import Axes
from ..graphs.records import Graph, Parameter, Status
from ..initializers.base import Initializer
from .plan import Plan
from .records import Entry, Keep
from .selecting import Selection, chooser

Rules = Mapping[str, Initializer | Keep | Axes] | Mapping[Selection, Initializer | Keep | Axes]
Decisions = Mapping[Selection, Initializer | Keep]


def split(rules: Rules | None) -> tuple[dict[str, Axes], Decisions]:
    """The rules that declare axes, and the rules that decide; ArgumentError for any other value."""
    axes: dict[str, Axes] = {}
    decisions: dict[Selection, Initializer | Keep] = {}
    for pattern, value in (rules or {}).items():
        if isinstance(value, Axes):
            if not isinstance(pattern, str):
                raise ArgumentError(f"the rule {pattern!r} declares axes: mean the parameter by its name's pattern")
            axes[pattern] = value
        elif isinstance(value, Initializer | Keep):
            decisions[pattern] = value
        else:
            raise ArgumentError(
                f"the rule {pattern!r} gives {value!r}: give an initializer (fl.Ones()), fl.Keep(reason), "
                "or fl.Axes(out=0, in_=1)"
            )
    return axes, decisions


def override(plan: Plan, decisions: Decisions) -> Plan:
    """The plan with the first matching rule's decision wherever one matches."""
    parameters = [e.parameter for e in plan.entries]
    rules = [(selection, chooser(selection, parameters), decision) for selection, decision in decisions.items()]

    def change(entry: Entry) -> Entry:
        for selection, means, decision in rules:
            if means(entry.parameter):
                reason = decision.reason if isinstance(decision, Keep) else f"your rule {selection!r}"
                return replace(entry, decision=decision, reason=reason, reference="")
        return entry

    return plan.map(change)


def check_used(rules: Rules | None, graph: Graph) -> None:
    """ArgumentError for a rule that matches nothing: most often a misspelt name."""
    parameters = (*graph.parameters, *graph.statistics)
    for selection in rules or {}:
        if not any(map(chooser(selection, parameters), parameters)):
            known = {n for p in parameters for n in (*p.names, f"{p.module_types[0]}.{p.local_name}")}
            near = difflib.get_close_matches(str(selection), sorted(known), n=3, cutoff=0.5)
            hint = f" Nearest: {', '.join(near)}." if near else ""
            raise ArgumentError(f"the rule {selection!r} matches no parameter of the model.{hint}")


def check_covered(plan: Plan) -> None:
    """UncoveredParameterError naming every parameter no rule covers, with the one-line rules that would."""
    missing = plan.uncovered
    if not missing:
        return
    by_type: dict[str, Parameter] = {}
    for p in missing:
        by_type.setdefault(f"{p.module_types[0]}.{p.local_name}", p)
    lines = [f"  {p.name}  {p.layout.shape}  in {p.module_types[0]}" for p in missing[:10]]
    if len(missing) > 10:
        lines.append(f"  … and {len(missing) - 10} more")
    shown = ", ".join(f'"{key}": {_suggestion(p)}' for key, p in list(by_type.items())[:4])
    more = ", …" if len(by_type) > 4 else ""
    count = f"{len(missing)} parameter{'s' * (len(missing) > 1)}"
    raise UncoveredParameterError(
        f"the scheme {plan.scheme!r} does not know {count}:\n"
        + "\n".join(lines)
        + f"\nSay what they are, for example:\n  rules={{{shown}{more}}}\n"
        + (_INPUTS if all(p.status is Status.STRUCTURE for p in missing) else "")
        + "fl.Axes(out, in_) lets the scheme treat a weight as its own; fl.Keep() leaves a parameter as it is."
        + (_PARAMETRIZED if any(map(_is_parametrized, missing)) else "")
    )


_INPUTS = "Or give inputs=, as the model is called: one forward on fake tensors tells what most parameters do.\n"
_PARAMETRIZED = (
    "\nA parametrization (weight_norm, spectral_norm …) makes a weight of some of these: initialize the model "
    "before it is parametrized, and keep them afterwards."
)


def _is_parametrized(parameter: Parameter) -> bool:
    """Whether a weight is made of it, by torch.nn.utils.parametrize or by the older hooks of torch.nn.utils."""
    old = parameter.local_name in ("weight_g", "weight_v", "weight_orig")
    return old or "ParametrizationList" in parameter.module_types


def _suggestion(parameter: Parameter) -> str:
    shape = parameter.layout.shape
    if _is_parametrized(parameter):
        return "fl.Keep()"
    if len(shape) >= 2 and shape[0] == 1:  # a class token or a table of positions, added to every example
        return "fl.Normal(std=0.02)"
    if len(shape) >= 2:
        return "fl.Axes(out=0, in_=1)"
    return "fl.Zeros()" if "bias" in parameter.local_name or "beta" in parameter.local_name else "fl.Ones()"

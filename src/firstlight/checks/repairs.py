"""Repairs: the changed plan, or the code to paste, that a finding's ``fix`` gives.

Every family's rules ask here; a plan is made only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ..initializers import Initializer
from ..plans import Entry, Keep, Plan
from ..probes.records import Light
from ..schemes import parse

_UNTOUCHED = "not at fault"


def replanned(light: Light, names: Collection[str], scheme: str = "auto") -> Callable[[], Plan] | str:
    """A plan that gives these parameters what a scheme gives them, and leaves all others as they are.

    Without a graph (a light from JSON) it is the line of code that does so for the whole model.
    """
    graph = light.graph
    if graph is None:
        return f'fl.init_(model, "{scheme}", inputs=inputs)'
    wanted = frozenset(names)

    def make() -> Plan:
        made = parse(scheme).plan(graph)
        return made.map(lambda entry: _chosen(entry, wanted))

    return make


def overridden(light: Light, decisions: Mapping[str, Initializer], why: str) -> Callable[[], Plan] | str:
    """A plan that gives these parameters these initializers, and leaves all others as they are."""
    graph = light.graph
    if graph is None:
        lines = "\n".join(f'    "{name}": fl.{initializer!r},' for name, initializer in decisions.items())
        return f"fl.init_(model, rules={{\n{lines}\n}})"

    def make() -> Plan:
        entries = []
        for parameter in (*graph.parameters, *graph.statistics):
            decision = decisions.get(parameter.name)
            if decision is None:
                entries.append(Entry(parameter, Keep(_UNTOUCHED), _UNTOUCHED))
            else:
                entries.append(Entry(parameter, decision, why))
        return Plan("a fix", tuple(entries))

    return make


def _chosen(entry: Entry, wanted: frozenset[str]) -> Entry:
    """The scheme's entry for what is wanted, if it has one; everything else is kept."""
    if entry.parameter.name not in wanted or entry.decision is None:
        return Entry(entry.parameter, Keep(_UNTOUCHED), _UNTOUCHED)
    return entry


LOWER = "for group in optimizer.param_groups:\n    group['lr'] *= 0.1"
PROBE = "light = fl.probe(model, inputs, targets, loss_fn)\nprint(light.findings)"
TO_TANH = """for parent in list(model.modules()):
    for name, child in list(parent.named_children()):
        if isinstance(child, torch.nn.Sigmoid):
            setattr(parent, name, torch.nn.Tanh())
fl.init_(model, "auto", inputs=inputs)"""
"""A sigmoid network as one of tanh: σ(2z) = (1 + tanh z)/2, without the common ½ that drowns differences."""

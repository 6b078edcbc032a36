"""The ``pretrained`` scheme: start from other weights, with a fresh head.

Everything but the head comes from a source, matched and adapted by ``transfers``; the head, which a new task needs
anew, is drawn by another scheme. ``writers.load_`` is the same as a verb, with every option and a report.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

from ..errors import TransferError
from ..graphs.records import Graph, Role
from ..plans import Plan
from ..transfers import Adapt, Options, Transfer, combined, head_of, open_source, transfer
from .records import Scheme

_NEXT = "\n  "
_STATISTICS = (Role.RUNNING_MEAN, Role.RUNNING_VARIANCE, Role.BATCHES_SEEN)


def pretrained_scheme(label: str, path: str, fresh: Scheme, head: str | None = None, adapt: Adapt = True) -> Scheme:
    """Every parameter and running statistic from ``path`` but the head, which ``fresh`` draws.

    Args:
        label: the scheme's text.
        path: what ``transfers.open_source`` reads: a safetensors file, a torch checkpoint, a folder of shards.
        fresh: the scheme for the head.
        head: a glob over parameter names; by default the module that holds the model's last weight.
        adapt: which adaptations are on, as ``load_`` takes them: ``{"select"}`` for weights of a larger network.

    The plan raises TransferError where the source cannot be read or any other parameter has no match in it: a weight
    that silently stays random is the classic fault of loading. ``load_`` allows for partial matches.
    """

    def plan(graph: Graph) -> Plan:
        source = open_source(path)
        pattern = head if head is not None else f"{head_of(graph)}.*"
        meant = any(fnmatchcase(n, pattern) for p in (*graph.parameters, *graph.statistics) for n in p.names)
        made = transfer(graph, source, Options(adapt=adapt, skip=(pattern,) if meant else ()))
        drawn = fresh.plan(graph)
        _refuse_partial(made, pattern)
        named = replace(made, reasons={n: _head_words(n, r, made, pattern) for n, r in made.reasons.items()})
        return replace(combined(named, drawn), scheme=label)

    return Scheme(label, plan, traced=fresh.traced)


def _head_words(name: str, reason: str, made: Transfer, pattern: str) -> str:
    target = next((t for t in made.targets if t.name == name), None)
    inside = target is not None and any(fnmatchcase(n, pattern) for n in target.parameter.names)
    return f"head {pattern!r}" if inside else reason


def _refuse_partial(made: Transfer, pattern: str) -> None:
    """TransferError unless every parameter but the head's has a match."""
    faults = []
    for target in made.targets:
        names = target.parameter.names
        if target.name in made.matches or target.parameter.role in _STATISTICS:
            continue
        if not any(fnmatchcase(n, pattern) for n in names):
            faults.append(f"{target.name} {target.shape}: {made.reasons[target.name]}")
    if faults:
        held = _some(list(made.source.tensors), 6, ", ") or "no tensors"
        raise TransferError(
            f"{made.source.label} does not fit the model ({len(made.matches)} tensors match):\n  "
            f"{_some(faults, 8, _NEXT)}\nThe source holds {held}. Load weights of the same architecture, name the "
            'part to leave fresh: pretrained(path, head="pattern"), or load what fits with fl.load_(model, path).'
        )


def _some(words: list[str], most: int, between: str) -> str:
    """The first of a list of words, and how many more there are."""
    more = [f"… and {len(words) - most} more"] if len(words) > most else []
    return between.join([*words[:most], *more])

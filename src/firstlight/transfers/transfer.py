"""``transfer``: what a model takes from a source and how, before anything is read or written.

Joins ``matching`` and ``adapting``; ``combined`` turns it into a plan, over the plan that draws the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import torch

from ..errors import ArgumentError, TransferError
from ..graphs.records import Graph, Parameter, Role
from ..initializers.base import Initializer
from ..plans import Keep, Plan
from ..plans.records import Entry
from .adapting import Adapt, adapt_matches, chosen_options, prior_of
from .loaded import Loaded
from .matching import RULES, Renames, evidence, match
from .records import Match, Piece, Shape, Target
from .sources import Source

_WEIGHTS = (Role.LINEAR, Role.CONV, Role.CONV_TRANSPOSED, Role.BILINEAR, Role.DECLARED)
_STATISTICS = (Role.RUNNING_MEAN, Role.RUNNING_VARIANCE, Role.BATCHES_SEEN)
_SCALED = tuple(
    getattr(torch, name)
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
    if hasattr(torch, name)
)


@dataclass(frozen=True, slots=True)
class Options:
    """How to match and adapt.

    Args:
        rename: the user's rules, from the source's names to the model's.
        match: which matching rules are asked.
        adapt: which adaptations are on.
        skip: globs over the model's names: what is left to the fresh plan though it may match.
    """

    rename: Renames | None = None
    match: Sequence[str] = RULES
    adapt: Adapt = True
    skip: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Transfer:
    """What each tensor of a model takes from a source.

    Args:
        source: the source.
        targets: the model's tensors, parameters first.
        matches: where values come from, by target; they fit.
        decisions: initializers for tensors that get none of the source's values, and why.
        reasons: why a target has no match.
        unused: the source's tensors that nothing took, and why where that is known.
        notes: what else a person should know.
    """

    source: Source
    targets: tuple[Target, ...]
    matches: Mapping[str, Match]
    decisions: Mapping[str, tuple[Initializer, str]]
    reasons: Mapping[str, str]
    unused: Mapping[str, str]
    notes: tuple[str, ...] = field(default=())


def transfer(
    graph: Graph,
    source: Source,
    options: Options,
    buffers: Sequence[Parameter] = (),
    source_graph: Graph | None = None,
) -> Transfer:
    """Decide what a model takes from a source; no value is read.

    Args:
        graph: the model's.
        source: names, shapes and dtypes.
        options: how.
        buffers: the model's other persistent buffers: they match by name alone.
        source_graph: the source's, where it is a live model.

    Raises:
        TransferError: a rename rule does nothing; the source is empty.
        ArgumentError: an option does not exist, or ``skip`` means nothing.
    """
    if not source.tensors:
        raise TransferError(f"{source.label} holds no tensors")
    chosen = chosen_options(options.adapt)
    everything = (*graph.parameters, *graph.statistics)
    skipped = _skipped(everything, options.skip)
    targets = [Target(p, p in graph.statistics) for p in everything]
    usable, unusable = _usable(source)
    wanted = [t for t in targets if t.name not in skipped]
    found = match(
        wanted,
        usable,
        renames=options.rename,
        rules=options.match,
        ours=evidence(graph),
        theirs=evidence(source_graph) if source_graph is not None else None,
    )
    head = head_of(graph, default="")
    taken = {t for m in found.matches.values() for t in m.tensors}
    unused = {n: s for n, s in usable.items() if n not in taken}
    adapted = adapt_matches(wanted, found.matches, unused, graph, chosen, head)
    matches = dict(adapted.matches)
    extra = [Target(p, buffer=True) for p in buffers]
    matches |= _buffers(extra, source, taken)
    reasons = {**found.reasons, **adapted.reasons, **skipped}
    decisions = dict(adapted.decisions)
    if "head" in chosen and (prior := prior_of(chosen["head"])) is not None:
        bias = next((p for p in graph.parameters if p.module == head and p.local_name == "bias"), None)
        if bias is None or bias.name in matches:
            raise ArgumentError("adapt={'head': shares} sets the bias of a new head, and the model has no such bias")
        decisions[bias.name] = (prior, "a new head's bias at the class prior")
    for target in (*wanted, *extra):
        if target.name not in matches:
            reasons.setdefault(target.name, unusable.get(target.name) or "no tensor of the source matches it")
    used = {t for m in matches.values() for t in m.tensors}
    # A folded norm leaves its counter: nothing of it is missed.
    folded = {p.tensor.rpartition(".")[0] for m in matches.values() if m.rule == "fold" for p in m.pieces}
    counters = {f"{norm}.num_batches_tracked" for norm in folded}
    left = {n: unusable.get(n, "") for n in source.tensors if n not in used and n not in counters}
    left |= _tied(targets, left)
    return Transfer(source, (*targets, *extra), matches, decisions, reasons, left, (*source.notes, *found.notes))


def combined(made: Transfer, fresh: Plan, *, allow_nonfinite: bool = False) -> Plan:
    """The fresh plan with every entry that has a match or a decision replaced.

    Args:
        made: the transfer.
        fresh: a plan of the same model; its entries stand where nothing matched.
        allow_nonfinite: whether NaN and infinite values may be loaded.
    """
    planned = {e.parameter.name for e in fresh.entries}
    entries = tuple(_entry(e, made, allow_nonfinite) for e in fresh.entries)
    more = [t.parameter for t in made.targets if t.name not in planned]
    own = "a buffer of the model's own"
    extra = tuple(_entry(Entry(p, Keep(own), own), made, allow_nonfinite) for p in more)
    return replace(fresh, entries=(*entries, *extra))


def head_of(graph: Graph, default: str | None = None) -> str:
    """The path of the module that holds the model's last weight: what is replaced for a new task."""
    heads = [p.module for p in graph.parameters if p.is_head and p.role in _WEIGHTS]
    heads = heads or [p.module for p in graph.parameters if p.role in _WEIGHTS]
    if not heads:
        if default is not None:
            return default
        raise TransferError("the model has no linear or convolutional weight, so it has no head to leave out")
    return heads[-1]


def how(match: Match) -> str:
    """How a match came about and what is done to its values, in words."""
    return ", ".join([f"{match.rule}: {match.evidence}", *(s.words for s in match.steps)])


def _entry(entry: Entry, made: Transfer, allow_nonfinite: bool) -> Entry:
    name = entry.parameter.name
    match = made.matches.get(name)
    if match is not None:
        references = "; ".join(dict.fromkeys(s.reference for s in match.steps if s.reference))
        reason = f"from {made.source.label}: {' + '.join(map(str, match.pieces))} ({how(match)})"
        return Entry(
            entry.parameter, Loaded(made.source, match, entry.parameter.dtype, allow_nonfinite), reason, references
        )
    if name in made.decisions:
        decision, why = made.decisions[name]
        return Entry(entry.parameter, decision, why)
    reason = made.reasons.get(name, "")
    return replace(entry, reason=f"not loaded ({reason}): {entry.reason}") if reason else entry


def _skipped(parameters: Sequence[Parameter], patterns: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pattern in patterns:
        meant = [p.name for p in parameters if any(fnmatchcase(n, pattern) for n in p.names)]
        if not meant:
            raise ArgumentError(f"skip={pattern!r} means no parameter of the model")
        found |= dict.fromkeys(meant, f"skipped by {pattern!r}")
    return found


def _usable(source: Source) -> tuple[dict[str, Shape], dict[str, str]]:
    """The tensors that can be weights or statistics, and why the others cannot."""
    usable: dict[str, Shape] = {}
    unusable: dict[str, str] = {}
    for name, stored in source.tensors.items():
        counter = name.rpartition(".")[2] == "num_batches_tracked"
        if stored.dtype in _SCALED:
            unusable[name] = f"{_dtype(stored.dtype)} weights mean nothing without their scales: convert them first"
        elif stored.dtype.is_floating_point or counter:
            usable[name] = stored.shape
        elif stored.dtype.is_complex:
            unusable[name] = "complex numbers are no weights here"
        else:
            unusable[name] = f"whole numbers ({_dtype(stored.dtype)}) are no weights: a table of indices, or quantised"
    return usable, unusable


def _buffers(targets: Sequence[Target], source: Source, taken: set[str]) -> dict[str, Match]:
    """Other buffers by exact name, shape and kind of number."""
    from_source = {}
    for target in targets:
        name = next((n for n in target.parameter.names if n in source.tensors and n not in taken), None)
        if name is None:
            continue
        stored = source.tensors[name]
        same_kind = stored.dtype == target.parameter.dtype or (
            stored.dtype.is_floating_point and target.parameter.dtype.is_floating_point
        )
        if stored.shape == target.shape and same_kind:
            from_source[target.name] = Match(target.name, (Piece(name, stored.shape),), "exact", "same name")
    return from_source


def _tied(targets: Sequence[Target], left: Mapping[str, str]) -> dict[str, str]:
    """Unused tensors that stand for another name of a tied parameter."""
    tied = {n: t.name for t in targets for n in t.parameter.names if len(t.parameter.names) > 1}
    return {n: f"the model ties it to {tied[n]!r}" for n in left if n in tied}


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

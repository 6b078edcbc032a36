"""The ``pretrained`` scheme: start from a file's weights, with a fresh head.

Everything but the head comes from a safetensors file of the same architecture; the head, which a new task needs anew,
is drawn by another scheme.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

from ..graphs.records import Graph, Parameter, Role
from ..plans import Plan
from ..plans.records import Entry
from ..transfers import Loaded, WeightsFile, head_of, match, open_weights
from .records import Scheme


def pretrained_scheme(label: str, path: str, fresh: Scheme, head: str | None = None) -> Scheme:
    """Every parameter and running statistic from ``path`` but the head, which ``fresh`` draws.

    Args:
        label: the scheme's text.
        path: a safetensors file with the parameters' canonical names and shapes.
        fresh: the scheme for the head.
        head: a glob over parameter names; by default the module that holds the model's last weight.

    The plan raises TransferError where the file cannot be read or any other parameter has no match in it.
    """

    def plan(graph: Graph) -> Plan:
        file = open_weights(path)
        pattern = head if head is not None else f"{head_of(graph)}.*"
        drawn = fresh.plan(graph)
        kept = [e.parameter for e in drawn.entries if not _is_head(e.parameter, pattern)]
        found = match((p for p in kept if _is_wanted(p, file)), file)
        return replace(drawn.map(lambda e: _entry(e, found, file, pattern)), scheme=label)

    return Scheme(label, plan)


def _is_head(parameter: Parameter, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in parameter.names)


def _is_wanted(parameter: Parameter, file: WeightsFile) -> bool:
    """Statistics are taken where the file has them; parameters always."""
    statistic = parameter.role in (Role.RUNNING_MEAN, Role.RUNNING_VARIANCE, Role.BATCHES_SEEN)
    return not statistic or any(n in file.shapes for n in parameter.names)


def _entry(entry: Entry, found: dict[str, str], file: WeightsFile, pattern: str) -> Entry:
    tensor = found.get(entry.parameter.name)
    if tensor is None:
        return replace(entry, reason=f"not loaded (head {pattern!r}): {entry.reason}")
    return Entry(entry.parameter, Loaded(str(file.path), tensor), f"from {file.path.name}", "")

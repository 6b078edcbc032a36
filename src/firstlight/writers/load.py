"""``load_``: a model's weights from elsewhere, in one line, with a report of every parameter.

The walk source → matches → plan → writers in one function: what matched is read, what did not is drawn by a scheme.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from ..errors import ArgumentError, FirstlightError
from ..graphs import Graph, Inputs, Slot, slots, structure, trace
from ..graphs.records import Declared, Parameter, Role
from ..initializers.base import Initializer
from ..initializers.layout import Layout
from ..plans import Entry, Keep, Plan, Rules, split
from ..schemes import Scheme, plan
from ..transfers import (
    Adapt,
    Loaded,
    Options,
    Renames,
    SourceLike,
    Transfer,
    TransferReport,
    combined,
    open_source,
    transfer,
)
from ..transfers.apart import Apart
from ..transfers.matching import RULES
from ..transfers.report import share
from ..transfers.reporting import notes_of, outcomes_of, refuse_little, unused_of
from ..transfers.sources.values import check
from .apply import carry_out
from .materials import checked_device
from .placements import held
from .resolve import checked_seed

_KEEP = "keep"
_LEAST, _LITTLE = 0.1, 0.5


def load_(
    model: nn.Module,
    source: SourceLike,
    *,
    inputs: Inputs | None = None,
    rename: Renames | None = None,
    match: Sequence[str] = RULES,
    adapt: Adapt = True,
    fresh: str | Scheme | Initializer = "auto",
    rules: Rules | None = None,
    skip: str | Sequence[str] = (),
    require: float = _LEAST,
    section: str | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    allow_nonfinite: bool = False,
    mapped: bool = False,
    dry_run: bool = False,
) -> TransferReport:
    """Start a model from other weights, all or nothing, and say what became of every parameter.

    Tensors are matched by exact name, then by name behind another prefix, by the rename rules, and last by structure:
    names that differ, modules that agree in order, role, shape and place. What two tensors would fit equally is left
    and said so, never guessed. Shapes that differ are adapted where a rule knows how. The rest is drawn anew.

    Args:
        model: any module; running statistics and saved buffers are loaded too.
        source: a path (safetensors, torch checkpoint, sharded index, ``save_pretrained`` folder), a state dict, a live
            model. No code of it is run.
        inputs: example inputs, as the model is called: structure, and the fresh plan, then know what each parameter
            does.
        rename: from patterns over the source's names to the model's: a glob whose ``*`` come again in the new name,
            or a regular expression (``re.compile(...)``, ``"re:..."``). They win over exact names.
        match: which of ``"exact"``, ``"prefix"``, ``"rename"``, ``"structure"`` may match.
        adapt: ``True``: the adaptations that keep the network what it is (``head``, ``channels``, ``positions``,
            ``relative_bias``, ``vocabulary``, ``patch``, ``inflate``, ``batch_norm``). ``False``: none. Or names, or a
            dict from names to options; ``"select"``, ``"widen"``, ``"stack"`` and ``"deepen"``, to another width or
            depth, have to be named, ``"default"`` beside them stands for the others.
        fresh: the scheme that draws what is not loaded; ``"keep"`` leaves it as the model has it.
        rules: rules for single fresh parameters, as ``init_`` takes them.
        skip: globs over the model's names that are left fresh though they may match.
        require: the share of the parameters' values that has to come from the source, 0 to 1; 0 asks for nothing.
        section: which section of a nested checkpoint (``"ema"``).
        seed: of what is drawn.
        device: where parameters that are on the meta device are made, as ``apply_`` takes it.
        allow_nonfinite: whether NaN and infinite values may be loaded.
        mapped: whether parameters on the CPU take the file's mapped memory for their own where dtype and order agree:
            nothing is copied, what is written to them stays in memory. The file must then stay as it is as long as
            the model lives: a file that is cut or written over takes the process or its weights along.
        dry_run: only report what would be done; no value is read, none written.

    Returns:
        The report: every parameter and buffer once, loaded, adapted, fresh or kept, and why.

    Raises:
        TransferError: the source cannot be read, less than ``require`` matched, or a rename rule does nothing.
        FirstlightError: as ``apply_``. The model then has the weights it had.

    Warns:
        UserWarning: less than half of the parameters' values came from the source.

    >>> import torch
    >>> old, new = (nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, n)) for n in (5, 3))
    >>> print(load_(new, old, fresh="he_normal").summary)
    2 loaded, 2 fresh, 2 of the source unused: 73.8 % of 195 parameter values from the model Sequential (by exact 2)
    """
    seed = checked_seed(seed)
    if isinstance(require, bool) or not isinstance(require, int | float) or not 0 <= require <= 1:
        raise ArgumentError(f"require={require!r} should be a share from 0 to 1")
    opened = open_source(source, section=section)
    options = Options(rename, tuple(match), adapt, (skip,) if isinstance(skip, str) else tuple(skip))
    axes, _ = split(rules)
    graph = structure(model, axes) if inputs is None else trace(model, inputs, axes)
    others, volatile = _other_buffers(model, graph)
    theirs = _source_graph(source, inputs)
    made = transfer(graph, Apart.of(opened, model), options, others, theirs)
    drawn = _fresh_plan(model, inputs, fresh, rules, made, graph)
    whole = combined(made, drawn, allow_nonfinite=allow_nonfinite)
    outcomes = tuple(outcomes_of(made, whole, volatile))
    notes = tuple(notes_of(made, outcomes, opened, rename))
    report = TransferReport(opened.label, outcomes, unused_of(made), notes, seed, not dry_run, model)
    refuse_little(report, require)
    if not dry_run:
        whole = _looked_at(model, whole)
        carry_out(model, whole, seed, checked_device(device), undo=True, mapped=mapped)
        if share(outcomes) < _LITTLE:
            warnings.warn(report.summary, UserWarning, stacklevel=2)
    return report


def _source_graph(source: SourceLike, inputs: Inputs | None) -> Graph | None:
    """The graph of a live source: traced where it takes the same inputs, else by its modules."""
    if not isinstance(source, nn.Module):
        return None
    if inputs is not None:
        try:
            return trace(source, inputs)
        except FirstlightError:
            pass  # it is called in another way; its modules still tell something
    return structure(source)


def _fresh_plan(
    model: nn.Module,
    inputs: Inputs | None,
    fresh: str | Scheme | Initializer,
    rules: Rules | None,
    made: Transfer,
    graph: Graph,
) -> Plan:
    """The plan of what is not loaded; where everything is, no scheme is asked."""
    everything = (*graph.parameters, *graph.statistics)
    needed = [p for p in everything if p.name not in made.matches and p.name not in made.decisions]
    if fresh == _KEEP or not needed:
        kept = Keep("as the model had it")
        return Plan("keep", tuple(Entry(p, kept, kept.reason) for p in everything))
    return plan(model, inputs, fresh, rules=rules)


def _other_buffers(model: nn.Module, graph: Graph) -> tuple[list[Parameter], list[Parameter]]:
    """The buffers that the graph does not know: those that are saved with the model, and those that are not."""
    known = {n for p in (*graph.parameters, *graph.statistics) for n in p.names}
    saved: dict[int, Parameter] = {}
    unsaved: dict[int, Parameter] = {}
    for slot in slots(model):
        if slot.is_buffer and slot.name not in known:
            persistent = slot.local_name not in slot.owner._non_persistent_buffers_set
            (saved if persistent else unsaved).setdefault(id(slot.tensor), _buffer(slot))
    return list(saved.values()), [p for i, p in unsaved.items() if i not in saved]


def _buffer(slot: Slot) -> Parameter:
    return Parameter(
        name=slot.name,
        aliases=(),
        module=slot.module,
        module_types=(type(slot.owner).__name__,),
        local_name=slot.local_name,
        declared=Declared(Role.UNKNOWN, Layout.vector(tuple(slot.tensor.shape))),
        dtype=slot.tensor.dtype,
        trainable=False,
    )


def _looked_at(model: nn.Module, whole: Plan) -> Plan:
    """The plan after a look at every value this process is going to load: of a sharded parameter at its block alone.

    Raises:
        TransferError: a value, or a tensor's dtype, may not be loaded.
    """
    tensors = {s.name: s.tensor for s in slots(model)}

    def look(entry: Entry) -> Entry:
        decision = entry.decision
        if not isinstance(decision, Loaded) or not decision.is_plain:
            return entry
        if isinstance(decision.source, Apart) and decision.source.shares(decision.match.pieces[0].tensor):
            return entry  # copied before the first write, not read during the writes
        mine = held(entry.parameter.name, tensors[entry.parameter.name])
        check(
            decision.source,
            decision.match.pieces[0].tensor,
            decision.dtype,
            index=None if mine.box.is_whole else mine.box.slices,
            allow_nonfinite=decision.allow_nonfinite,
        )
        return replace(entry, decision=replace(decision, looked_at=True))

    return whole.map(look)

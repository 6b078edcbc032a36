"""From a transfer and its plan to the report: outcomes, notes, and whether enough matched.

``writers.load_`` makes its ``TransferReport`` of these.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import TransferError
from ..graphs.records import Parameter, Role
from ..plans import Keep, Plan
from ..plans.records import Entry
from .matching import Renames, apply_renames
from .report import ADAPTED, FRESH, KEPT, LOADED, Outcome, TransferReport, Unused
from .sources import Source
from .transfer import Transfer, how


def outcomes_of(made: Transfer, whole: Plan, volatile: Sequence[Parameter]) -> list[Outcome]:
    """What becomes of every tensor, from the plan that will be carried out.

    Args:
        made: the transfer.
        whole: the plan.
        volatile: buffers that are not saved with the model.
    """
    buffers = {t.name for t in made.targets if t.buffer}
    found = [_outcome(entry, made, entry.parameter.name in buffers) for entry in whole.entries]
    for parameter in volatile:
        entry = Entry(parameter, Keep(), "a buffer that is not saved with the model")
        found.append(_outcome(entry, made, True))
    return found


def _outcome(entry: Entry, made: Transfer, buffer: bool) -> Outcome:
    parameter = entry.parameter
    match = made.matches.get(parameter.name)
    base = (parameter.name, parameter.aliases, parameter.layout.shape)
    dtype = str(parameter.dtype).removeprefix("torch.")
    if match is not None:
        kind = LOADED if all(s.exact and s.rule != "select" for s in match.steps) else ADAPTED
        given = str(made.source.tensors[match.pieces[0].tensor].dtype).removeprefix("torch.")
        return Outcome(*base, kind, match.tensors, match.rule, how(match), buffer, dtype, given)
    if isinstance(entry.decision, Keep):
        return Outcome(*base, KEPT, (), "", entry.reason, buffer, dtype)
    return Outcome(*base, FRESH, (), "", entry.reason, buffer, dtype, "", repr(entry.decision))


def notes_of(made: Transfer, outcomes: Sequence[Outcome], source: Source, rename: Renames | None) -> list[str]:
    """What a person should know beside the table: prefixes, renames, dtypes, ties, running statistics."""
    notes = list(made.notes)
    notes += [f"{r.old} → {r.new} (rename {r.rule!r})" for r in apply_renames(rename, list(source.tensors))]
    changed: dict[tuple[str, str], int] = {}
    for o in outcomes:
        if o.source_dtype and o.source_dtype != o.dtype:
            changed[o.source_dtype, o.dtype] = changed.get((o.source_dtype, o.dtype), 0) + 1
    notes += [f"{n} tensors {a} → {b}" for (a, b), n in changed.items()]
    taken = [o for o in outcomes if o.kind in (LOADED, ADAPTED)]
    notes += [f"{' = '.join((o.name, *o.aliases))}: tied, loaded once" for o in taken if o.aliases]
    notes += _statistics_notes(made, outcomes)
    return notes


def _statistics_notes(made: Transfer, outcomes: Sequence[Outcome]) -> list[str]:
    """Norms whose weights were loaded and whose running statistics were not."""
    roles = {t.name: t.parameter.role for t in made.targets}
    by_name = {o.name: o for o in outcomes}
    missing = [
        o.name
        for o in outcomes
        if roles.get(o.name) is Role.RUNNING_MEAN
        and o.kind not in (LOADED, ADAPTED)
        and (scale := by_name.get(f"{o.name.removesuffix('running_mean')}weight")) is not None
        and scale.kind in (LOADED, ADAPTED)
    ]
    loaded = sum(1 for o in outcomes if roles.get(o.name) is Role.RUNNING_MEAN and o.kind in (LOADED, ADAPTED))
    notes = [f"running statistics of {loaded} batch norms loaded"] if loaded else []
    if missing:
        notes.append(
            f"the source has no running statistics for {len(missing)} loaded batch norms ({missing[0]} …): evaluate "
            "only after some steps in training mode"
        )
    return notes


def unused_of(made: Transfer) -> tuple[Unused, ...]:
    """The source's tensors that nothing took."""
    stored = made.source.tensors
    return tuple(
        Unused(n, stored[n].shape, str(stored[n].dtype).removeprefix("torch."), why) for n, why in made.unused.items()
    )


def refuse_little(report: TransferReport, require: float) -> None:
    """TransferError where less came from the source than was asked for."""
    if report.share >= require and (require == 0 or report.loaded or report.adapted):
        return
    missing = [f"{o.name} {o.shape}: {o.why}" for o in report.outcomes if o.kind in (FRESH, KEPT) and not o.buffer]
    unused = [f"{u.name} {u.shape}" for u in report.unused]
    raise TransferError(
        f"only {100 * report.share:.1f} % of the parameters' values would come from {report.source}, and "
        f"{100 * require:g} % are required; the rest would be random. Not matched:\n  "
        + "\n  ".join([*missing[:6], *([f"… and {len(missing) - 6} more"] if len(missing) > 6 else [])])
        + f"\nThe source has besides: {', '.join(unused[:6]) or 'nothing'}{' …' if len(unused) > 6 else ''}.\n"
        "Give rename= rules (dry_run=True shows what they do), weights of the same architecture, or require=0."
    )

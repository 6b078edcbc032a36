"""A ``Light`` as text: the loss beside its theory, every place, the profile by depth, what was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..reports.grids import profile
from ..reports.names import cut_front, in_one, unnumbered
from ..reports.text import counted, table
from .parts import Backward, Forward, Kind, Place

if TYPE_CHECKING:
    from .records import Light

_MANY = 40


def rendered(light: Light, width: int, *, collapse: bool | None = None) -> str:
    """The whole text, no line of its own wider than ``width``."""
    words = [line for fact in (headline(light), *facts(light)) for line in _wrapped(fact, width)]
    parts = [*words, "", places_table(light, width, collapse=collapse), "", profiles(light, width)]
    notes = [line for note in light.notes for line in _wrapped(f"note: {note}", width)]
    looked = type(light.findings) is not tuple  # a bare tuple: nobody has
    found = light.findings.table(width) if looked else ""  # type: ignore[attr-defined]
    return "\n".join([*parts, *([""] if notes else []), *notes, *(["", found] if found else [])]).rstrip()


def headline(light: Light) -> str:
    """What was measured, in a line."""
    mode = "training" if light.training else "evaluation"
    how = "predicted, not measured" if light.analytic else f"batch of {light.batch} in {mode} mode"
    ranks = f" over {light.ranks} ranks" if light.ranks > 1 else ""
    counts = f"{counted(len(light.places), 'place')}, {counted(len(light.weights), 'parameter')}"
    return f"{light.model}: {counts}; {how}{ranks}, {light.dtype} on {light.device}"


def facts(light: Light) -> list[str]:
    """The loss, the depth scales, the streams, the Jacobian and the first value that is not finite, a line each."""
    lines = []
    if light.loss is not None:
        lines.append(loss_line(light))
    elif light.projected:
        lines.append("no loss: gradients of a random projection of the outputs")
    for scale in light.depth_scales:
        what = (
            f"gradient, from the outputs back to the inputs: × {math.exp(-scale.slope):.3g} a layer"
            if scale.of == "gradient"
            else f"1 − cosine of samples: × {math.exp(scale.slope):.3g} a layer"
        )
        lines.append(f"{what}, ξ = {scale.xi:.3g} layers")
    for stream in light.streams:
        if stream.growth is not None:
            joins = counted(len(stream.places), "join")
            lines.append(f"residual stream of {joins}: E[x²] × {stream.growth:.3g} from join to join")
    if light.jacobian is not None:
        lines.append(jacobian_line(light))
    if light.origin is not None:
        lines.append(origin_line(light))
    return lines


def loss_line(light: Light) -> str:
    """The loss beside its theory."""
    loss = light.loss
    if loss is None:
        return ""
    words = [f"loss {loss.value:.4g}" + (f" ({loss.op})" if loss.op else "")]
    if loss.expected is not None:
        words.append(f"untrained {loss.expected:.4g} ({loss.formula})")
    if loss.trivial is not None:
        words.append(f"best constant {loss.trivial:.4g}")
    return "; ".join(words)


def jacobian_line(light: Light) -> str:
    """The Jacobian's spectrum in a line."""
    j = light.jacobian
    if j is None:
        return ""
    error = f" ± {j.mean_square_error:.2g}" if j.mean_square_error else ""
    words = [f"∂output/∂input ({j.outputs} × {j.inputs}): mean squared singular value {j.mean_square:.3g}{error}"]
    if j.largest is not None:
        words.append(f"largest {j.largest:.3g}")
    if j.condition is not None:
        words.append(f"condition {j.condition:.3g}")
    elif j.condition_at_least is not None:
        words.append(f"condition at least {j.condition_at_least:.3g}")
    return ", ".join(words)


def origin_line(light: Light) -> str:
    """Where the first value that is not finite came from."""
    o = light.origin
    if o is None:
        return ""
    where = f" of {o.module!r}" if o.module else ""
    what = f"parameter {o.name!r}" if o.what == "parameter" else f"{o.op}{where} ({o.what})"
    return f"first value that is not finite: {o.value} in {what}" + (f", which read {o.given}" if o.given else "")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: its title, how it is written for a place, and how soon it is left out for width."""

    title: str
    cell: Callable[[Place], str]
    rank: int


def number(value: float | None) -> str:
    """Three digits; "" for nothing."""
    return "" if value is None else f"{value:.3g}"


def share(value: float | None) -> str:
    """A share in whole percent; tenths of small ones; "" for nothing or zero."""
    if not value:
        return ""
    return f"{100 * value:.0f} %" if value >= 0.1 else f"{100 * value:.1f} %"


def _of(name: str, write: Callable[[float | None], str], *kinds: Kind) -> Callable[[Place], str]:
    """A number of the values, written so; of places of these kinds, where some are named."""
    return lambda p: "" if p.forward is None or (kinds and p.kind not in kinds) else write(getattr(p.forward, name))


def _turns(first: Forward | Backward | None, last: Forward | Backward | None) -> str:
    """The second moment; of a call that runs again and again, at its first and at its last turn."""
    return " → ".join(number(s.second) for s in (first, last) if s is not None)


COLUMNS = (
    Column("place", lambda p: p.label + (f" ↻{p.calls}" if p.last_forward else ""), 0),
    Column("call", lambda p: p.op, 1),
    Column("shape", lambda p: "×".join(map(str, p.shape)), 9),
    Column("mean", _of("mean", number), 8),
    Column("E[x²]", lambda p: _turns(p.forward, p.last_forward), 0),
    Column("E[g²]", lambda p: _turns(p.backward, p.last_backward), 0),
    Column("zeros", _of("zeros", share), 5),
    Column("dead", _of("dead", share, Kind.ACTIVATION), 3),
    Column("flat", _of("saturated", share), 4),
    Column("H", _of("entropy", number), 4),
    Column("cosine", _of("cosine", number), 2),
    Column("rank", _of("effective_rank", number), 7),
)
_WORDS = {
    "E[x²]": "E[x²] of the values",
    "E[g²]": "E[g²] of the loss's gradient to them",
    "dead": "dead: units that are zero on the whole batch",
    "flat": "flat: |φ'| < 5 % of its maximum",
    "H": "H: the attention's entropy, 1 = uniform",
    "cosine": "cosine between samples",
    "rank": "rank: directions that 64 rows span",
}


def legend(titles: Sequence[str]) -> str:
    """What the columns of these titles hold."""
    return "; ".join(words for title, words in _WORDS.items() if title in titles)


def _loops(light: Light) -> str:
    """What marks a loop, where there is one."""
    return "; ↻: turns of a loop, its first → its last" if any(p.last_forward for p in light.places) else ""


def places_table(light: Light, width: int, *, collapse: bool | None = None) -> str:
    """Every place in a row; places that differ in a layer's number alone in one, first … last, where there are many."""
    folded = len(light.places) > _MANY if collapse is None else collapse
    groups = grouped(light.places) if folded else [[p] for p in light.places]
    columns = [c for c in COLUMNS if any(c.cell(p) for p in light.places)]
    rows = [[_cell(c, group) for c in columns] for group in groups]
    while True:
        shown = table([c.title for c in columns], rows, left=2)
        over = max(len(line) for line in shown.split("\n")) - width
        longest = max((len(row[0]) for row in rows), default=0)
        if over <= 0 or (over <= longest - 16 and len(columns) <= 8):
            break
        worst = max(columns, key=lambda c: c.rank)
        if worst.rank == 0:
            break
        at = columns.index(worst)
        columns.pop(at)
        rows = [row[:at] + row[at + 1 :] for row in rows]
    if over > 0:
        room = max(longest - over, 8)
        rows = [[cut_front(row[0], room), *row[1:]] for row in rows]
        shown = table([c.title for c in columns], rows, left=2)
    return "\n".join([shown, *_wrapped(legend([c.title for c in columns]) + _loops(light), width)])


def grouped(places: Sequence[Place]) -> list[list[Place]]:
    """Places whose paths differ only in numbers, with the same call, together, in the order of their first."""
    found: dict[tuple[str, str, str], list[Place]] = {}
    for place in places:
        found.setdefault((unnumbered(place.label), place.op, place.module_type), []).append(place)
    return list(found.values())


def _cell(column: Column, group: Sequence[Place]) -> str:
    first, last = column.cell(group[0]), column.cell(group[-1])
    if len(group) == 1:
        return first
    if column.title == "place":
        return f"{in_one([first, last])} ×{len(group)}"
    if column.title in ("call", "shape"):
        return first if first == last else f"{first} … {last}"
    return first if first == last else f"{first or '0'} … {last or '0'}"


def _wrapped(words: str, width: int) -> list[str]:
    lines, line = [], ""
    for word in words.split(" "):
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    return [*lines, line]


def layers(light: Light) -> list[Place]:
    """The places that a profile by depth shows: the weights' outputs."""
    return [p for p in light.places if p.kind is Kind.WEIGHT and p.forward is not None]


def forward_values(light: Light) -> list[float]:
    """E[x²] at the weights' outputs; infinite where something was not finite."""
    return [math.inf if p.forward.nonfinite else p.forward.second for p in layers(light) if p.forward is not None]


def backward_values(light: Light) -> list[float]:
    """E[g²] at the weights' outputs, as far as gradients arrived."""
    return [math.inf if p.backward.nonfinite else p.backward.second for p in layers(light) if p.backward is not None]


def profiles(light: Light, width: int) -> str:
    """Forward and backward by depth, as charts of characters."""
    forward, backward = forward_values(light), backward_values(light)
    room = min(width, 10 + max(2 * len(forward), 30))
    parts = []
    if forward:
        parts += ["E[x²] behind each weight, inputs → outputs", profile({"forward": forward}, room, 8)]
    if backward:
        parts += ["", "E[g²] there, of the loss's gradient", profile({"backward": backward}, room, 8)]
    return "\n".join(parts)

"""Frozen weights that are not meant to be: amid trained ones, or fresh draws among what was loaded.

``reach`` asks it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..graphs.walks import downstream
from ..probes.records import Kind, Weight
from .looking import TABLES, WEIGHTS, Look
from .records import Evidence, Finding, Severity

_TOLD = 64  # values from which a draw can be told


def frozen(look: Look) -> Iterator[Finding]:
    """A frozen weight among trained ones: some before it train, and most values train.

    A frozen part that begins at the inputs is a backbone, or a target beside the trained network (a teacher, random
    network distillation), and frozen majorities are adapters' hosts: these are meant. A beginning that was loaded holds
    no fresh draw: torch's own behind what is none, or a normal one in a table beside a table that trains.
    """
    order = [p for p in look.light.places if p.kind is Kind.WEIGHT and look.weight_of(p) is not None]
    weights = list(dict.fromkeys(w.name for p in order if (w := look.weight_of(p)) is not None))
    known = [look.weights[n] for n in weights if n in look.weights and look.weights[n].role in WEIGHTS | TABLES]
    held = [w for w in known if not w.trainable]
    drawn = [w for w in held if w.role in TABLES and _is_normal_draw(w)]
    if drawn and any(w.trainable and w.role in TABLES for w in known):
        yield _frozen_at(look, drawn, "it holds a fresh draw, beside a table that trains: from_pretrained freezes")
        return
    if not held or 2 * sum(w.count for w in held) > sum(w.count for w in known):
        return
    first_trained = next((i for i, w in enumerate(known) if w.trainable), len(known))
    fed = _behind_trained(look)
    amid = [w for w in known[first_trained:] if not w.trainable and (fed is None or w.name in fed)]
    fresh = [] if amid else _fresh_behind(look, held)
    amid = amid or fresh
    if amid:
        fault = "its values are torch's own draw: a new layer was frozen with loaded ones"
        yield _frozen_at(look, amid, fault if fresh else "layers before it train: it stays as it was drawn")


def _frozen_at(look: Look, frozen: list[Weight], why: str) -> Finding:
    place = look.place_of(frozen[0].name)
    return Finding(
        "frozen",
        Severity.WARNING,
        frozen[0].name,
        None if place is None else place.position,
        (Evidence("frozen weights among trained ones", float(len(frozen)), 0.0, 0.0, "exact"),),
        f"requires_grad is False, and {why}",
        "if that is not meant, let it train: parameter.requires_grad_(True)",
        "\n".join(f'model.get_parameter("{name}").requires_grad_(True)' for name in _of_modules(look, frozen)),
    )


def _is_normal_draw(weight: Weight) -> bool:
    """Whether a table's mean and largest value are those of n draws of N(0, σ²): within 4 standard errors of zero, and
    within σ of σ √(2 log n). Learned vectors have common parts and longer tails."""
    if weight.std <= 0 or weight.count < _TOLD:
        return False
    largest = weight.largest / weight.std - math.sqrt(2 * math.log(weight.count))
    return abs(weight.mean) < 4 * weight.std / math.sqrt(weight.count) and abs(largest) < 1


def _fresh_behind(look: Look, frozen: list[Weight]) -> list[Weight]:
    """Frozen weights of torch's default draw that read what a frozen one of another origin made."""
    fresh = [w for w in frozen if _is_default_draw(w)]
    loaded = {w.name for w in frozen} - {w.name for w in fresh}
    tape = look.tape
    if tape is None or not fresh or not loaded:
        return []
    behind = downstream(tape, {p.node for p in look.light.of(Kind.WEIGHT) if p.weight in loaded and p.node is not None})
    fed = {p.weight for p in look.light.of(Kind.WEIGHT) if p.node in behind}
    return [w for w in fresh if w.name in fed]


def _is_default_draw(weight: Weight) -> bool:
    """Whether the values fill ±1/√fan_in evenly, as torch's default leaves them and no training does.

    E[w²] of U(±b) is b²/3, with a standard error of b² √(4/(45 n)); the largest of n values lies within a few b/n of b.
    """
    if weight.role not in WEIGHTS or weight.fan_in <= 0 or weight.count < _TOLD:
        return False
    edge = weight.fan_in**-0.5
    error = math.sqrt(4 / (45 * weight.count)) * edge**2
    reaches = edge * (1 - 10 / weight.count) < weight.largest <= edge * (1 + 1e-6)
    return bool(reaches and abs(weight.second - edge**2 / 3) < 4 * error)


def _behind_trained(look: Look) -> frozenset[str] | None:
    """The weights that read what trained ones made; ``None`` where the model was not traced."""
    tape = look.tape
    if tape is None:
        return None
    places = [p for p in look.light.of(Kind.WEIGHT) if p.node is not None]
    trained = {p.node for p in places if p.node is not None and (w := look.weight_of(p)) is not None and w.trainable}
    behind = downstream(tape, trained)
    return frozenset(p.weight for p in places if p.node in behind)


def _of_modules(look: Look, weights: list[Weight]) -> list[str]:
    """The frozen parameters of the modules that hold these weights."""
    modules = {w.name.rpartition(".")[0] for w in weights}
    return [w.name for w in look.light.weights if not w.trainable and w.name.rpartition(".")[0] in modules]

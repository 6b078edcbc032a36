"""Units, layers, heads and experts that start alike: what starts the same and gets the same gradient stays the same."""

from __future__ import annotations

from collections.abc import Iterator

from ..probes.records import Weight
from .looking import TABLES, WEIGHTS, Look
from .records import Evidence, Finding, Severity
from .repairs import replanned

_COPIED = frozenset(
    f"{part}.{name}"
    for part, names in (
        ("self_attn", ("in_proj_weight", "out_proj.weight")),
        ("multihead_attn", ("in_proj_weight", "out_proj.weight")),
        ("linear1", ("weight",)),
        ("linear2", ("weight",)),
    )
    for name in names
)
"""What stands in a layer of torch's own transformer."""


def rules(look: Look) -> Iterator[Finding]:
    """Findings about weights that are alike. All are exact: no threshold was chosen."""
    yield from _constant(look)
    yield from _rows(look)
    yield from _copies(look)


def _position(look: Look, name: str) -> float | None:
    place = look.place_of(name)
    return None if place is None else place.position


def _constant(look: Look) -> Iterator[Finding]:
    """A weight of one value throughout whose units stay alike: their gradients are equal, or all zero.

    A zero weight that gets a gradient of its own is a start from nothing (a zero head, the end of a residual branch,
    LoRA's B), and no fault; once it has moved, the zero weights that it holds back get theirs. Units of one nonzero
    value that get different gradients part, but start as one unit: a warning. Outputs are parted by their targets, so a
    linear model may start as a mean (DLinear, Zeng et al. 2023, arXiv 2205.13504); columns of a table whose gradients
    are equal stay one factor.
    """
    found = [w for w in look.light.weights if w.role in WEIGHTS and w.constant and w.count > 1 and w.trainable]
    found = [w for w in found if not _is_factor(look, w)]
    tables = [w for w in look.light.weights if w.role in TABLES and w.constant and w.trainable]
    found += [w for w in tables if w.grad_zeros == 1.0 or (w.second > 0 and w.units > 1 and _stays(w))]
    opening = any(w.second == 0 and w.grad_zeros is not None and w.grad_zeros < 1 for w in found)
    stuck = [w for w in found if _stays(w) and not (opening and w.second == 0 and w.grad_zeros == 1.0)]
    parting = [w for w in found if w.second > 0 and w.units > 1 and not (w.head and _reads_inputs(look, w))]
    if not stuck and not parting:
        return
    severity = Severity.ERROR if stuck else Severity.WARNING
    stuck = stuck or parting
    first = stuck[0]
    value = first.mean
    more = f", and {len(stuck) - 1} more weights are" if len(stuck) > 1 else ""
    zero = value == 0
    yield Finding(
        "constant-init",
        severity,
        first.name,
        _position(look, first.name),
        (
            Evidence("distinct values in the weight", 1.0, 1.0, float(first.count), "exact"),
            Evidence("units with the same gradient", float(first.gradient_twins or first.units), 0.0, 0.0, "exact"),
        ),
        f"every value is {value:.3g}{more}: "
        + (
            "nothing passes it forward or backward, so no gradient moves it"
            if zero and first.grad_zeros in (1.0, None)
            else "all its units compute the same and get the same gradient, so they stay one unit"
            if severity is Severity.ERROR
            else "all its units compute the same until their gradients have pulled them apart"
        ),
        "draw the weights at random; only biases, heads and the ends of residual branches may start from zero",
        replanned(look.light, [w.name for w in stuck]),
    )


def _reads_inputs(look: Look, weight: Weight) -> bool:
    place = look.place_of(weight.name)
    return place is not None and place.depth <= 1


def _is_factor(look: Look, weight: Weight) -> bool:
    """Whether it scales another, larger parameter to make a weight (a gain of weight standardization)."""
    place = look.place_of(weight.name)
    beside = () if place is None else [look.weights.get(n) for n in place.parameters if n != weight.name]
    return any(w is not None and w.role in WEIGHTS and w.count > weight.count for w in beside)


def _stays(weight: Weight) -> bool:
    if weight.grad_zeros is None:
        return weight.second > 0 and weight.units > 1
    if weight.second == 0:
        return weight.grad_zeros == 1.0 or (weight.units > 1 and weight.gradient_twins >= weight.units)
    return weight.units > 1 and (weight.gradient_twins > weight.units // 2 or weight.grad_zeros == 1.0)


def _rows(look: Look) -> Iterator[Finding]:
    """Output units that equal another one in their weights and in their gradients.

    Those that a pixel shuffle lays side by side may start as one, so that the picture has no checkerboard (ICNR; Aitken
    et al. 2017, arXiv 1707.02937).
    """
    known = [w for w in look.light.weights if w.role in WEIGHTS and not w.constant and w.trainable and w.twins]
    known = [w for w in known if not _is_shuffled(look, w)]
    found = [w for w in known if w.gradient_twins]
    if not found:
        yield from _twins([w for w in known if w.twins > w.units // 2 and w.second > 0], look)
        return
    first = found[0]
    share = first.gradient_twins / max(first.units, 1)
    yield Finding(
        "symmetric-units",
        Severity.ERROR if share > 0.5 else Severity.WARNING,
        first.name,
        _position(look, first.name),
        (Evidence("share of units with a twin, weights and gradients alike", share, 0.0, 0.0, "exact"),),
        f"{first.gradient_twins} of {first.units} units have the weights and the gradient of another unit, so they "
        "stay copies of it",
        "draw every unit anew: copied rows, repeated blocks and constant fills break no symmetry",
        replanned(look.light, [w.name for w in found]),
    )


def _is_shuffled(look: Look, weight: Weight) -> bool:
    place = next((p for p in look.light.places if p.weight == weight.name and p.node is not None), None)
    if look.tape is None or place is None or place.node is None:
        return False
    return any(n.op == "pixel_shuffle" for n, _ in look.tape.readers()[place.node])


def _twins(found: list[Weight], look: Look) -> Iterator[Finding]:
    """Most units are copies of others, though their gradients will part them."""
    if found:
        first = found[0]
        yield Finding(
            "symmetric-units",
            Severity.WARNING,
            first.name,
            _position(look, first.name),
            (Evidence("share of units with the weights of another", first.twins / first.units, 0.0, 0.0, "exact"),),
            f"{first.twins} of {first.units} units start as copies of another, and count as one until gradients "
            "part them",
            "draw every unit anew",
            replanned(look.light, [w.name for w in found]),
        )


def _copies(look: Look) -> Iterator[Finding]:
    """Parameters, or blocks of one, that hold exactly the values of another that is not tied to them.

    Random draws of two float32 tensors never agree. A frozen copy (a target network, a teacher) is meant so. Layers
    that ``nn.TransformerEncoder`` copies start alike by torch's own doing and see different inputs: a note.
    """
    stacked = [w for w in look.light.weights if w.twin_blocks and w.trainable and w.role not in TABLES]
    if stacked:
        first = stacked[0]
        yield Finding(
            "duplicated-draws",
            Severity.ERROR if first.gradient_twins else Severity.WARNING,
            first.name,
            _position(look, first.name),
            (Evidence("blocks that equal another one", float(first.twin_blocks), 0.0, 0.0, "exact"),),
            f"{first.twin_blocks} of the stacked maps in {first.name} hold the same draw",
            "draw each expert or head anew (one draw of the whole stack does)",
            replanned(look.light, [w.name for w in stacked]),
        )
    live = {w.name: w for w in look.light.weights if w.trainable}
    copies = [
        w
        for w in live.values()
        if w.duplicate_of in live and (w.role in WEIGHTS or w.role in TABLES) and not _is_table_pair(w, live)
    ]
    if not copies:
        return
    by_torch = all(_by_torch(w.name, w.duplicate_of) for w in copies)
    first = copies[0]
    other = live[first.duplicate_of]
    same_gradient = first.grad_second is not None and first.grad_second == other.grad_second
    yield Finding(
        "duplicated-draws",
        Severity.NOTE if by_torch else Severity.ERROR if same_gradient else Severity.WARNING,
        first.name,
        _position(look, first.name),
        (Evidence("parameters that hold another's draw", float(len(copies)), 0.0, 0.0, "exact"),),
        f"{first.name} holds exactly the values of {other.name}"
        + (" and gets the same gradient, so the two stay one" if same_gradient else "")
        + (": nn.TransformerEncoder copies its layer" if by_torch else ": copied modules, or one seed for both"),
        "draw each anew, with one generator for all or a seed of its own (fl.init_ does)",
        replanned(look.light, [w.name for w in copies]),
    )


def _is_table_pair(weight: Weight, live: dict[str, Weight]) -> bool:
    """Whether it is a head that equals a table: that is ``reach``'s to tell."""
    other = live[weight.duplicate_of]
    return (weight.role in TABLES and (other.head or other.role in TABLES)) or (other.role in TABLES and weight.head)


def _by_torch(name: str, other: str) -> bool:
    """Whether two parameters are one layer's of a stack that ``nn.TransformerEncoder`` or ``Decoder`` deep-copied."""
    first, second = name.split("."), other.split(".")
    tails = [path[path.index("layers") + 2 :] if "layers" in path else [] for path in (first, second)]
    return tails[0] == tails[1] and ".".join(tails[0]) in _COPIED

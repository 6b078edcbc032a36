"""What the gradient and the optimizer do not reach: cut paths, frozen and unused parameters, untied tables."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ..graphs import Role, Tape
from ..graphs.ops import JOINS, VIEWS, words
from ..graphs.walks import Readers, downstream
from ..probes.records import Kind, Place, Weight
from .freezing import frozen
from .looking import TABLES, WEIGHTS, Look, where_of
from .records import Evidence, Finding, Severity

_EXACT = "exact"
_LAYERS = words(
    "Linear Bilinear Embedding EmbeddingBag Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d "
    "LSTM GRU RNN LSTMCell GRUCell RNNCell MultiheadAttention NonDynamicallyQuantizableLinear"
)
_OF_NORMS = frozenset({str(Role.NORM_SCALE), str(Role.NORM_SHIFT)})
_UNDERFLOW = 1e-30  # E[g²] from which one more layer may end below float32's range


def rules(look: Look) -> Iterator[Finding]:
    """Findings about parameters that training would not change. All are exact."""
    yield from _cut(look)
    yield from _flat(look)
    yield from _unused(look)
    yield from _unregistered(look)
    yield from frozen(look)
    yield from _optimizer(look)
    yield from _untied(look)


def _cut(look: Look) -> Iterator[Finding]:
    """Trainable parameters that the forward uses and the gradient never arrives at."""
    lost = [w for w in look.light.weights if w.trainable and w.reached is False and w.used is not False]
    lost = [w for w in lost if not _is_unread(look, w)]
    if not lost:
        yield from _left(look)
        return
    places = [p for w in lost if (p := look.place_of(w.name)) is not None]
    last = max(places, key=lambda p: p.index) if places else None
    behind = next(
        (p for p in look.light.places if last is not None and p.index > last.index and p.backward is not None), None
    )
    where = where_of(last) if last is not None else lost[-1].name
    if last is not None and _dead_end(look, places):
        yield _unread(look, lost, where, last)
        return
    between = (
        f" between {where} and {where_of(behind)}" if behind is not None and behind.kind is not Kind.OUTPUT else ""
    )
    yield Finding(
        "no-gradient",
        Severity.ERROR,
        where,
        None if last is None else last.position,
        (Evidence("trainable parameters without a gradient", float(len(lost)), 0.0, 0.0, _EXACT),),
        f"the way back is cut{between}: a detach, no_grad, .data, an integer, rounding or numpy call stands there",
        "take the cut out of the forward, or set requires_grad=False for what is meant to stay",
        f"# remove .detach() / torch.no_grad() / .data / .item() / .numpy() / argmax / round{between} from the forward",
    )


def _left(look: Look) -> Iterator[Finding]:
    """Outputs, side by side with those that the loss reads, whose gradient is exactly zero."""
    lost = [w for w in look.light.weights if w.trainable and w.grad_zeros == 1.0]
    if look.tape is None or len(lost) == sum(w.grad_zeros is not None for w in look.light.weights):
        return
    drawn, readers = {w.name for w in lost if not w.constant}, look.tape.readers()
    flat = (p for p in look.light.of(Kind.WEIGHT) if p.backward is not None and p.backward.zeros == 1)
    ends = [p for p in flat if p.weight in drawn and p.node is not None and _given(look.tape, readers, p.node)]
    if ends:
        yield _unread(look, lost, where_of(ends[-1]), ends[-1])


def _given(tape: Tape, readers: Readers, place: int) -> bool:
    """Whether a value is given out as a part of the outputs, and not as all of them."""
    waiting, seen = [place], {place}
    ends = {ref.node for ref in tape.outputs}
    while waiting:
        node = waiting.pop()
        if node in ends and node != place:
            return True
        fresh = {r.id for r, _ in readers[node] if r.op in VIEWS | JOINS} - seen
        seen |= fresh
        waiting += fresh
    return place in ends and len(ends) > 1


def _dead_end(look: Look, places: list[Place]) -> bool:
    """Whether what these places make has no way to any place that gets a gradient.

    Then nothing is cut: it is an output that the loss does not read, or a value that nothing reads.
    """
    tape = look.tape
    nodes = {p.node for p in places if p.node is not None}
    reached = {p.node for p in look.light.places if p.backward is not None and p.node is not None}
    if tape is None or any(p.node is None for p in places) or not reached:
        return False
    return not (nodes | downstream(tape, nodes)) & reached


def _unread(look: Look, lost: list[Weight], where: str, last: Place) -> Finding:
    """A note for library modules, and for the end of a stack whose other layers are read (WaveNet's last residual)."""
    reached = _reached(look)
    meant = all(w.packaged or _pattern(w.name) in reached for w in lost)
    return Finding(
        "no-gradient",
        Severity.NOTE if meant else Severity.WARNING,
        where,
        last.position,
        (Evidence("trainable parameters without a gradient", float(len(lost)), 0.0, 0.0, _EXACT),),
        f"the loss does not read what {where} makes, so its parameters keep their draw",
        "let the loss read it; or leave the layer out, or set requires_grad=False where it is meant to stay",
        f"# loss = loss + loss_of({where})  # or: model.get_parameter({lost[0].name!r}).requires_grad_(False)",
    )


def _reached(look: Look) -> set[str]:
    """The patterns of the parameters that a gradient reaches."""
    return {_pattern(w.name) for w in look.light.weights if w.reached and w.grad_zeros != 1.0}


def _pattern(name: str) -> str:
    """A parameter's name with the number of its layer left open."""
    return ".".join("#" if part.isdigit() else part for part in name.split("."))


def _flat(look: Look) -> Iterator[Finding]:
    """A place on the trunk where the gradient turns to exactly zero, though nothing before it is dead or zero.

    Rounding, comparisons and signs have a derivative of zero everywhere: autograd passes it on without a word.
    """
    path = [p for p in look.trunk if p.backward is not None and p.kind is not Kind.INPUT]
    flat = [p.backward is not None and p.backward.zeros == 1 for p in path]
    if not look.traced and sorted(flat, reverse=True) != flat:
        return  # neighbours need not feed each other: only one clean cut is sure
    for place, behind in pairwise(path):
        if place.backward is None or behind.backward is None or place.backward.zeros < 1 or behind.backward.zeros == 1:
            continue
        if behind.backward.second < _UNDERFLOW:
            return  # it vanished, and fell below float32's range here
        weight = look.weight_of(behind)
        dead = behind.forward is not None and (behind.forward.dead == 1.0 or behind.forward.saturated == 1.0)
        if dead or (weight is not None and weight.second == 0) or behind.op in ("softmax", "hardtanh", "relu6"):
            continue
        if place.forward is not None and (place.forward.second == 0 or place.forward.dead == 1.0):
            continue
        yield Finding(
            "no-gradient",
            Severity.ERROR,
            look.name_of(place),
            place.position,
            (Evidence("share of the gradient that is exactly zero", place.backward.zeros, 1.0, 0.0, _EXACT),),
            f"between {where_of(place)} and {where_of(behind)} stands a call whose derivative is zero everywhere: "
            "round, floor, sign, a comparison, or a clamp that all values are beyond",
            "replace it, or pass the gradient straight through: x + (round(x) − x).detach()",
            "# behind the rounding: x = x + (torch.round(x) - x).detach()",
        )
        return


def _unused(look: Look) -> Iterator[Finding]:
    """Parameters that the forward never reads.

    A warning where a whole layer of the user's own is never called: its memory and its optimizer's are spent, and
    distributed training waits for its gradient. A note of single vectors (mask tokens) and of the layers of installed
    packages, whose modules hold what another configuration calls (measured: 20 of 175 of transformers' models).
    """
    lost = [w for w in look.light.weights if w.trainable and _is_unread(look, w)]
    if lost and not any(w.reached for w in lost):
        reached = _reached(look)
        layers = [w for w in lost if w.module_type in _LAYERS and not w.packaged]
        layers = [w for w in layers if w.used is False or _pattern(w.name) not in reached]  # an expert without a token
        lost = layers or lost
        yield Finding(
            "unused-parameter",
            Severity.WARNING if layers else Severity.NOTE,
            lost[0].name,
            None,
            (Evidence("parameters that this forward does not read", float(len(lost)), 0.0, 0.0, _EXACT),),
            "the forward never calls the module that holds it"
            + (f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""),
            "call it in the forward, or remove it: it takes memory, and distributed training waits for its gradient",
            f"# call {lost[0].name.rpartition('.')[0]} in the forward, or delete it",
        )


def _is_unread(look: Look, weight: Weight) -> bool:
    """Whether the forward never reads it: by the trace, or in fact, where a branch was taken that the trace did not."""
    if weight.used is False:
        return True
    measured = any(p.forward is not None and p.kind is Kind.WEIGHT for p in look.light.places)
    if not measured or look.light.analytic or weight.reached is not False:
        return False
    home = weight.name.rpartition(".")[0]
    if _is_complex(look, weight):
        return False
    if weight.role in _OF_NORMS:  # of a layer that was dropped as a whole
        return bool(home) and not any(p.module == home or p.module.startswith(f"{home}.") for p in look.light.places)
    beside = look.weights.get(f"{home}.weight")  # a bias is read where its weight is
    return any(w is not None and w.role in WEIGHTS and look.place_of(w.name) is None for w in (weight, beside))


def _is_complex(look: Look, weight: Weight) -> bool:
    """Whether complex numbers are made with it (spectral filters), which are no places: it is read all the same."""
    tape = look.tape
    return tape is not None and any(d.is_complex for use in look.uses(weight) for d in tape[use.node].dtypes)


def _unregistered(look: Look) -> Iterator[Finding]:
    """Layers that the forward calls and the model does not have: their weight and bias are no parameters of it.

    They stand in a plain list or dict, so ``parameters()`` has them not, nor ``to(device)`` or ``state_dict``. A fixed
    projection is a tensor, and no parameter.
    """
    tape = look.tape
    found = [] if tape is None else [n for n in tape if any(tape[i].parameter for i in n.inputs)]
    if tape is None or not found:
        return
    strays = [tape[i] for n in found for i in n.inputs if tape[i].parameter]
    where = next((s.name for s in strays if s.name), "") or found[0].module or found[0].op
    yield Finding(
        "unregistered-layer",
        Severity.ERROR,
        where,
        None,
        (Evidence("layers whose weights are no parameters of the model", float(len(found)), 0.0, 0.0, _EXACT),),
        f"the forward calls {found[0].op} with weights of shape {strays[0].shape} that model.parameters() lacks: the "
        "layer stands in a plain list or dict",
        "keep layers in torch.nn.ModuleList or ModuleDict",
        "# layers = torch.nn.ModuleList(layers)",
    )


def _optimizer(look: Look) -> Iterator[Finding]:
    lost = [w for w in look.light.weights if w.trainable and w.in_optimizer is False and w.used is not False]
    if not lost:
        return
    place = look.place_of(lost[0].name)
    yield Finding(
        "not-in-optimizer",
        Severity.ERROR,
        lost[0].name,
        None if place is None else place.position,
        (Evidence("trainable parameters that the optimizer lacks", float(len(lost)), 0.0, 0.0, _EXACT),),
        "the optimizer was made from other parameters (a part of the model, or the model before it was changed)",
        "make the optimizer from model.parameters() after the model is complete",
        f"optimizer = torch.optim.{look.light.optimizer or 'Adam'}(model.parameters(), lr=...)",
    )


def _untied(look: Look) -> Iterator[Finding]:
    """A head that holds exactly the values of an embedding table, or the other way round, as a tensor of its own."""
    for weight in look.light.weights:
        other = look.weights.get(weight.duplicate_of)
        if other is None or not (weight.trainable and other.trainable):
            continue
        pair = (_is_table(weight) and (other.head or _is_table(other))) or (weight.head and _is_table(other))
        if pair:
            place = look.place_of(weight.name)
            yield Finding(
                "untied-weights",
                Severity.WARNING,
                weight.name,
                None if place is None else place.position,
                (Evidence("values that two tensors share", float(weight.count), 0.0, None, _EXACT),),
                f"{weight.name} holds exactly the values of {other.name}: a copy was made where one tensor was meant",
                "assign the parameter itself, not a clone of it",
                f"model.{weight.name} = model.{other.name}",
            )
            return


def _is_table(weight: Weight) -> bool:
    return weight.role in TABLES or weight.role == str(Role.EMBEDDING)

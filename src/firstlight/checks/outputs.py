"""The end of the network: its last activation, and whether it fits the loss and the targets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ..graphs import Node, Tape
from ..graphs.attention import products_after
from ..graphs.ops import VIEWS, words
from ..graphs.views import follow, own
from ..graphs.walks import backward, data_of
from ..probes.records import Kind, Loss, Place, Weight
from .looking import REGRESSIONS, WEIGHTS, Look, rms, where_of
from .records import Evidence, Finding, Severity

_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "sigmoid": (0.0, 1.0),
        "hardsigmoid": (0.0, 1.0),
        "softmax": (0.0, 1.0),
        "tanh": (-1.0, 1.0),
        "hardtanh": (-1.0, 1.0),
        "softsign": (-1.0, 1.0),
        "relu": (0.0, math.inf),
        "relu6": (0.0, 6.0),
        "softplus": (0.0, math.inf),
        "exp": (0.0, math.inf),
        "log_softmax": (-math.inf, 0.0),
        "logsigmoid": (-math.inf, 0.0),
    }
)
_JOINS = words("cat concat concatenate stack hstack vstack dstack column_stack")
_EXACT = "exact: by structure"


def rules(look: Look) -> Iterator[Finding]:
    """Findings about the output."""
    yield from _hidden_softmax(look)
    last = _last_activation(look)
    loss = look.light.loss
    if last is not None:
        yield from _over_one(last, last.module or last.op)
    yield from _pooled_over_one(look, last)
    if loss is None:
        return
    yield from _twice(loss, last)
    if last is not None:
        yield from _range(loss, last)


def _last_activation(look: Look) -> Place | None:
    """The model's last activation or softmax, behind its last weight; ``None`` where the outputs are the weight's own.

    What the loss function calls stands behind the output, and is no part of the model.
    """
    weights = look.light.of(Kind.WEIGHT)
    if not weights:
        return None
    end = next((p.index for p in look.light.of(Kind.OUTPUT)), len(look.light.places))
    own = look.light.places[weights[-1].index : end]
    after = [p for p in own if p.kind in (Kind.ACTIVATION, Kind.SOFTMAX)]
    return after[-1] if after and _leaves(look, after[-1]) else None


def _leaves(look: Look, place: Place) -> bool:
    """Whether what a place makes is an output of the model or a part of one; unknown without a trace."""
    tape = look.tape
    if tape is None or place.node is None:
        return True
    ends = (backward(tape, ref.node, lambda n: n.op in VIEWS | _JOINS, len(tape) + 1) for ref in tape.outputs)
    return any(node.id == place.node for end in ends for node in end)


def at_the_end(
    code: str, where: str, severity: Severity, evidence: tuple[Evidence, ...], cause: str, remedy: str, code_text: str
) -> Finding:
    """A finding about the outputs or the loss, which have no depth of their own."""
    return Finding(code, severity, where, 1.0, evidence, cause, remedy, code_text)


def _pooled_over_one(look: Look, last: Place | None) -> Iterator[Finding]:
    """Scores of one unit, normalized over their own axis: a pooling by attention that took the wrong one."""
    for place in look.light.of(Kind.SOFTMAX):
        before = look.weight_before(place)
        weight = look.weight_of(before)
        if place is not last and weight is not None and weight.fan_out == 1 and before.kind is Kind.WEIGHT:
            found = list(_over_one(place, where_of(before)))
            yield from found
            if found:
                return


def _over_one(last: Place, where: str) -> Iterator[Finding]:
    """A softmax over one entry is 1 whatever its argument. Exact."""
    seen = last.forward
    if last.op != "softmax" or seen is None:
        return
    if seen.mean == 1.0 and seen.second == 1.0 and seen.largest == 1.0 and last.shape and 1 in last.shape:
        yield at_the_end(
            "softmax-over-one",
            where,
            Severity.ERROR,
            (Evidence("the output, whatever the input", seen.mean, 1.0, 0.5, _EXACT),),
            "a softmax normalizes over its axis, and that axis has one entry: the output is 1 and passes no gradient",
            "use a sigmoid for one unit (or no activation, with binary_cross_entropy_with_logits); of scores to pool "
            "by, normalize over the positions",
            "# replace the last Softmax by torch.nn.Sigmoid()",
        )


def _twice(loss: Loss, last: Place | None) -> Iterator[Finding]:
    """Probabilities given to a loss that applies the softmax or sigmoid itself. Exact.

    The logits then lie within [0, 1], so the loss cannot fall below log(1 + (C − 1)/e): 1.46 for ten classes.
    """
    if last is None:
        return
    p = loss.predictions
    softmax = last.op == "softmax" and loss.op == "cross_entropy" and loss.classes > 1
    if (
        last.op == "softmax"
        and loss.op == "nll_loss"
        and p is not None
        and p.rows_sum_to_one
        and last.forward is not None
    ):
        # The logarithm of a softmax varies C times as much as the softmax; a log_softmax of it as much.
        softmax = loss.classes > 4 and 0 < p.std < 2 * last.forward.std
    sigmoid = last.op in ("sigmoid", "hardsigmoid") and loss.op == "binary_cross_entropy_with_logits"
    over_classes = last.op == "sigmoid" and loss.op == "cross_entropy"
    if not (softmax or sigmoid or over_classes) or p is None:
        return
    if loss.op != "nll_loss" and (p.smallest < 0 or p.largest > 1):
        return
    classes = max(loss.classes, 2)
    floor = math.log(1 + (classes - 1) / math.e) if not sigmoid else math.log(1 + 1 / math.e)
    inside = "sigmoid" if sigmoid else "softmax"
    yield at_the_end(
        "double-softmax",
        last.module or last.op,
        Severity.ERROR,
        (
            Evidence("standard deviation that the loss is given", p.std, 0.5, 1.0, _EXACT),
            Evidence("lowest loss that can be reached", floor, 0.0, 0.0, "log(1 + (C − 1)/e)"),
        ),
        f"the model ends in {last.op}, and {loss.op} applies a {inside} of its own",
        f"give {loss.op} the raw outputs: remove the last {last.op}",
        f"# remove the last {last.op}: the loss has one",
    )


def _hidden_softmax(look: Look) -> Iterator[Finding]:
    """A softmax whose output a linear or convolution layer reads: its values are about 1/n, their variance 1/n². Exact.

    Attention and gates multiply values by a softmax's output, and are none; nor is a map that mixes heads of attention.
    """
    tape = look.tape
    for place in look.light.of(Kind.SOFTMAX):
        if place.op != "softmax":
            continue
        following = next((p for p in look.light.places[place.index + 1 :] if p.kind is Kind.WEIGHT), None)
        weight = None if following is None else look.weight_of(following)
        if following is None or weight is None or weight.role not in WEIGHTS:
            continue
        if tape is not None and place.node is not None and following.node is not None:
            if not _reads(look, following.node, place.node) or _mixes_heads(tape, tape[following.node], place.node):
                continue
        elif place.module_type != "Softmax" or not _fits(place, weight, following):
            continue
        if following.op not in ("linear", "conv1d", "conv2d", "conv3d"):
            continue
        yield Finding(
            "hidden-softmax",
            Severity.ERROR,
            place.module or place.op,
            place.position,
            (Evidence("rms of the softmax's output", rms(place), 0.5, 1.0, "1/n for n units"),),
            f"{where_of(following)} reads a softmax: units compete, values are about 1/{place.shape[-1]}, and "
            "hardly any gradient passes",
            "use an activation that acts on each unit (ReLU, GELU, tanh)",
            f"# replace the Softmax at {place.module or place.op} by torch.nn.ReLU()",
        )
        return


def _fits(place: Place, weight: Weight, following: Place) -> bool:
    """Whether a map may read a place's value as it is: where no trace tells."""
    maps = following.op != "linear" or place.shape[-1] == weight.fan_in
    return maps and len(place.shape) == len(following.shape)


def _mixes_heads(tape: Tape, reader: Node, softmax: int) -> bool:
    """Whether a map reads attention across its heads (Shazeer et al. 2020, arXiv 2003.02436): values follow it, and it
    sums over another axis than the softmax does."""
    if not products_after(tape, tape.readers(), reader):
        return False
    axes = own(tape[softmax].shape)
    way = [n for n in backward(tape, data_of(tape, reader)[0], lambda n: n.id != softmax) if n.id != softmax]
    for node in reversed(way):
        followed = follow(axes, node, node.operands[0])
        if followed is None:
            return False
        axes = followed
    if len(axes) < 3:
        return False
    axis = tape[softmax].argument("dim", 1, -1)
    summed = axes[-1] if reader.op == "linear" else axes[1]
    return isinstance(axis, int) and axis % len(tape[softmax].shape) not in summed


def _reads(look: Look, reader: int, source: int) -> bool:
    """Whether a call reads another's value as its data, through views alone."""
    tape = look.tape
    if tape is None:
        return False
    data = data_of(tape, tape[reader])
    return source in data or (len(data) == 1 and _is_view_of(tape, data[0], source))


def _is_view_of(tape: Tape, view: int, source: int) -> bool:
    """Whether a call's value is another's, through views alone."""
    for _ in range(20):
        if tape[view].op not in VIEWS:
            return False
        data = data_of(tape, tape[view])
        if source in data:
            return True
        if len(data) != 1:
            return False
        view = data[0]
    return False


def _range(loss: Loss, last: Place) -> Iterator[Finding]:
    """Targets that the last activation cannot produce. Exact for the range; an error where the mean is out of it.

    A ReLU's output is no probability: below zero it says exactly 0, and the cross-entropy of that is infinite.
    """
    low, high = _RANGES.get(last.op, (-math.inf, math.inf))
    targets = loss.targets
    where = last.module or last.op
    if last.op in ("relu", "relu6") and loss.op in ("binary_cross_entropy", "cross_entropy", "nll_loss"):
        hard = loss.op != "cross_entropy"
        yield at_the_end(
            "unreachable-targets",
            where,
            Severity.ERROR if hard else Severity.WARNING,
            (Evidence("smallest output", 0.0, 0.0, None, _EXACT),),
            f"the model ends in {last.op}: its output is "
            + (
                "no probability, and 0 costs an infinite loss"
                if hard
                else "never below 0, and units at 0 get no gradient"
            ),
            "end in a sigmoid" if hard else f"remove the last {last.op}: {loss.op} takes raw outputs",
            f"# replace the last {last.op} by torch.nn.Sigmoid()" if hard else f"# remove the last {last.op}",
        )
        return
    regression = loss.op in REGRESSIONS or not loss.op
    given = loss.predictions
    if given is None or last.forward is None or math.prod(given.shape) != last.forward.count:
        return  # the loss compares something that is made of the outputs, such as their spectra
    if not regression or targets is None or (low, high) == (-math.inf, math.inf):
        return
    width = high - low if math.isfinite(high - low) else max(targets.std, 1e-12)
    below, above = low - targets.smallest, targets.largest - high
    if max(below, above) <= 0.05 * width:
        return
    outside = not low <= targets.mean <= high or targets.std > width
    yield at_the_end(
        "unreachable-targets",
        where,
        Severity.ERROR if outside or max(below, above) > width else Severity.WARNING,
        (
            Evidence("smallest target", targets.smallest, low, None, _EXACT),
            Evidence("largest target", targets.largest, high, None, _EXACT),
        ),
        f"the model ends in {last.op}, whose values lie within ({low:g}, {high:g}); the targets reach from "
        f"{targets.smallest:.3g} to {targets.largest:.3g}",
        f"remove the last {last.op}, or scale the targets into its range",
        f"# remove the last {last.op}",
    )

"""The end of the network: its last activation, the loss it is given to, and where that loss starts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from ..graphs.ops import VIEWS
from ..graphs.tape import Flow
from ..initializers import Zeros
from ..probes.records import Kind, Loss, Place
from .looking import WEIGHTS, Look, rms, where_of
from .records import Evidence, Finding, Severity
from .repairs import overridden, replanned
from .signal import grown_body

EXCESS = 3.0  # excess of the first loss over chance, as a multiple of log C: a warning
FAR = 10.0  # an error
_LARGE = 10.0  # rms before the head beyond which the body, not the head, makes the logits large
_EACH = 8.0  # Σ |∂L/∂output| a sample, of a hand-written loss
_UNIT = 10.0  # rms of outputs beyond which the gradient is large for another reason
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
_REGRESSIONS = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
_POSITIVE = (*_REGRESSIONS, "cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits", "nll_loss")
_ADAPTIVE = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Rprop")
_EXACT = "exact: by structure"


def rules(look: Look) -> Iterator[Finding]:
    """Findings about the output and the loss."""
    yield from _hidden_softmax(look)
    last = _last_activation(look)
    loss = look.light.loss
    if last is not None:
        yield from _over_one(last)
    if loss is None:
        return
    yield from _twice(loss, last)
    yield from _raw(loss)
    if last is not None:
        yield from _range(loss, last)
    yield from _reduction(look, loss)
    yield from _sign(loss)
    yield from _start(look, loss)


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
    return after[-1] if after else None


def _model(
    code: str, where: str, severity: Severity, evidence: tuple[Evidence, ...], cause: str, remedy: str, code_text: str
) -> Finding:
    return Finding(code, severity, where, 1.0, evidence, cause, remedy, code_text)


def _over_one(last: Place) -> Iterator[Finding]:
    """A softmax over one entry is 1 whatever its argument. Exact."""
    seen = last.forward
    if last.op != "softmax" or seen is None:
        return
    if seen.mean == 1.0 and seen.second == 1.0 and seen.largest == 1.0 and last.shape and 1 in last.shape:
        yield _model(
            "softmax-over-one",
            last.module or last.op,
            Severity.ERROR,
            (Evidence("the output, whatever the input", seen.mean, 1.0, 0.5, _EXACT),),
            "a softmax normalizes over its axis, and that axis has one entry: the output is 1 and passes no gradient",
            "use a sigmoid for one unit (or no activation, with binary_cross_entropy_with_logits)",
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
    yield _model(
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


def _raw(loss: Loss) -> Iterator[Finding]:
    """Raw outputs given to ``nll_loss``, which wants log-probabilities. Exact: exp of a row does not sum to one."""
    p = loss.predictions
    if loss.op != "nll_loss" or p is None or p.nonfinite or p.rows_sum_to_one:
        return
    yield _model(
        "missing-softmax",
        "loss",
        Severity.ERROR,
        (Evidence("largest log-probability given", p.largest, 0.0, -math.log(max(loss.classes, 2)), _EXACT),),
        "nll_loss takes log-probabilities; given raw outputs it is linear in them and has no minimum",
        "use cross_entropy on the raw outputs, or end the model in log_softmax",
        "loss_fn = torch.nn.functional.cross_entropy",
    )


def _hidden_softmax(look: Look) -> Iterator[Finding]:
    """A softmax whose output a linear or convolution layer reads: its values are about 1/n, their variance 1/n². Exact.

    Attention and gates multiply values by a softmax's output, and are none.
    """
    tape = None if look.light.graph is None else look.light.graph.tape
    for place in look.light.of(Kind.SOFTMAX):
        if place.op != "softmax":
            continue
        following = next((p for p in look.light.places[place.index + 1 :] if p.kind is Kind.WEIGHT), None)
        weight = None if following is None else look.weight_of(following)
        if following is None or weight is None or weight.role not in WEIGHTS:
            continue
        if tape is not None and place.node is not None and following.node is not None:
            if not _reads(look, following.node, place.node):
                continue
        elif place.module_type != "Softmax":
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


def _reads(look: Look, reader: int, source: int) -> bool:
    """Whether a call reads another's value as its data, through views alone."""
    graph = look.light.graph
    if graph is None or graph.tape is None:
        return False
    tape = graph.tape
    node = tape[reader]
    for _ in range(20):
        data = [i for i in node.inputs if tape[i].flow is Flow.DATA]
        if source in data:
            return True
        if len(data) != 1 or tape[data[0]].op not in VIEWS:
            return False
        node = tape[data[0]]
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
        yield _model(
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
    regression = loss.op in _REGRESSIONS or not loss.op
    if not regression or targets is None or (low, high) == (-math.inf, math.inf):
        return
    width = high - low if math.isfinite(high - low) else max(targets.std, 1e-12)
    below, above = low - targets.smallest, targets.largest - high
    if max(below, above) <= 0.05 * width:
        return
    outside = not low <= targets.mean <= high or targets.std > width
    yield _model(
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


def _reduction(look: Look, loss: Loss) -> Iterator[Finding]:
    """A loss that is a sum over the batch: gradients are as many times larger as there are terms.

    Exact where the call says ``reduction="sum"``. Of a loss written by hand the gradient to the outputs tells:
    averaged, the sizes of its entries add up to about one whatever the batch; 8 a sample is a sum over samples and
    outputs. Adam and its kin divide a constant factor out: there it is a note.
    """
    terms = look.light.batch
    summed = loss.reduction == "sum"
    if not loss.op and not look.light.projected:
        end = next((p for p in reversed(look.light.places) if p.backward is not None), None)
        if end is not None and end.backward is not None and rms(end) < _UNIT:
            terms = end.backward.count
            summed = end.backward.mean_abs * terms > _EACH * look.light.batch
    if not summed or terms < 8:
        return
    adaptive = look.light.optimizer in _ADAPTIVE
    yield _model(
        "unreduced-loss",
        "loss",
        Severity.NOTE if adaptive else Severity.WARNING,
        (Evidence("terms that the loss sums", float(terms), 1.0, 1.0, _EXACT),),
        f"the loss is summed over {terms} terms, so the learning rate acts as if it were {terms} times larger, and "
        "changes with the batch size",
        'average it: reduction="mean"',
        'reduction="mean"',
    )


def _sign(loss: Loss) -> Iterator[Finding]:
    """A negative value of a loss that is never negative. Exact."""
    if loss.op in _POSITIVE and loss.op != "nll_loss" and loss.value < -1e-6:
        yield _model(
            "flipped-loss",
            "loss",
            Severity.ERROR,
            (Evidence(f"the loss, made by {loss.op}", loss.value, 0.0, loss.expected, _EXACT),),
            f"{loss.op} is never negative: its sign was turned, so training makes it worse",
            "minimize the loss itself, without the minus",
            "# remove the minus before the loss",
        )


def _start(look: Look, loss: Loss) -> Iterator[Finding]:
    """The first loss against chance: log C + s²/2 for C classes and logits of standard deviation s.

    Bounds: an excess over the entropy of the targets of 3 log C is a warning, of 10 log C an error: past s² = 2 log C
    the largest logit alone decides, and healthy networks go past that (a He head on a unit signal starts 1 nat above
    chance, one on a residual stream without norms 4). Where the excess does not vary with the sample,
    the bias makes it.
    """
    if look.light.origin is not None or loss.op not in (
        "cross_entropy",
        "binary_cross_entropy_with_logits",
        "nll_loss",
    ):
        return
    head = look.head
    if loss.trivial is None or loss.classes < 2 or head is None or loss.reduction != "mean" or loss.value <= 0:
        return
    chance = math.log(loss.classes)
    excess = loss.value - loss.trivial
    if excess < EXCESS * chance:
        return
    seen = head.forward
    spread = None if seen is None else seen.sample_spread
    bias = look.bias_of(head)
    constant = spread is not None and spread < 0.1 and bias is not None and bias.second > 0
    severity = Severity.ERROR if excess > FAR * chance else Severity.WARNING
    std = 0.0 if loss.predictions is None else loss.predictions.std
    evidence = (
        Evidence("loss at step 0", loss.value, loss.trivial + EXCESS * chance, loss.trivial, "log C + s²/2"),
        Evidence("standard deviation of the logits", std, math.sqrt(2 * chance), 1.0, ""),
    )
    if constant and bias is not None:
        yield Finding(
            "wrong-prior",
            severity,
            bias.name,
            head.position,
            evidence,
            f"{bias.name} reaches {bias.largest:.3g}, so all samples are given the same wrong answer",
            "start the output bias at zero, or at the log of the classes' shares",
            overridden(look.light, {bias.name: Zeros()}, "no class is favoured"),
        )
        return
    arriving = look.before(head)
    weight = look.weight_of(head)
    own = 1.0 if weight is None else math.sqrt(weight.second * max(weight.fan_in, 1.0))
    if arriving is not None and rms(arriving) > max(own, _LARGE):
        grown = grown_body(look)
        if grown is not None:
            yield replace(grown, severity=severity, evidence=(*grown.evidence, *evidence))
            return
    yield Finding(
        "large-head",
        severity,
        where_of(head),
        head.position,
        evidence,
        f"the head makes logits of standard deviation {std:.3g}"
        + ("" if arriving is None else f" from an input of rms {rms(arriving):.3g}")
        + ": wrong answers are given with certainty",
        "draw the head with σ² · fan_in = 1, or start it at zero",
        replanned(look.light, head.parameters),
    )

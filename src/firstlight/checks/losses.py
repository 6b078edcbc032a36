"""The loss: what it is given, its sign and reduction, and where it starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from ..graphs import Role
from ..graphs.ops import words
from ..initializers import Constant, Initializer, Normal, Zeros
from ..plans import Plan
from ..probes.records import Kind, Loss, Place, Values, Weight
from .looking import REGRESSIONS, TABLES, Look, rms, where_of
from .outputs import at_the_end
from .records import Evidence, Finding, Severity
from .repairs import overridden, replanned
from .signal import grown_body

EXCESS = 3.0  # excess of the first loss over chance, as a multiple of log C: a warning
FAR = 10.0  # an error
_BY_BIAS = 0.25  # share of the logits' second moment from which the bias makes it
WIDE = 8.0  # standard deviation of binary logits, which rare positives and their bias hide from the loss
_LARGE = 10.0  # rms before the head beyond which the body, not the head, makes the logits large
_EACH = 8.0  # Σ |∂L/∂output| a sample, of a hand-written loss
_UNIT = 10.0  # rms of outputs beyond which the gradient is large for another reason
_NEVER_NEGATIVE = (
    *REGRESSIONS,
    *("cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits"),
)
_CLASSES = ("cross_entropy", "binary_cross_entropy_with_logits", "nll_loss")
_LOUD = 5.0  # standard deviation of a regression's outputs, alone and over that of the targets
_ADAPTIVE = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Rprop")
_RATE = 5.0  # excess of a log-rate over the logarithm of the mean count
_LINEAR = 0.9  # the power of the distance below which a loss may fall
_NORMALIZED = words("normalize norm vector_norm linalg_norm linalg_vector_norm")
_EXACT = "exact: by structure"


def rules(look: Look) -> Iterator[Finding]:
    """Findings about the loss."""
    loss = look.light.loss
    if loss is not None:
        yield from _raw(loss)
        yield from _reduction(look, loss)
        yield from _sign(loss)
        yield from _likelihood(look, loss)
        yield from _score(loss)
        yield from _falls(loss)
        yield from _start(look, loss)


def _raw(loss: Loss) -> Iterator[Finding]:
    """Raw outputs given to ``nll_loss``, which wants log-probabilities. Exact: exp of a row does not sum to one."""
    p = loss.predictions
    if loss.op not in ("nll_loss", "kl_div") or p is None or p.nonfinite or p.rows_sum_to_one:
        return
    if loss.op == "kl_div" and p.largest <= 0:
        return
    yield at_the_end(
        "missing-softmax",
        "loss",
        Severity.ERROR,
        (Evidence("largest log-probability given", p.largest, 0.0, -math.log(max(loss.classes, 2)), _EXACT),),
        f"{loss.op} takes log-probabilities; given raw outputs it is linear in them and has no minimum",
        "use cross_entropy on the raw outputs, or end the model in log_softmax",
        "loss_fn = torch.nn.functional.cross_entropy"
        if loss.op == "nll_loss"
        else "loss_fn = lambda p, y: torch.nn.functional.kl_div(p.log_softmax(-1), y, reduction='batchmean')",
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
    yield at_the_end(
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
    """A negative value of a loss that is never negative, or that is highest where outputs equal targets. Exact."""
    by_hand = not loss.op and loss.predictions is not None  # zero where outputs equal targets
    if (loss.op in _NEVER_NEGATIVE or by_hand) and loss.value < -1e-6:
        yield at_the_end(
            "flipped-loss",
            "loss",
            Severity.ERROR,
            (Evidence(f"the loss, made by {loss.op or 'hand'}", loss.value, 0.0, loss.expected, _EXACT),),
            f"{loss.op or 'a loss that is zero at the targets'} is never negative: its sign was turned, so training "
            "makes it worse",
            "minimize the loss itself, without the minus",
            "# remove the minus before the loss",
        )


def _likelihood(look: Look, loss: Loss) -> Iterator[Finding]:
    """A mean of log-probabilities that is minimized: a loss written by hand, negative, that falls as they fall.

    Exact: the model ends in log_softmax, and no entry of the gradient to it is negative.
    """
    last = next((p for p in reversed(look.light.places) if p.kind is not Kind.OUTPUT), None)
    if loss.op or last is None or last.op not in ("log_softmax", "logsigmoid") or last.backward is None:
        return
    size, mean = last.backward.mean_abs, last.backward.mean
    if loss.value < -1e-6 and size > 0 and math.isclose(mean, size, rel_tol=1e-4):
        yield at_the_end(
            "flipped-loss",
            "loss",
            Severity.ERROR,
            (Evidence("the loss, made of log-probabilities", loss.value, 0.0, None, _EXACT),),
            "the loss falls as the log-probabilities of the targets fall: the minus of the likelihood was lost",
            "minimize the negative log-likelihood: put the minus there",
            "# put a minus before the log-likelihood",
        )


def _score(loss: Loss) -> Iterator[Finding]:
    """A score from 0 to 1 that is minimized: a hand-written loss that is near 1 where the outputs say the targets."""
    if loss.agreement is not None:
        yield at_the_end(
            "flipped-loss",
            "loss",
            Severity.ERROR,
            (Evidence("the loss of right answers − of wrong ones", loss.agreement, 0.0, -1.0, _EXACT),),
            "it is a score, highest where the outputs say the targets, and training lowers it",
            "minimize one minus the score",
            "# loss = 1 - score",
        )


def _falls(loss: Loss) -> Iterator[Finding]:
    """A hand-written loss that the outputs can lower without end: a likelihood of turned sign.

    Proper losses end. The scores of critics and log-densities are linear in the outputs and no such loss, and a
    policy's falls for the samples of negative advantage alone. Bound: a distance d lowers it by d^0.9 or more, for
    every sample that was tried.
    """
    if loss.fall is None or loss.fall <= _LINEAR:
        return
    yield at_the_end(
        "flipped-loss",
        "loss",
        Severity.ERROR,
        (Evidence("power of the distance with which the loss falls", loss.fall, _LINEAR, 0.0, "bounded below"),),
        "following its gradient every sample's outputs lower the loss without end: its sign was turned",
        "minimize the negative log-likelihood: put the minus there, or take it away",
        "# turn the sign of the loss",
    )


def _start(look: Look, loss: Loss) -> Iterator[Finding]:
    """The first loss against chance: log C + s²/2 for C classes and logits of standard deviation s.

    Bounds: an excess over the entropy of the targets of 3 log C is a warning, of 10 log C an error: past s² = 2 log C
    the largest logit alone decides, and healthy networks go past that (a He head on a unit signal starts 1 nat above
    chance, one on a residual stream without norms 4). Binary logits alone: centred ones reach 3 log 2 at s = 5, and a
    standard deviation of 8 is a warning where a prior's bias makes their loss small. Where the excess does not vary
    with the sample, the bias makes it: there a loss of 2 log C is a warning, twice that of a bias of zero.
    """
    if look.light.origin is not None:
        return
    if loss.op in (*REGRESSIONS, ""):
        yield from _regression(look, loss)
    if loss.op == "poisson_nll_loss":
        yield from _counts(look, loss)
    head = look.head
    # Where it is weighed by hand afterwards (focal), what the theory says of these logits.
    own = loss.value if loss.called is None else loss.called
    value = {"mean": own, "none": loss.expected}.get(loss.reduction)
    if loss.op not in _CLASSES or loss.trivial is None or loss.classes < 2:
        return
    head = head or _loudest(look)
    if head is None:
        return
    if value is None or loss.value <= 0:
        return
    chance = math.log(loss.classes)
    excess = value - loss.trivial
    std = 0.0 if loss.predictions is None else loss.predictions.std
    wide = loss.op == "binary_cross_entropy_with_logits" and std > WIDE
    seen = head.forward
    spread = None if seen is None else seen.sample_spread
    bias = look.bias_of(head)
    made = 0.0 if seen is None else seen.second
    constant = spread is not None and spread < 0.1 and bias is not None and bias.second > _BY_BIAS * made
    worse = constant and value > 2 * chance  # without that bias it would be one log C
    if excess < EXCESS * chance and not wide and not worse:
        return
    severity = Severity.ERROR if excess > FAR * chance else Severity.WARNING
    evidence = (
        Evidence("loss at step 0", value, loss.trivial + EXCESS * chance, loss.trivial, "log C + s²/2"),
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
            overridden(look.light, {bias.name: _prior(loss)}, "the targets' prior"),
        )
        return
    arriving = look.before(head)
    weight = look.weight_of(head)
    if weight is not None and not weight.trainable:
        return  # loaded for another task, and kept
    cosines = weight is not None and _NORMALIZED & {*look.through(weight)}
    if cosines and arriving is not None and arriving.kind is Kind.NORM:
        return  # the loss has chosen their scale
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


def _loudest(look: Look) -> Place | None:
    """The weight place of the largest values, for models whose outputs no single weight makes."""
    return max((p for p in look.light.of(Kind.WEIGHT) if look.weight_of(p) is not None), key=rms, default=None)


def _regression(look: Look, loss: Loss) -> Iterator[Finding]:
    """Outputs of a regression that start far wider than the targets.

    Of outputs that know nothing of the targets the squared error is Var y + Var f. Bound: a standard deviation of the
    outputs above 5 and above 5 times the targets': 96 % of the first loss is then the network's own noise.
    """
    given, wanted = loss.predictions, loss.targets
    if given is None or wanted is None:
        return
    yield from _offset(look, given, wanted)
    if given.std < _LOUD * max(1.0, wanted.std):
        return
    place = look.head or _loudest(look)
    if place is None:
        return
    arriving = look.before(place)
    if look.head is not None and arriving is not None and rms(arriving) > _LARGE:
        grown = grown_body(look)
        if grown is not None:
            yield grown
            return
    yield Finding(
        "large-head",
        Severity.WARNING,
        where_of(place),
        place.position,
        (
            Evidence("standard deviation of the outputs", given.std, _LOUD * max(1.0, wanted.std), wanted.std, "Var f"),
            Evidence("standard deviation of the targets", wanted.std, 0.0, None, ""),
        ),
        f"the outputs start {given.std / max(wanted.std, 1e-12):.3g} times as wide as the targets, so the first steps "
        "unlearn the draw",
        "draw the last weights smaller: a head of σ² · fan_in = 1, tables whose products have the targets' size",
        replanned(look.light, place.parameters) if look.head is not None else _shrunk(look, wanted.std / given.std),
    )


def _offset(look: Look, given: Values, wanted: Values) -> Iterator[Finding]:
    """Output biases that put every prediction far beside the targets. Bound: as far as their width may be."""
    bound = _LOUD * max(1.0, wanted.std)
    offset = abs(given.mean - wanted.mean)
    biases = [
        w
        for w in _output_biases(look)
        if abs(w.mean - wanted.mean) > max(bound, 0.5 * offset) and abs(w.mean) > 0.5 * offset
    ]
    if offset < bound or not biases:
        return
    place = look.place_of(biases[0].name)
    yield Finding(
        "wrong-prior",
        Severity.ERROR if offset > FAR * bound else Severity.WARNING,
        biases[0].name,
        None if place is None else place.position,
        (
            Evidence(
                "mean of the outputs − mean of the targets", offset, bound, 0.0, "(E f − E y)² is added to the loss"
            ),
        ),
        f"{biases[0].name} starts at {biases[0].mean:.3g}, and the targets' mean is {wanted.mean:.3g}: all "
        "predictions are as far off",
        "start the output bias at the targets' mean",
        overridden(look.light, {w.name: Constant(wanted.mean) for w in biases}, "the mean of the targets"),
    )


def _prior(loss: Loss) -> Initializer:
    """The log-odds of a binary target's share; zero for several classes, which no one number favours rightly."""
    share = 0.0 if loss.targets is None or loss.op != "binary_cross_entropy_with_logits" else loss.targets.mean
    return Constant(math.log(share / (1 - share))) if 0 < share < 1 else Zeros()


def _output_biases(look: Look) -> list[Weight]:
    """The trained biases that the outputs are given last."""
    return [w for w in look.light.weights if w.head and w.role == str(Role.BIAS) and w.trainable]


def _counts(look: Look, loss: Loss) -> Iterator[Finding]:
    """Log-rates whose bias starts far above the logarithm of the mean count: e to its power is the rate.

    Bound: a factor e⁵ between the rate that the bias gives and the mean count.
    """
    bias = max(_output_biases(look), key=lambda w: abs(w.mean), default=None)
    given, counts = loss.predictions, loss.targets
    if bias is None or given is None or counts is None or counts.mean <= 0:
        return
    excess = given.mean - math.log(counts.mean)
    if excess < _RATE or abs(bias.mean) < 0.5 * excess:
        return
    yield Finding(
        "wrong-prior",
        Severity.ERROR,
        bias.name,
        1.0,
        (Evidence("mean of the log-rates − log of the mean count", excess, _RATE, 0.0, "a Poisson rate is e^output"),),
        f"{bias.name} starts at {bias.mean:.3g}, a rate of e^{bias.mean:.3g}; the mean count is {counts.mean:.3g}",
        f"start the output bias at log(mean count) = {math.log(counts.mean):.3g}",
        overridden(look.light, {bias.name: Constant(math.log(counts.mean))}, "the logarithm of the mean count"),
    )


def _shrunk(look: Look, factor: float) -> Callable[[], Plan] | str:
    """Embeddings whose products make the outputs, each smaller by the root of what the product is too large."""
    tables = [w for w in look.light.weights if w.role in TABLES and w.trainable and w.second > 0]
    decisions = {w.name: Normal(std=w.std * math.sqrt(factor)) for w in tables if w.std > 0}
    return overridden(look.light, decisions, "products of the targets' size")

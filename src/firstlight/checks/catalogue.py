"""Every finding that exists: its code, what it means, when it is looked for.

The families' files make findings with these codes and no others; docs/findings.md has a section for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from ..errors import UnknownNameError


class When(StrEnum):
    """When a fault shows."""

    STEP_0 = "step 0"
    TRAINING = "training"
    BOTH = "step 0 and training"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding.

    Args:
        code: its name, which is also its anchor in docs/findings.md.
        title: what is wrong, in a few words.
        family: the file of this room that looks for it.
        when: before the first step, or while training.
    """

    code: str
    title: str
    family: str
    when: When = When.STEP_0

    @property
    def docs(self) -> str:
        """Where it is explained."""
        return f"docs/findings.md#{self.code}"


_KINDS = (
    # numbers
    Kind("non-finite-inputs", "the batch itself holds NaN or Inf", "finiteness"),
    Kind("non-finite-weights", "a parameter holds NaN or Inf", "finiteness"),
    Kind("non-finite-values", "an operation makes NaN or Inf", "finiteness", When.BOTH),
    Kind("non-finite-gradients", "a gradient is NaN or Inf where the forward is finite", "finiteness", When.BOTH),
    # reach
    Kind("no-gradient", "the loss's gradient does not reach a parameter", "reach"),
    Kind("unused-parameter", "the forward does not use a parameter", "reach"),
    Kind("unregistered-layer", "a layer that is used is no part of the model", "reach"),
    Kind("frozen", "a parameter is frozen among trained ones, with random weights", "reach"),
    Kind("not-in-optimizer", "the optimizer does not have a parameter", "reach"),
    Kind("untied-weights", "weights that should be one tensor are two", "reach"),
    # symmetry
    Kind("constant-init", "all weights of a layer are one value", "symmetry"),
    Kind("symmetric-units", "units of a layer are the same and stay so", "symmetry"),
    Kind("duplicated-draws", "two layers, heads or experts hold the same draw", "symmetry"),
    # signal
    Kind("vanishing-forward", "the signal shrinks to nothing on the way forward", "signal"),
    Kind("exploding-forward", "the signal grows without bound on the way forward", "signal"),
    Kind("vanishing-gradient", "the gradient shrinks to nothing on the way back", "signal"),
    Kind("exploding-gradient", "the gradient grows without bound on the way back", "signal"),
    Kind("wrong-gain", "weights are scaled for another activation than the one they meet", "scale"),
    Kind("wrong-fan", "weights are scaled by the fan of another layer's form", "scale"),
    Kind("residual-growth", "residual branches add up without normalization", "signal"),
    Kind("batchnorm-explosion", "a deep stack of batch norms without skips makes gradients explode", "signal"),
    # units
    Kind("dead-units", "more units are dead than a healthy draw leaves", "units"),
    Kind("saturation", "units sit on the flat part of their activation", "units"),
    Kind("rank-collapse", "all samples look alike behind a layer", "collapse"),
    Kind("attention-collapse", "attention looks at one key only, or its logits are unscaled", "collapse"),
    Kind("zero-norm-scale", "a normalization's scale is zero off a residual branch", "units"),
    # the output and the loss
    Kind("large-head", "the head's outputs are so large that the first loss is far above chance", "losses"),
    Kind("wrong-prior", "the output bias starts far from the targets' mean or prior", "losses"),
    Kind("double-softmax", "a softmax is applied to what the loss applies one to", "outputs"),
    Kind("softmax-over-one", "a softmax over a single unit is constant", "outputs"),
    Kind("missing-softmax", "the loss wants log-probabilities and gets raw outputs", "losses"),
    Kind("hidden-softmax", "a softmax is used as the activation of a hidden layer", "outputs"),
    Kind("unreachable-targets", "the last activation cannot produce the targets", "outputs"),
    Kind("unreduced-loss", "the loss is summed where it should be averaged", "losses"),
    # the data
    Kind("unnormalized-inputs", "inputs are far from zero mean and unit scale", "data"),
    Kind("unscaled-targets", "targets are far from the scale of the outputs", "data"),
    # in training
    Kind("loss-stuck", "the loss does not move", "training", When.TRAINING),
    Kind("loss-rising", "the loss rises", "training", When.TRAINING),
    Kind("loss-oscillating", "the loss swings without getting lower", "training", When.TRAINING),
    Kind("loss-diverged", "the loss has left its start far behind", "training", When.TRAINING),
    Kind("trivial-plateau", "the loss rests where a constant prediction is", "training", When.TRAINING),
    Kind("vanished-gradients", "gradients have become nothing in training", "training", When.TRAINING),
    Kind("exploded-gradients", "gradients have grown without bound in training", "training", When.TRAINING),
    Kind("gradient-spike", "a gradient is many times larger than those before", "training", When.TRAINING),
    Kind("dying-units", "units die while training", "training", When.TRAINING),
    Kind("update-too-large", "updates are large beside the weights", "training", When.TRAINING),
    Kind("update-too-small", "updates are nothing beside the weights", "training", When.TRAINING),
    Kind("learning-rate-too-high", "the learning rate is above what the curvature allows", "training", When.TRAINING),
    Kind("learning-rate-too-low", "the learning rate is far below what the curvature asks", "training", When.TRAINING),
    Kind("flipped-loss", "training makes the loss worse by design: its sign is wrong", "training", When.BOTH),
    Kind(
        "over-fitting",
        "validation gets worse as training gets better: no fault of the start",
        "training",
        When.TRAINING,
    ),
)

CATALOGUE: MappingProxyType[str, Kind] = MappingProxyType({kind.code: kind for kind in _KINDS})
"""All kinds of finding, by code."""


def kind(code: str) -> Kind:
    """The kind of finding that has a code.

    Raises:
        UnknownNameError: nobody knows the code.

    >>> kind("dead-units").title
    'more units are dead than a healthy draw leaves'
    """
    if code not in CATALOGUE:
        raise UnknownNameError.of("finding", code, CATALOGUE)
    return CATALOGUE[code]

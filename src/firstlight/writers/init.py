"""``init_``: a whole model in one line, any scheme.

The walk through the house in one function: model → graph → scheme → plan → writers.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from ..graphs import Inputs
from ..initializers.base import Initializer
from ..plans import Rules
from ..schemes import Scheme, plan
from .apply import apply_
from .receipt import Receipt


def init_(
    model: nn.Module,
    scheme: str | Scheme | Initializer,
    seed: int = 0,
    *,
    inputs: Inputs | None = None,
    rules: Rules | None = None,
    frozen: Literal["keep", "init"] = "keep",
    buffers: Literal["reset", "keep"] = "reset",
    device: str | torch.device | None = None,
    digests: bool = True,
) -> Receipt:
    """Give every parameter of a model its initial value, in place.

    Weights follow the scheme; biases are zero, norms the identity, embeddings N(0, 1) (N(0, 1/width) where tied to
    an output layer), recurrent matrices orthogonal for each gate, an LSTM's forget bias 1. A tied parameter is
    written once. A value depends on the seed, the parameter's name and the element's index alone.

    Args:
        model: any module, on any device, in float16, bfloat16, float32 or float64; sharded ones too (``apply_``).
        scheme: a name as ``fl.schemes()`` lists them (``"he_normal"``, ``"normal(std=0.01)"``), or an initializer,
            which every weight then gets.
        seed: 0 to 2⁶⁴ - 1.
        inputs: example inputs, as the model is called. One forward on fake tensors then tells what each parameter
            does, also in modules that are not torch's own; without them the modules' types alone decide.
        rules: what to do with single parameters: a glob over names (``"blocks.*.gamma"``) or over
            ``ModuleType.parameter``, to an initializer, ``Keep(reason)``, or ``Axes(out, in_)`` for a weight that
            the scheme should treat as its own. The first match wins.
        frozen: ``"keep"`` leaves parameters with ``requires_grad=False`` alone, ``"init"`` writes them too.
        buffers: ``"reset"`` sets the running statistics of norms back to the start, ``"keep"`` leaves them; other
            buffers are never touched.
        device: where parameters that are on the meta device are made.
        digests: whether the receipt has a digest of every tensor.

    Returns:
        The receipt: for each parameter what was written and why.

    Raises:
        FirstlightError: nothing has been written then. UncoveredParameterError names parameters that no rule knows
            and shows the rule that would cover them.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    >>> print(init_(model, "he_normal", seed=0))
    he_normal, seed 0: 4 tensors written (4,810 values)
    """
    made = plan(model, inputs, scheme, rules=rules, frozen=frozen, buffers=buffers)
    return apply_(model, made, seed, device=device, digests=digests)

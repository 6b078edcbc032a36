"""``reset_last_``: the last layers of a pretrained model start anew, the others stay as they are.

The layers nearest the output are the most specialised to the task they were trained on; starting some of them anew
helps where the new task's data are few (Zhang et al. 2021, Revisiting Few-sample BERT Fine-tuning, arXiv 2006.05987).
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from ..errors import ArgumentError
from ..graphs import Inputs
from ..initializers.base import Initializer
from ..plans import Entry, Keep, Rules
from ..schemes import Scheme, plan
from ..transfers.finetuning import depths
from .apply import apply_
from .receipt import Receipt


def reset_last_(
    model: nn.Module,
    layers: int,
    scheme: str | Scheme | Initializer = "auto",
    seed: int = 0,
    *,
    inputs: Inputs | None = None,
    rules: Rules | None = None,
) -> Receipt:
    """Give the last layers fresh weights and statistics, in place.

    Args:
        model: a model that has been loaded.
        layers: how many layers from the output, 1 for what comes after the last block (the head), 2 for the last block
            as well; as ``depths`` counts them.
        scheme: what draws them.
        seed: of the draws.
        inputs: example inputs, for the scheme and for the order of layers.
        rules: rules for single parameters, as ``init_`` takes them.

    Returns:
        The receipt: what was written, and everything else as kept.

    Raises:
        ArgumentError: the model has not so many layers.
        FirstlightError: as ``apply_``; the model is unchanged then.

    >>> model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> [w.name for w in reset_last_(model, 1, "he_normal").written]
    ['2.weight', '2.bias']
    """
    depth = depths(model, inputs)
    count = max(depth.values()) + 1
    if isinstance(layers, bool) or not isinstance(layers, int) or not 0 < layers <= count:
        raise ArgumentError(f"layers={layers!r}: the model has {count} layers, give 1 to {count}")
    last = {name for name, d in depth.items() if d >= count - layers}
    modules = {name.rpartition(".")[0] for name in last}
    why = f"not among the last {layers} of {count} layers"

    def change(entry: Entry) -> Entry:
        parameter = entry.parameter
        statistic = parameter.name not in depth
        if parameter.name in last or (statistic and parameter.module in modules):
            return entry
        return replace(entry, decision=Keep(why), reason=why, reference="")

    return apply_(model, plan(model, inputs, scheme, rules=rules, frozen="init").map(change), seed)

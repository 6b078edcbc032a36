"""One tensor by hand: an initializer's values without a model.

Models go through ``writers.init_``; this is for single tensors, for looking and for tests.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import ArgumentError
from ..fields import fill_, key
from .base import Initializer
from .draws import Built, Fill, Sampled, Segments
from .layout import Layout


def sample(
    initializer: Initializer,
    layout: Layout | Sequence[int],
    seed: int = 0,
    name: str = "",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """The values ``initializer`` gives a tensor.

    Args:
        initializer: the rule.
        layout: the tensor's declared axes (``Layout.mapping((out, in))``, ``Layout.conv(shape)`` …), or a bare shape
            where the rule needs none.
        seed: 0 to 2⁶⁴ - 1.
        name: the parameter's name: the same as ``init_`` gives it in a model with a parameter of this name and layout.
        dtype: float16, bfloat16, float32 or float64; it rounds the values and changes no draw.
        device: where they are made.

    Raises:
        ArgumentError: the rule does not fit the layout; a rule by fans needs declared axes.

    >>> from firstlight import Normal
    >>> sample(Normal(std=0.01), (2, 3)).shape
    torch.Size([2, 3])
    """
    if not isinstance(layout, Layout):
        layout = Layout.vector(layout)
    if not dtype.is_floating_point:
        raise ArgumentError(f"dtype={dtype} holds no initial weights: give float16, bfloat16, float32 or float64")
    draw, target = initializer.draw(layout), torch.device(device)
    values = torch.empty(layout.shape, dtype=dtype, device=target)
    match draw:
        case Fill(value):
            values.fill_(value)
        case Segments(parts):
            for segment, value in zip(values.chunk(len(parts)), parts, strict=True):
                segment.fill_(value)
        case Sampled(transform):
            fill_(values, transform, key(seed, name))
        case Built(build):
            values.copy_(build(key(seed, name), target))
    return values

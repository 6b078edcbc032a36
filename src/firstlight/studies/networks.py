"""The networks that come with firstlight: deep, plain, without normalization, so that the start decides.

``compare`` takes them by name; any other model comes from the user's own factory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from ..errors import ArgumentError

Factory = Callable[[tuple[int, ...], int], nn.Module]


def mlp(input_shape: tuple[int, ...], classes: int, *, depth: int = 20, width: int = 64) -> nn.Module:
    """A plain ReLU network of ``depth`` linear layers, the last of which is called ``head``."""
    model = nn.Sequential()
    model.add_module("flatten", nn.Flatten())
    inputs = math.prod(input_shape)
    for i in range(depth - 1):
        model.add_module(f"layer{i + 1}", nn.Linear(inputs, width))
        model.add_module(f"relu{i + 1}", nn.ReLU())
        inputs = width
    model.add_module("head", nn.Linear(inputs, classes))
    return model


def cnn(input_shape: tuple[int, ...], classes: int, *, depth: int = 16, width: int = 16) -> nn.Module:
    """A plain ReLU network of ``depth - 1`` 3 × 3 convolutions, then a linear ``head``; no normalization.

    The first convolution halves the image, and so do later ones while it is larger than 4 × 4.
    """
    if len(input_shape) != 3:
        raise ArgumentError(f"the network 'cnn' reads images (channels, height, width), not {input_shape}; use 'mlp'")
    channels, height, length = input_shape
    model = nn.Sequential()
    for i in range(depth - 1):
        stride = 2 if max(height, length) > 4 else 1
        model.add_module(f"conv{i + 1}", nn.Conv2d(channels, width, 3, stride=stride, padding=1))
        model.add_module(f"relu{i + 1}", nn.ReLU())
        height, length, channels = -(-height // stride), -(-length // stride), width
    model.add_module("flatten", nn.Flatten())
    model.add_module("head", nn.Linear(channels * height * length, classes))
    return model


NETWORKS: Mapping[str, Factory] = MappingProxyType({"mlp": mlp, "cnn": cnn})

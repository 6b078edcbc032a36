"""The plain name of what was called: ``linear``, ``add``, ``max_pool2d``, however the call was written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

_DUNDER = re.compile(r"__([ri]?)(add|sub|mul|matmul|truediv|floordiv|div|pow|and|or|xor|mod|lshift|rshift)__")
_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "truediv": "div",
        "true_divide": "div",
        "divide": "div",
        "multiply": "mul",
        "subtract": "sub",
        "negative": "neg",
        "absolute": "abs",
        "_softmax": "softmax",
        "_log_softmax": "log_softmax",
        "_prelu_kernel": "prelu",
        "concat": "cat",
        "concatenate": "cat",
        "scaled_dot_product_flash_attention": "scaled_dot_product_attention",
        "hardtanh": "hardtanh",
        "relu6": "relu6",
        "vector_norm": "norm",
        "linalg_norm": "norm",
        "linalg_vector_norm": "norm",
        "linalg_matmul": "matmul",
        "special_expit": "sigmoid",
        "special_erf": "erf",
        "clip": "clamp",
    }
)


def call_name(function: Callable[..., object]) -> str:
    """The name of a function, method or operator, in one spelling.

    >>> import torch
    >>> call_name(torch.Tensor.__rmul__), call_name(torch.Tensor.add_), call_name(torch.nn.functional.silu)
    ('mul', 'add', 'silu')
    """
    schema = getattr(function, "_schema", None)
    name = schema.name.split("::")[-1] if schema is not None else getattr(function, "__name__", str(function))
    if name in ("__get__", "__set__"):  # an attribute, such as x.T
        return str(getattr(getattr(function, "__self__", None), "__name__", name))
    dunder = _DUNDER.fullmatch(name)
    if dunder is not None:
        base = _ALIASES.get(dunder[2], dunder[2])
        # r - x and x - r are told apart by rsub, as torch calls it.
        return "rsub" if dunder[1] == "r" and base == "sub" else base
    if name.startswith("__") and name.endswith("__"):
        return name.strip("_")
    if name.endswith("_") and not name.startswith("_"):
        name = name[:-1]
    name = name.removesuffix("_with_indices")
    return _ALIASES.get(name, name)

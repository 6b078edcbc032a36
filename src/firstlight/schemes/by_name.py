"""Every scheme by name; ``parse`` is the one way from text to a scheme.

``writers.init_`` and ``compare`` parse through here; the command line and the docs list it.
"""

from __future__ import annotations

import inspect

from .auto import auto_scheme
from .families import FAMILIES, Family
from .parsing import Listed, build
from .pretrained import pretrained_scheme
from .records import Scheme
from .torch_defaults import REFERENCE, torch_scheme
from .weights import Recurrence, weights_scheme


def _of_family(family: Family) -> Listed:
    """The family's initializer as a scheme; every such scheme also takes the recurrence options."""

    def make(label: str, *, recurrent: str = family.recurrent, forget_bias: float = 1.0, **own: object) -> Scheme:
        recurrence = Recurrence(recurrent, forget_bias)
        return weights_scheme(label, family.weights(**own), family.reason, family.reference, recurrence)

    own = list(inspect.signature(family.weights).parameters.values())
    options = [p for k, p in inspect.signature(make).parameters.items() if k in ("recurrent", "forget_bias")]
    signature = inspect.Signature([*own, *options])
    return Listed(family.name, family.aliases, signature, make, family.formula, family.reference)


_TORCH = Listed("torch", (), inspect.Signature(), torch_scheme, "U(±1/√n), as torch's modules reset", REFERENCE)
_AUTO = Listed(
    "auto",
    (),
    inspect.Signature(),
    auto_scheme,
    "σ = 1/√(fan_in · E[x²]) for the signal x that arrives",
    "Bingham & Miikkulainen 2023, AutoInit, arXiv 2109.08958",
)
_FROM_SCRATCH = (_TORCH, _AUTO, *(_of_family(family) for family in FAMILIES))


def _make_pretrained(label: str, path: str, *, head: str | None = None, fresh: str = "he_normal") -> Scheme:
    return pretrained_scheme(label, path, build(_FROM_SCRATCH, fresh), head)


_PRETRAINED = Listed(
    "pretrained",
    (),
    inspect.Signature(list(inspect.signature(_make_pretrained).parameters.values())[1:]),
    _make_pretrained,
    "a safetensors file's weights, a fresh head",
    "Yosinski et al. 2014, How transferable are features in deep neural networks?, arXiv 1411.1792",
)


def catalogue() -> tuple[Listed, ...]:
    """Every scheme there is, in the order a reader meets them."""
    return (*_FROM_SCRATCH, _PRETRAINED)


def parse(text: str) -> Scheme:
    """The scheme that ``text`` writes: a name, alone or with arguments.

    >>> parse("kaiming_normal").label
    'he_normal'
    >>> parse("normal(0.01)").label
    'normal(std=0.01)'

    Raises:
        UnknownNameError: no scheme has this name; the nearest are shown.
        ArgumentError: the arguments are malformed, unknown, missing or outside their range.
    """
    return build(catalogue(), text)

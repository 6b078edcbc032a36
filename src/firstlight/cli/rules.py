"""Rules as text, ``'LlamaRMSNorm.weight=fl.Ones()'``: as an error about an unknown parameter suggests them.

Read as Python is written but never run: the name of an initializer, ``Axes`` or ``Keep``, with numbers and texts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from .. import initializers
from ..errors import ArgumentError, FirstlightError, UnknownNameError
from ..graphs import Axes
from ..initializers import Initializer
from ..plans import Keep, Rules

_INITIALIZERS = {
    name: value
    for name, value in vars(initializers).items()
    if isinstance(value, type) and issubclass(value, Initializer) and value is not Initializer
}
_KNOWN = {"Axes": Axes, "Keep": Keep, **_INITIALIZERS}


def read_rules(texts: Iterable[str]) -> Rules:
    """The rules that texts ``pattern=rule`` write.

    Raises:
        ArgumentError: a text is no rule, or its arguments do not fit.
        UnknownNameError: it names no initializer; the nearest are shown.

    >>> read_rules(["Conv1D.weight=fl.Axes(out=1, in_=0)", "*.gain=Ones()"])
    {'Conv1D.weight': Axes(out=1, in_=0, blocks=1), '*.gain': Ones()}
    """
    rules: dict[str, Initializer | Keep | Axes] = {}
    for text in texts:
        pattern, equals, value = text.partition("=")
        if not (equals and pattern.strip() and value.strip()):
            raise ArgumentError(f"the rule {text!r} should be pattern=rule, such as 'LlamaRMSNorm.weight=fl.Ones()'")
        rules[pattern.strip()] = _rule(text, value.strip())
    return rules


def _rule(text: str, value: str) -> Initializer | Keep | Axes:
    try:
        call = ast.parse(value, mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError(value)
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
        positional = [ast.literal_eval(a) for a in call.args]
        named = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ArgumentError(
            f"the rule {text!r} cannot be read: write it as in Python, such as 'Conv1D.weight=fl.Axes(out=1, in_=0)'"
        ) from None
    if name not in _KNOWN:
        raise UnknownNameError.of("rule", name, _KNOWN)
    try:
        return _KNOWN[name](*positional, **named)  # type: ignore[no-any-return]
    except FirstlightError:
        raise
    except TypeError as error:
        raise ArgumentError(f"the rule {text!r} does not fit: {error}") from None

"""Schemes as text: ``he_normal``, ``normal(std=0.01)``, ``pretrained(weights.safetensors)``.

``by_name`` gives the schemes there are; ``build`` makes one of them from its text, and its label again from it.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..errors import ArgumentError, UnknownNameError
from .records import Scheme

_QUOTES = ("'", '"')


@dataclass(frozen=True, slots=True)
class Listed:
    """One scheme of the catalogue.

    Args:
        name: its name; ``aliases`` are its other spellings.
        signature: the arguments its text takes.
        make: ``(label, **arguments) -> Scheme``; raises ArgumentError for a value outside its range.
        formula: the weights' distribution, with n_in and n_out the fans.
        reference: authors, year, title or arXiv number.
    """

    name: str
    aliases: tuple[str, ...]
    signature: inspect.Signature
    make: Callable[..., Scheme]
    formula: str
    reference: str

    @property
    def usage(self) -> str:
        """How it is written, arguments and defaults included: ``normal(std, mean=0.0)``."""
        shown = [p.replace(annotation=inspect.Parameter.empty) for p in self.signature.parameters.values()]
        return f"{self.name}({', '.join(str(p) for p in shown)})" if shown else self.name


def build(schemes: Iterable[Listed], text: str) -> Scheme:
    """The scheme that ``text`` writes, one of ``schemes``.

    Raises:
        UnknownNameError: no scheme has this name; the nearest are shown.
        ArgumentError: the arguments are malformed, unknown, missing or outside their range.
    """
    by_name = {name: listed for listed in schemes for name in (listed.name, *listed.aliases)}
    name, arguments = _name(text)
    if name not in by_name:
        raise UnknownNameError.of("scheme", name, by_name)
    listed = by_name[name]
    positional, named = _arguments(text, arguments)
    try:
        bound = listed.signature.bind(*positional, **named)
    except TypeError as error:
        raise ArgumentError(f"the scheme {text!r} does not fit {listed.usage}: {error}") from None
    for key, value in bound.arguments.items():
        _check_type(text, listed.signature.parameters[key], value)
    return listed.make(_label(listed, bound.arguments), **bound.arguments)


def named_arguments(label: str) -> Mapping[str, object]:
    """The arguments in a label, as ``build`` gives labels: by name."""
    return _arguments(label, _name(label)[1])[1]


def _name(text: str) -> tuple[str, str]:
    """The name, and what stands in its parentheses."""
    name, arguments = text.strip(), ""
    if "(" in name:
        if not name.endswith(")"):
            raise ArgumentError(f"the scheme {text!r} opens a parenthesis and does not end with one")
        name, _, arguments = name[:-1].partition("(")
    return name.strip(), arguments


def _label(listed: Listed, arguments: dict[str, object]) -> str:
    """The shortest text that means the same: the name and the arguments that are not their defaults."""
    changed = {k: v for k, v in arguments.items() if v != listed.signature.parameters[k].default}
    shown = ", ".join(f"{k}={_written(v)}" for k, v in changed.items())
    return f"{listed.name}({shown})" if shown else listed.name


def _written(value: object) -> str:
    """As it is read again: text in quotes where it would fall apart without."""
    whole = not isinstance(value, str) or (_value(value) == value and not set(value) & set(",='\""))
    return str(value) if whole else repr(value)


def _arguments(text: str, arguments: str) -> tuple[list[object], dict[str, object]]:
    positional: list[object] = []
    named: dict[str, object] = {}
    for part in (p.strip() for p in _split(arguments)) if arguments.strip() else ():
        key, equals, value = ("", "", "") if part[:1] in _QUOTES else part.partition("=")
        if not part or (equals and not (key.strip().isidentifier() and value.strip())):
            raise ArgumentError(f"the scheme {text!r} has an argument that cannot be read: {part!r}")
        if equals and key.strip() in named:
            raise ArgumentError(f"the scheme {text!r} gives {key.strip()!r} twice")
        if equals:
            named[key.strip()] = _value(value.strip())
        elif named:
            raise ArgumentError(f"the scheme {text!r} has {part!r} after a named argument; name it too")
        else:
            positional.append(_value(part))
    return positional, named


def _split(arguments: str) -> list[str]:
    """The text between commas; a comma in quotes is none."""
    parts = [""]
    quote = ""
    for character in arguments:
        if not quote and character == ",":
            parts.append("")
            continue
        # A quote opens where a value begins; elsewhere it is an apostrophe in a path.
        if not quote and character in _QUOTES and parts[-1].rstrip()[-1:] in ("", "="):
            quote = character
        elif character == quote:
            quote = ""
        parts[-1] += character
    return parts


def _value(text: str) -> object:
    """A number, None, True or False, a quoted text; anything else is text as it stands (a path, a mode)."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return float(text) if text.lower().lstrip("+-") in ("nan", "inf") else text


def _check_type(text: str, parameter: inspect.Parameter, value: object) -> None:
    """A number where a number goes and text where text goes; annotations here are ``float``, ``str``, ``| None``."""
    annotation = str(parameter.annotation)
    if value is None and "None" in annotation:
        return
    text_fits = isinstance(value, str) and "str" in annotation
    number_fits = isinstance(value, int | float) and not isinstance(value, bool) and "float" in annotation
    if not (text_fits or number_fits):
        kind = "text" if "float" not in annotation else "a number"
        raise ArgumentError(f"in the scheme {text!r}, {parameter.name}={value!r} should be {kind}")

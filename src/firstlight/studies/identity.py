"""What decides a user's model: a digest of its code as far as it can be followed.

A study's fingerprint holds it, so that results of a model are not taken for those of the model it was edited into.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

_LIBRARIES = tuple({str(Path(sysconfig.get_path(k)).resolve()) for k in ("stdlib", "platstdlib", "purelib", "platlib")})
_OURS = __name__.partition(".")[0]
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# What counts each time it stands somewhere; all else counts where it is met first.
_VALUES = (str, bytes, int, float, complex, tuple, type(None))


def code_digest(*roots: object) -> str:
    """A hash of functions, classes, modules and values, and of all that their code refers to.

    A user's functions and classes count with their source text, and so do the functions, classes, constants, closures
    and default values they use, in whatever file of the user's those are. What an installed library gives counts with
    its name and the library's version. What only a file or a network decides while the code runs is not seen.
    """
    walk = _Walk()
    for root in roots:
        walk.visit(root)
    return walk.hashed.hexdigest()


class _Walk:
    """Visits everything reachable once, in an order that depends on names alone."""

    def __init__(self) -> None:
        self.hashed = hashlib.blake2b(digest_size=16)
        self._seen: dict[int, object] = {}  # keeps what it saw, so that an id stays its own

    def visit(self, thing: object) -> None:
        waiting = [thing]
        while waiting:
            now = waiting.pop()
            if not isinstance(now, _VALUES):
                if id(now) in self._seen:
                    continue
                self._seen[id(now)] = now
            words, more = _described(now)
            self.hashed.update(f"{words}\n".encode("utf-8", "surrogatepass"))
            waiting.extend(reversed(list(more)))


def _described(thing: Any) -> tuple[str, Iterator[object]]:
    """A thing's own words, and what it refers to."""
    if isinstance(thing, ModuleType):
        return _of_module(thing)
    if isinstance(thing, functools.partial):
        return "partial", iter((thing.func, thing.args, thing.keywords))
    if isinstance(thing, MethodType):
        return "method", iter((thing.__func__, thing.__self__))
    if isinstance(thing, BuiltinFunctionType):
        return f"{thing.__module__} {thing.__qualname__}", iter(())
    if isinstance(thing, FunctionType | type):
        return _of_code(thing)
    if (wrapped := getattr(thing, "__wrapped__", None)) is not None:
        return "wrapped", iter((wrapped,))
    if isinstance(thing, torch.Tensor | np.ndarray):
        return _of_array(thing), iter(())
    if isinstance(thing, dict):
        pairs = sorted(thing.items(), key=lambda pair: repr(pair[0]))
        return f"dict {[_without_addresses(k) for k, _ in pairs]}", (v for _, v in pairs)
    if isinstance(thing, list | tuple):
        return f"{type(thing).__name__} {len(thing)}", iter(thing)
    if isinstance(thing, set | frozenset):
        return f"set {sorted(map(_without_addresses, thing))}", iter(())
    if isinstance(thing, nn.Module):
        return _without_addresses(thing), iter(dict.fromkeys(type(m) for m in thing.modules()))
    values = getattr(thing, "__dict__", None)
    if isinstance(values, dict) and not _is_library(type(thing)):
        return "instance", iter((type(thing), values))
    return _without_addresses(thing), iter(())


def _of_module(module: ModuleType) -> tuple[str, Iterator[object]]:
    if _is_library(module):
        return _library(module.__name__), iter(())
    file = getattr(module, "__file__", None)
    text = Path(file).read_bytes().decode("utf-8", "replace") if file and Path(file).is_file() else ""
    imported = (v for _, v in sorted(vars(module).items()) if isinstance(v, ModuleType | FunctionType | type))
    return f"module {text}", imported


def _of_code(thing: Any) -> tuple[str, Iterator[object]]:
    if _is_library(thing):
        return f"{_library(thing.__module__ or '')} {getattr(thing, '__qualname__', thing)}", iter(())
    if isinstance(thing, FunctionType):
        return _source(thing), _used_by(thing)
    return _source(thing), _used_by_class(thing)


def _of_array(thing: torch.Tensor | np.ndarray) -> str:
    words = f"array {thing.dtype} {tuple(thing.shape)}"
    if isinstance(thing, torch.Tensor):
        if thing.is_meta or thing.is_quantized or thing.layout != torch.strided:
            return words
        thing = thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{words} {hashlib.blake2b(thing.tobytes(), digest_size=16).hexdigest()}"


def _used_by_class(kind: type) -> Iterator[object]:
    yield from kind.__bases__
    for _, value in sorted(vars(kind).items()):
        function = getattr(value, "__func__", getattr(value, "fget", value))
        if isinstance(function, FunctionType):
            yield from _used_by(function)


def _used_by(function: FunctionType) -> Iterator[object]:
    """Defaults, closures, and the globals that the code and the code inside it name."""
    yield (function.__defaults__ or (), function.__kwdefaults__ or {})
    if (wrapped := getattr(function, "__wrapped__", None)) is not None:
        yield wrapped
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield (name, cell.cell_contents)
        except ValueError:  # a cell that is not filled yet
            continue
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            yield (name, function.__globals__[name])


def _names(code: CodeType) -> set[str]:
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _source(thing: Any) -> str:
    """The source text; for what was typed where no file keeps it, the instructions."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        code = getattr(thing, "__code__", None)
        return thing.__qualname__ if code is None else "\n".join(_instructions(code))


def _instructions(code: CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if isinstance(step.argval, CodeType):
            yield from _instructions(step.argval)
        else:
            shown = sorted(map(repr, step.argval)) if isinstance(step.argval, frozenset) else step.argval
            yield f"{step.opname} {shown}"


def _is_library(thing: Any) -> bool:
    name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None) or ""
    top = name.partition(".")[0]
    if top in sys.builtin_module_names or top in sys.stdlib_module_names - {"__main__"} or top == _OURS:
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and str(Path(file).resolve()).startswith(_LIBRARIES)


def _library(name: str) -> str:
    top = name.partition(".")[0]
    return f"{name} {getattr(sys.modules.get(top), '__version__', '')}"


def _without_addresses(thing: object) -> str:
    return _ADDRESS.sub("", repr(thing))

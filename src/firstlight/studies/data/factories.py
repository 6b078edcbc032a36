"""A user's own function by its name: ``file.py:function`` or ``package.module:function``.

``compare`` builds models and loads data through it; a worker process loads the same text again.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import ArgumentError, ModelError, UnknownNameError


def is_factory(spec: str) -> bool:
    """Whether a text names a function: something, a colon, a Python name."""
    place, colon, name = spec.rpartition(":")
    return bool(colon and place) and name.isidentifier()


def load_factory(spec: str) -> Callable[..., Any]:
    """The function that ``spec`` names.

    Raises:
        ArgumentError: the text is malformed, there is no such file, or what it names cannot be called.
        UnknownNameError: the module has no such name; the nearest are shown.
        ModelError: importing the module raised; its own error and line are shown.
    """
    if not is_factory(spec):
        raise ArgumentError(f"{spec!r} names no function: write file.py:function or package.module:function")
    place, _, name = spec.rpartition(":")
    module = _from_file(Path(place)) if place.endswith(".py") else _by_name(place)
    found = getattr(module, name, None)
    if found is None:
        public = [n for n in vars(module) if not n.startswith("_") and callable(vars(module)[n])]
        raise UnknownNameError.of(f"function in {place}", name, public)
    if not callable(found):
        raise ArgumentError(f"{spec!r} is {type(found).__name__}, not a function that makes a model or a task")
    return found  # type: ignore[no-any-return]


def _from_file(path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise ArgumentError(f"there is no file {str(path)!r}")
    return _executed(path, path.read_bytes())


@lru_cache(maxsize=16)
def _executed(path: Path, _text: bytes) -> ModuleType:
    """The module, run anew when its text has changed, as a notebook that edits the file expects."""
    name = f"firstlight_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ArgumentError(f"{str(path)!r} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    # Registered, so that dataclasses and pickles of what it defines find it; its folder too, for its own imports.
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _import_fault(str(path), error) from error
    return module


def _by_name(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise _import_fault(name, error) from error


def _import_fault(place: str, error: Exception) -> ModelError:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return ModelError(
        f"importing {place!r} raised {type(error).__name__}: {error} (line {frame.lineno} of {frame.filename})"
    )

"""Which parameters stand in modules of installed packages, and which in those of the user.

A library's module may hold layers that this configuration never calls, as its authors decided; a layer of one's own
that is never called was forgotten.
"""

from __future__ import annotations

import sys
import sysconfig
from functools import cache
from pathlib import Path

from torch import nn

from ..graphs.names import join


def packaged(model: nn.Module) -> frozenset[str]:
    """The paths of the parameters whose holder, torch's own layers and containers aside, is of an installed package."""
    found: set[str] = set()

    def walk(module: nn.Module, path: str, outer: bool) -> None:
        kind = type(module).__module__
        inside = outer if kind.split(".")[0] == "torch" else is_installed(kind)
        if inside:
            found.update(join(path, name) for name in module._parameters)
        for name, child in module._modules.items():
            if child is not None:
                walk(child, join(path, name), inside)

    walk(model, "", False)
    return frozenset(found)


@cache
def is_installed(module: str) -> bool:
    """Whether a module's file lies where packages are installed.

    >>> is_installed("transformers_that_nobody_imported"), is_installed("torch.nn.modules.linear")
    (False, True)
    """
    file = getattr(sys.modules.get(module), "__file__", None)
    homes = {Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib")}
    return file is not None and any(home in Path(file).resolve().parents for home in homes)

"""Which parameters are meant: by name, role, module type or depth.

``Plan.select`` and ``Plan.override`` take a ``Selector`` or a pattern; a pattern is a selector by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import final

from ..errors import ArgumentError, UnknownNameError
from ..graphs.axes import matches
from ..graphs.records import Parameter, Role


@final
@dataclass(frozen=True, slots=True)
class Selector:
    """Means the parameters for which everything that is given holds.

    Args:
        name: a glob over canonical names (``"blocks.*.attn.*"``), or over ``ModuleType.parameter``.
        role: a role, or its words with globs: ``"bias"``, ``"attention*"``.
        module: a glob over the class of the module that holds it, or of a base class: ``"Linear"``.
        depth: the places of modules with parameters, in the plan's order, from 0: a number or a slice.

    >>> Selector(role="bias", depth=slice(0, 4))
    Selector(name='*', role='bias', module='*', depth=slice(0, 4, None))
    """

    name: str = "*"
    role: str | Role = "*"
    module: str = "*"
    depth: int | slice | None = None

    def __post_init__(self) -> None:
        if not any(fnmatchcase(r.value, str(self.role)) for r in Role):
            raise UnknownNameError.of("role", str(self.role), [r.value for r in Role])
        if isinstance(self.depth, bool) or not isinstance(self.depth, int | slice | None):
            raise ArgumentError(f"depth={self.depth!r} should be a whole number or a slice")

    def __hash__(self) -> int:
        return hash((self.name, str(self.role), self.module, repr(self.depth)))  # a slice has no hash

    def means(self, parameter: Parameter, depth: int, depths: int) -> bool:
        """Whether it means this parameter, at this depth of so many."""
        named = any(matches(self.name, n, parameter.module_types, parameter.local_name) for n in parameter.names)
        role = fnmatchcase(parameter.role.value, str(self.role))
        module = any(fnmatchcase(t, self.module) for t in parameter.module_types)
        return named and role and module and self._at(depth, depths)

    def _at(self, depth: int, depths: int) -> bool:
        if self.depth is None:
            return True
        if isinstance(self.depth, slice):
            return depth in range(depths)[self.depth]
        return depth == (self.depth if self.depth >= 0 else depths + self.depth)


Selection = str | Selector


def chooser(selection: Selection, parameters: Sequence[Parameter]) -> Callable[[Parameter], bool]:
    """Whether a selection means each of a plan's parameters."""
    selector = selection if isinstance(selection, Selector) else Selector(name=selection)
    modules = list(dict.fromkeys(p.module for p in parameters))
    place = {m: i for i, m in enumerate(modules)}
    return lambda p: selector.means(p, place[p.module], len(modules))

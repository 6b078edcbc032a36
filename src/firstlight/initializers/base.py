"""What every initializer is: a frozen record that, given a tensor's layout, says how its values come about.

Schemes and rules put initializers into plans; ``writers`` and ``sample`` ask for their draws.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from .draws import Draw
from .layout import Layout


class Initializer(ABC):
    """A rule for one tensor: distribution × scale, from its declared axes and fans.

    Every initializer is a frozen dataclass whose repr is the expression that makes it.
    """

    __slots__ = ()

    @abstractmethod
    def draw(self, layout: Layout) -> Draw:
        """How a tensor of this layout gets its values; pure.

        Raises:
            ArgumentError: the layout does not fit this rule; the message names what is wrong.
        """

"""The signal's statistics along a tape: what arrives where, before anything is trained."""

from .backward import Backward
from .planned import planned
from .propagate import Propagation
from .replaying import replay
from .signal import Signal, measured

__all__ = ["Backward", "Propagation", "Signal", "measured", "planned", "replay"]

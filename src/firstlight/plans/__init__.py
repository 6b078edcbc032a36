"""What to do to each parameter and why, as data."""

from .difference import Difference
from .plan import Plan
from .records import Decision, Entry, Keep, NormOf, OwnReset
from .rules import Rules, check_covered, check_used, override, split
from .selecting import Selector

__all__ = [
    "Decision",
    "Difference",
    "Entry",
    "Keep",
    "NormOf",
    "OwnReset",
    "Plan",
    "Rules",
    "Selector",
    "check_covered",
    "check_used",
    "override",
    "split",
]

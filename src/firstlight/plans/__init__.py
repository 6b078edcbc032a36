"""What to do to each parameter and why, as data."""

from .records import Decision, Entry, Keep, NormOf, OwnReset, Plan
from .rules import Rules, check_covered, check_used, override, split

__all__ = [
    "Decision",
    "Entry",
    "Keep",
    "NormOf",
    "OwnReset",
    "Plan",
    "Rules",
    "check_covered",
    "check_used",
    "override",
    "split",
]

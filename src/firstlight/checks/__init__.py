"""Findings: named faults, each with its place, its evidence, its cause and its fix."""

from .catalogue import CATALOGUE, Kind, When, kind
from .curves import Curve
from .curves_rules import diagnose_curve
from .logs import read_log
from .records import Evidence, Finding, Severity
from .watch import Watch, watch

__all__ = [
    "CATALOGUE",
    "Curve",
    "Evidence",
    "Finding",
    "Kind",
    "Severity",
    "Watch",
    "When",
    "diagnose_curve",
    "kind",
    "read_log",
    "watch",
]

"""Findings: named faults, each with its place, its evidence, its cause and its fix."""

from .catalogue import CATALOGUE, Kind, When, kind
from .curves import Curve
from .curves_rules import diagnose_curve
from .diagnosis import diagnose
from .findings import Findings
from .logs import read_log
from .probing import probe
from .records import Evidence, Finding, Severity
from .watch_session import Watch
from .watching import watch

__all__ = [
    "CATALOGUE",
    "Curve",
    "Evidence",
    "Finding",
    "Findings",
    "Kind",
    "Severity",
    "Watch",
    "When",
    "diagnose",
    "diagnose_curve",
    "kind",
    "probe",
    "read_log",
    "watch",
]

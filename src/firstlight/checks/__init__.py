"""Findings: named faults, each with its place, its evidence, its cause and its fix."""

from .catalogue import CATALOGUE, Kind, When, kind
from .records import Evidence, Finding, Severity

__all__ = ["CATALOGUE", "Evidence", "Finding", "Kind", "Severity", "When", "kind"]

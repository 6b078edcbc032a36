"""Data-dependent refinements of a plan: measure on a batch, correct, measure again."""

from .lsuv import calibrated

__all__ = ["calibrated"]

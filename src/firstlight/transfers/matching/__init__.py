"""Which tensors of a source each tensor of a model starts from: names and shapes, nothing read."""

from .matching import RULES, match
from .renames import Renames, apply_renames

__all__ = ["RULES", "Renames", "apply_renames", "match"]

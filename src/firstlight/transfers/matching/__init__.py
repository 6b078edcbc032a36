"""Which tensors of a source each tensor of a model starts from: names and shapes, nothing read."""

from .evidence import Evidence, evidence
from .matching import RULES, match
from .renames import Renames, apply_renames

__all__ = ["RULES", "Evidence", "Renames", "apply_renames", "evidence", "match"]

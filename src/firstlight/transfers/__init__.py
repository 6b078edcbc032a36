"""Weights from elsewhere: read safely, matched to a model's parameters, adapted to their shapes, and reported."""

from .adapting import Adapt, ClassPrior, adaptations
from .finetuning import freeze_, groups_by_depth
from .loaded import Loaded
from .matching import Renames, apply_renames
from .report import Outcome, TransferReport, Unused
from .sources import Source, SourceLike, Stored, open_source
from .transfer import Options, Transfer, combined, head_of, how, transfer

__all__ = [
    "Adapt",
    "ClassPrior",
    "Loaded",
    "Options",
    "Outcome",
    "Renames",
    "Source",
    "SourceLike",
    "Stored",
    "Transfer",
    "TransferReport",
    "Unused",
    "adaptations",
    "apply_renames",
    "combined",
    "freeze_",
    "groups_by_depth",
    "head_of",
    "how",
    "open_source",
    "transfer",
]

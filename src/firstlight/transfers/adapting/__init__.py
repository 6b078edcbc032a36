"""Weights whose shape differs from the model's: one file for each rule that makes them fit."""

from .adapting import Adapt, Adapted, adapt_matches, adaptations, chosen_options
from .heads import ClassPrior, prior_of

__all__ = ["Adapt", "Adapted", "ClassPrior", "adapt_matches", "adaptations", "chosen_options", "prior_of"]

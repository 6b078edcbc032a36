"""Weights from elsewhere: read them safely and match them to a model's parameters."""

from .matching import head_of, match
from .safetensors_file import Loaded, WeightsFile, open_weights

__all__ = ["Loaded", "WeightsFile", "head_of", "match", "open_weights"]

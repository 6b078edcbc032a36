"""Where tasks come from: the embedded digits, the user's files, the user's own function."""

from .factories import is_factory, load_factory
from .loading import DATASETS, load_task

__all__ = ["DATASETS", "is_factory", "load_factory", "load_task"]

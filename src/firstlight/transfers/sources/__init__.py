"""Where weights come from: files, folders, dicts and models behind one interface."""

from .base import Source, Stored
from .opening import SourceLike, open_source

__all__ = ["Source", "SourceLike", "Stored", "open_source"]

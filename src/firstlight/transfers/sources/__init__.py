"""Where weights come from: files, folders, dicts and models behind one interface, and the way of their values.

``open_source`` gives names and shapes; ``check`` looks at values before anything is written; ``copy_many_`` moves them.
"""

from .base import Source, Stored
from .opening import SourceLike, open_source
from .values import bounds, check, copy_many_, dtype_fault

__all__ = ["Source", "SourceLike", "Stored", "bounds", "check", "copy_many_", "dtype_fault", "open_source"]

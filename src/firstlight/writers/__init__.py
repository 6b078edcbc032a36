"""The only code that writes a parameter: plans into models, with a receipt."""

from .apply import apply_
from .init import init_
from .receipt import Receipt, Written, digest

__all__ = ["Receipt", "Written", "apply_", "digest", "init_"]

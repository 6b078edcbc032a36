"""The only code that writes a parameter: plans into models, with a receipt."""

from .apply import apply_
from .init import init_
from .receipt import Receipt, Written, digest
from .verification import Check, Verification, verify

__all__ = ["Check", "Receipt", "Verification", "Written", "apply_", "digest", "init_", "verify"]

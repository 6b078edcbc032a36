"""The only code that writes a parameter: plans into models, whole or sharded, with a receipt."""

from .apply import apply_
from .digests import digest
from .init import init_
from .load import load_
from .receipt import Receipt, Written
from .reset import reset_last_
from .verification import Check, Verification, verify

__all__ = ["Check", "Receipt", "Verification", "Written", "apply_", "digest", "init_", "load_", "reset_last_", "verify"]

"""Calls as a model writes them: what the recorder and the probe both see.

Fused kernels and compiled parts hide the calls that are made within them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def as_written() -> Iterator[None]:
    """Without nn.TransformerEncoder's fused inference kernels, and compiled parts uncompiled.

    Under a mode of ours dynamo would skip compiled parts, and all others after that.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext():
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(before)

"""Clouds of points to tell apart, and the options of a study of them that takes a second."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import torch
from torch import nn

QUICK: dict[str, Any] = {"learning_rates": [0.03, 0.1], "seeds": 2, "steps": 20, "batch_size": 8}


def blobs(n: int = 120, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Well separated clouds of points in four dimensions."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = 3 * rng.standard_normal((classes, 4))
    return (centres[labels] + rng.standard_normal((n, 4))).astype(np.float32), labels


class Deadly(nn.Module):
    """A model that takes its process with it from one seed on, as running out of memory does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.initial_seed() == 1 and os.environ.get("FIRSTLIGHT_TEST_PARENT") != str(os.getpid()):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(x)

"""Orthogonal matrices beside torch.nn.init.orthogonal_, side by side in one run.

    python benchmarks/orthogonal.py

Prints, for each shape, the least time of interleaved repeats, their ratio, and how orthonormal each result is.
"""

from __future__ import annotations

import os
import platform
import time

import torch

import firstlight as fl
from firstlight.initializers import Layout, sample

SHAPES = ((256, 256), (512, 512), (1024, 1024), (2048, 2048), (4096, 1024), (1024, 4096))
GOAL = {(1024, 1024), (2048, 2048), (4096, 1024), (1024, 4096)}


def error(q: torch.Tensor) -> float:
    """The largest entry of QᵀQ - I on the shorter side."""
    tall = q.double() if q.shape[0] >= q.shape[1] else q.double().T
    return float((tall.T @ tall - torch.eye(tall.shape[1], dtype=torch.float64)).abs().max())


def main() -> None:
    load = os.getloadavg()[0]
    print(
        f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, load average {load:.2f}"
    )
    print(f"{'shape':>12}  {'firstlight':>10}  {'torch':>10}  {'ratio':>6}  {'goal':>5}  {'error':>8}  {'torch':>8}")
    for shape in SHAPES:
        layout, empty = Layout.mapping(shape), torch.empty(shape)
        ours, theirs = [], []
        for repeat in range(9 if shape[0] <= 1024 else 5):
            start = time.perf_counter()
            q = sample(fl.Orthogonal(), layout, seed=repeat)
            middle = time.perf_counter()
            torch.nn.init.orthogonal_(empty)
            ours.append(middle - start)
            theirs.append(time.perf_counter() - middle)
        ratio = min(theirs) / min(ours)
        goal = "2.5" if shape in GOAL else ""
        print(
            f"{shape[0]:>6}×{shape[1]:<5}  {1e3 * min(ours):>7.1f} ms  {1e3 * min(theirs):>7.1f} ms  {ratio:>6.2f}"
            f"  {goal:>5}  {error(q):>8.1e}  {error(empty):>8.1e}"
        )


if __name__ == "__main__":
    main()

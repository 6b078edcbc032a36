"""How fast the fields are, beside torch, in one run: ``python benchmarks/fields.py [--quick]``.

The contenders take turns, so that a change in the machine's load meets both. A line's times are the least of its
repetitions; start-up times, each a process of its own, are medians. Ratios count: above 1 is faster than torch.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import torch

from firstlight.fields import Job, fill_, fill_many_, key, normal, truncated_normal, uniform

KEY = key(0, "benchmark")
SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "src")


def least(contenders: list[tuple[Callable[[], object], int]], calls: int = 1) -> list[float]:
    """Seconds per call of each contender (function, repetitions): the least, in turns, after one call unmeasured."""
    best = [math.inf] * len(contenders)
    for function, _ in contenders:
        function()
    for round_ in range(max(repetitions for _, repetitions in contenders)):
        for index, (function, repetitions) in enumerate(contenders):
            if round_ < repetitions:
                start = time.perf_counter()
                for _ in range(calls):
                    function()
                best[index] = min(best[index], (time.perf_counter() - start) / calls)
    return best


def line(what: str, ours: float, theirs: float, goal: str, unit: float = 1e3, name: str = "ms") -> None:
    """One row: what, firstlight, torch, their ratio, what was asked for."""
    ratio = f"{theirs / ours:9.2f} x"
    print(f"{what:44s} {ours * unit:10.3f} {name}  {theirs * unit:10.3f} {name} {ratio}   goal {goal}", flush=True)


def large(count: int, dtype: torch.dtype) -> None:
    """One tensor of ``count`` elements."""
    ours, theirs, init = torch.empty(count, dtype=dtype), torch.empty(count, dtype=dtype), torch.nn.init
    many, few, once = (60, 20, 20) if count == 10**6 else (7, 3, 1)
    label = f"{str(dtype).removeprefix('torch.')} {count:.0e} "

    def row(what: str, mine: Callable[[], object], torchs: Callable[[], object], repetitions: int, goal: str) -> None:
        line(label + what, *least([(mine, many), (torchs, repetitions)]), goal)

    row("uniform / uniform_", lambda: fill_(ours, uniform(-1, 1), KEY), lambda: init.uniform_(theirs), few, "≥ 8")
    row("normal / normal_", lambda: fill_(ours, normal(0, 1), KEY), lambda: init.normal_(theirs), few, "≥ 5")
    row(
        "truncated 3σ / trunc_normal_",
        lambda: fill_(ours, truncated_normal(0, 1, -3, 3), KEY),
        lambda: init.trunc_normal_(theirs, a=-3.0, b=3.0),
        once,
        "≥ 40",
    )
    goal = "≥ 0.45" if count == 10**8 and dtype == torch.float32 else "-"
    row("normal / fill_", lambda: fill_(ours, normal(0, 1), KEY), lambda: theirs.fill_(1.0), many, goal)


def small_and_many() -> None:
    """300 tensors in one call, one tensor of 1,000."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.exp(torch.rand(300, generator=generator) * math.log(1000) + math.log(1000)).long().tolist()
    ours, theirs = [torch.empty(n) for n in sizes], [torch.empty(n) for n in sizes]
    transform = normal(0.0, 1.0)
    jobs = [Job(tensor, transform, key(0, str(index))) for index, tensor in enumerate(ours)]

    def one_by_one() -> None:
        for tensor in theirs:
            tensor.normal_()

    def with_keys() -> None:
        fill_many_([Job(tensor, normal(0.0, 0.1), key(0, str(i))) for i, tensor in enumerate(ours)])

    what = f"300 tensors, {sum(sizes) / 1e6:.0f}M elements"
    mine, planned, torchs = least([(lambda: fill_many_(jobs), 20), (with_keys, 20), (one_by_one, 8)])
    line(what + " / normal_ one by one", mine, torchs, "≥ 5")
    line(what + ", keys and jobs made too", planned, torchs, "-")
    x, y = torch.empty(1000), torch.empty(1000)
    mine, torchs = least([(lambda: fill_(x, transform, KEY), 40), (lambda: y.normal_(), 40)], calls=500)
    line("1,000 elements / normal_", mine, torchs, "≥ 0.33", 1e6, "µs")


def process(code: str, cache: str) -> float:
    """Milliseconds that a fresh process prints for ``code``."""
    environment = {**os.environ, "FIRSTLIGHT_CACHE": cache, "PYTHONPATH": SOURCE}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(found.stdout)


TIMED = "import time; t = time.perf_counter()\n{}\nprint((time.perf_counter() - t) * 1e3)"
DRAW = (
    "import time, torch\nfrom firstlight.fields import Key, fill_, normal\nx = torch.empty(1000)\n"
    "t = time.perf_counter()\nfill_(x, normal(0.0, 1.0), Key(0, 0))\nprint((time.perf_counter() - t) * 1e3)"
)


def start_up(repetitions: int) -> None:
    """Importing, and the first draw with and without compiled kernels on disk."""
    with tempfile.TemporaryDirectory() as warm:
        imports = {"firstlight.fields": [], "torch": []}
        process(DRAW, warm)
        for _ in range(repetitions):
            for module, times in imports.items():
                times.append(process(TIMED.format(f"import {module}"), warm))
        ours, theirs = (statistics.median(times) for times in imports.values())
        best = min(imports["firstlight.fields"]) / min(imports["torch"])
        print(
            f"import firstlight.fields {ours:.0f} ms, import torch {theirs:.0f} ms: {ours / theirs:.2f} of it "
            f"(least against least {best:.2f})   goal ≤ 1.2"
        )
        later = [process(DRAW, warm) for _ in range(repetitions)]
        print(f"first draw, kernels on disk: median {statistics.median(later):.1f} ms   goal ≤ 50")
    cold = []
    for _ in range(max(2, repetitions // 2)):
        with tempfile.TemporaryDirectory() as empty:
            cold.append(process(DRAW, os.path.join(empty, "new")))
    print(f"first draw, new machine:     median {statistics.median(cold):.0f} ms   goal ≤ 2000")


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out 10⁸ elements (torch takes minutes there)")
    arguments = parser.parse_args()
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    print(
        f"{platform.machine()} {platform.processor()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} torch threads"
    )
    print(f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}), load average {load}")
    print(f"\n{'':44s} {'firstlight':>13s}  {'torch':>13s} {'ratio':>11s}")
    for dtype in (torch.float32, torch.bfloat16):
        for count in (10**6,) if arguments.quick else (10**6, 10**8):
            large(count, dtype)
    small_and_many()
    start_up(4 if arguments.quick else 8)


if __name__ == "__main__":
    main()

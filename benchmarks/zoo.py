"""How far each scheme keeps the signal at one at every weight of every network of the tests' zoo.

    python benchmarks/zoo.py [--seeds 4] [--only gpt2]

For each network the smallest and the largest realised E[y²] of a weight's output, a mean over seeds, relative to its
target (1/N where the weight closes one of N residual branches), under ``auto``, ``he_normal`` and as the model's own
constructor makes it, which is torch's default where the module is torch's. Of a fused recurrent layer the output of its
weights is the gates' argument. Writes ``benchmarks/results/zoo.json`` and ``zoo.md``.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the zoo lives with the tests

import firstlight as fl  # noqa: E402
from firstlight.graphs import Graph, trace  # noqa: E402
from firstlight.graphs.ops import EMBEDDINGS, RECURRENT  # noqa: E402
from firstlight.graphs.tape import Flow, Node, Tape  # noqa: E402
from firstlight.graphs.walks import is_weight_call  # noqa: E402
from firstlight.moments import replay  # noqa: E402
from tests.zoo import huggingface  # noqa: E402
from tests.zoo.tables import TABLES  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "zoo.json"
SCHEMES = ("auto", "he_normal", "as built")
Tensors = Mapping[str, torch.Tensor]


def networks() -> Iterator[tuple[str, Callable[[], tuple[nn.Module, Any]]]]:
    """Name, and how to make the model with its inputs."""
    for name in huggingface.MODELS:
        yield name, lambda name=name: huggingface.build(name)
    for name, (build, inputs, _) in TABLES.items():
        yield f"{name} (by hand)", lambda build=build, inputs=inputs: (build(), inputs)


def targets(graph: Graph) -> dict[int, float]:
    """The second moment that auto aims at, by call."""
    uses = (u for p in graph.parameters for u in p.uses)
    return {u.node: 1 / u.branch.total for u in uses if u.branch is not None and not u.normalized}


def squares(tape: Tape, parameters: Tensors, counted: Callable[[Node], bool]) -> dict[int, float]:
    """E[y²] of every weight call's output."""
    found = {}
    for node, values in replay(tape, parameters):
        if counted(node):
            found[node.id] = float(values[0].detach().double().square().mean())
    return found


def realised(model: nn.Module, graph: Graph, scheme: str, inputs: Any, build: Any, seeds: int) -> dict[int, float]:
    """The same, a mean over seeds."""
    tape = graph.tape or Tape((), ())

    def counted(node: Node) -> bool:
        return node.flow is Flow.DATA and is_weight_call(tape, node) and node.op not in EMBEDDINGS

    draws: list[dict[int, float]] = []
    made = None if scheme == "as built" else fl.plan(model, inputs, scheme, frozen="init")
    for seed in range(seeds):
        if made is None:
            torch.manual_seed(seed)
            model = build()[0]
        else:
            fl.apply_(model, made, seed, digests=False)
        draws.append(squares(tape, dict(model.named_parameters(remove_duplicate=False)), counted))
    return {n: statistics.mean(d[n] for d in draws) for n in draws[0]}


def row(name: str, build: Any, seeds: int) -> dict[str, Any]:
    """What came out for one network."""
    torch.manual_seed(0)
    model, inputs = build()
    graph = trace(model, inputs)
    tape = graph.tape or Tape((), ())
    wanted = targets(graph)
    names = {u.node: p.name for p in graph.parameters for u in p.uses}
    found: dict[str, Any] = {"network": name}
    for scheme in SCHEMES:
        try:
            ratios = {
                n: s / wanted.get(n, 1.0) for n, s in realised(model, graph, scheme, inputs, build, seeds).items()
            }
        except (ArithmeticError, fl.FirstlightError) as error:
            found[scheme] = str(error)
            continue
        finite = {n: r if math.isfinite(r) else math.inf for n, r in ratios.items()}
        found["weights"] = len(finite)
        found[scheme] = [min(finite.values()), max(finite.values())]
        if scheme == "auto":
            found["outside"] = {
                f"{names.get(n, tape[n].module)} ({tape[n].op})": round(r, 4)
                for n, r in finite.items()
                if not 0.5 <= r <= 2
            }
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--only")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    rows = []
    for name, build in networks():
        if given.only and given.only not in name:
            continue
        try:
            rows.append(row(name, build, given.seeds))
        except Exception as error:
            rows.append({"network": name, "CRASH": f"{type(error).__name__}: {error}"[:300]})
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()

"""How far each scheme keeps the signal at one at every weight of every network of the tests' zoo.

    python benchmarks/zoo.py [--seeds 8] [--only gpt2]

For each network the smallest and the largest realised E[y²] of a weight's output, a mean over seeds, relative to its
target (1/N where the weight closes one of N residual branches, 1/ω² before sin(ω y)), under ``auto``, ``he_normal`` and
as the model's own constructor makes it, which is torch's default where the module is torch's. Of a fused recurrent
layer the output of its weights is the gates' argument; a weight that a loop applies to its own state is held against
that state; one whose scale the model divides out (weight standardization, spectral norm) has none to speak of, and is
left out. Writes ``benchmarks/results/zoo.json`` and ``zoo.md``.
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

from tests.zoo import huggingface  # noqa: E402
from tests.zoo.tables import TABLES  # noqa: E402

import firstlight as fl  # noqa: E402
from firstlight.graphs import Graph, Status, trace  # noqa: E402
from firstlight.graphs.ops import EMBEDDINGS, RECURRENT  # noqa: E402
from firstlight.graphs.tape import PARAMETER, Flow, Node, Tape  # noqa: E402
from firstlight.graphs.walks import is_weight_call  # noqa: E402
from firstlight.moments import replay  # noqa: E402
from firstlight.moments.recurrent import groups  # noqa: E402
from firstlight.schemes.auto_rules import sine_factor  # noqa: E402
from firstlight.schemes.weights import WEIGHTS  # noqa: E402

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
    """The second moment that each weight's output should have: 1/N closing one of N branches, 1/ω² in sin(ω y)."""
    tape = graph.tape or Tape((), ())
    readers = tape.readers()
    found = {}
    for use in (u for p in graph.parameters for u in p.uses if u.role in WEIGHTS):
        factor = sine_factor(tape, readers, tape[use.node])
        branch = use.branch if use.branch is not None and not use.normalized else None
        found[use.node] = 1 / factor**2 if factor is not None else 1.0 if branch is None else 1 / branch.total
    return found


def measured(tape: Tape, parameters: Tensors, states: frozenset[int]) -> dict[int, float]:
    """E[y²] of every weight call's output; of a fused recurrent call its gates' argument, or the state that it reads.

    A weight that a loop applies to its own state (``states``) is held against the state: E[y²] / E[x²].
    """
    values: dict[int, torch.Tensor] = {}
    found: dict[int, float] = {}
    for node, outputs in replay(tape, parameters):
        values[node.id] = outputs[0].detach()
        if node.flow is not Flow.DATA or not is_weight_call(tape, node) or node.op in EMBEDDINGS:
            continue
        if node.op in RECURRENT:
            found |= gates(node, values)
            continue
        found[node.id] = square(outputs[0])
        if node.id in states:
            read = next(o.ref.node for o in node.operands if tape[o.ref.node].flow is Flow.DATA)
            found[node.id] /= max(square(values[read]), 1e-30)
    return found


def square(value: torch.Tensor) -> float:
    """E[x²]."""
    return float(value.double().square().mean())


def gates(node: Node, values: Mapping[int, torch.Tensor]) -> dict[int, float]:
    """E[(W x + U h)²], the gates' argument without its biases, of each layer of a fused recurrent call.

    The layers are run again for it; keyed by the place of the layer's input weight.
    """
    found: dict[int, float] = {}
    layers, directions = groups(node)
    kind, x = node.op.removesuffix("_cell"), values[node.operands[0].ref.node]
    state = None
    if node.op.endswith("_cell"):
        x, state = x[None], values[node.operands[1].ref.node]
    elif node.args[-1] is True:  # batch_first
        x = x.transpose(0, 1)
    for start in range(0, len(layers), directions):
        outputs = []
        for backwards, refs in enumerate(layers[start : start + directions]):
            arguments, states = unrolled(kind, x.flip(0) if backwards else x, [values[r.node] for r in refs], state)
            found[refs[0].node] = square(arguments)
            outputs.append(states.flip(0) if backwards else states)
        x = torch.cat(outputs, -1)
    return found


def unrolled(
    kind: str, x: torch.Tensor, tensors: list[torch.Tensor], state: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """W x + U h and h at every step of one layer, by torch's own definitions."""
    w, u = tensors[:2]
    biases = [t for t in tensors[2:] if t.dim() == 1] or [w.new_zeros(len(w))] * 2
    projection = next((t for t in tensors[2:] if t.dim() == 2), None)
    h = x.new_zeros(x.shape[1], u.shape[1]) if state is None else state
    c = x.new_zeros(x.shape[1], len(w) // 4)
    arguments, states = [], []
    for step in x:
        mine, own = step @ w.T, h @ u.T
        arguments.append(mine + own)
        if kind == "lstm":
            i, f, g, o = (mine + own + sum(biases)).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            h = h if projection is None else h @ projection.T
        elif kind == "gru":
            (r, z, n), (s, y, m) = (mine + biases[0]).chunk(3, -1), (own + biases[1]).chunk(3, -1)
            keep = (z + y).sigmoid()
            h = (1 - keep) * (n + (r + s).sigmoid() * m).tanh() + keep * h
        else:
            h = (torch.relu if kind == "rnn_relu" else torch.tanh)(mine + own + sum(biases))
        states.append(h)
    return torch.stack(arguments), torch.stack(states)


def realised(
    model: nn.Module, graph: Graph, made: fl.Plan | None, build: Callable[[], Any], seeds: int
) -> dict[int, float]:
    """What ``measured`` gives, a mean over seeds; without a plan, over models as their constructors make them."""
    tape = graph.tape or Tape((), ())
    states = frozenset(looped(graph, tape))
    draws: list[dict[int, float]] = []
    for seed in range(seeds):
        if made is None:
            torch.manual_seed(seed)
            model = build()[0]
        else:
            fl.apply_(model, made, seed, digests=False)
        draws.append(measured(tape, dict(model.named_parameters(remove_duplicate=False)), states))
    return {n: statistics.mean(d.get(n, math.nan) for d in draws) for n in draws[0]}


def looped(graph: Graph, tape: Tape) -> Iterator[int]:
    """The calls by which a loop applies a weight to its own state: the first of them reads no data."""
    for p in graph.parameters:
        flows = [tape[u.node].flow for u in p.uses]
        if flows and flows[0] is not Flow.DATA and Flow.DATA in flows:
            yield from (u.node for u in p.uses)


def kept(made: fl.Plan) -> fl.Plan:
    """The plan, with what this forward never uses and no rule knows left alone."""
    for parameter in made.uncovered:
        if parameter.status is not Status.UNUSED:
            break
        made = made.override(parameter.name, fl.Keep("not used in this forward"), why="not used in this forward")
    return made


def behind(tape: Tape, node: Node, *, whole: bool) -> set[str]:
    """The parameters that a call's weight is computed of; ``whole``, also through layers that learned values pass."""
    waiting = [o.ref.node for o in node.operands if tape[o.ref.node].flow is Flow.WEIGHTS]
    found: set[str] = set()
    while waiting:
        place = tape[waiting.pop()]
        if place.op == PARAMETER:
            found.add(place.name)
        elif whole or not is_weight_call(tape, place):
            waiting += place.inputs
    return found


def row(name: str, build: Callable[[], Any], seeds: int) -> dict[str, Any]:
    """What came out for one network."""
    torch.manual_seed(0)
    model, inputs = build()
    graph = trace(model, inputs)
    tape = graph.tape or Tape((), ())
    wanted = targets(graph)
    names = {u.node: p.name for p in graph.parameters for u in p.uses if u.role in WEIGHTS}
    names |= {n.id: n.name for n in tape if n.op == PARAMETER}
    made_of = {n.id: behind(tape, n, whole=False) for n in tape}
    roots = {n.id: behind(tape, n, whole=True) for n in tape}
    found: dict[str, Any] = {"network": name}
    for scheme in SCHEMES:
        try:
            made = None if scheme == "as built" else kept(fl.plan(model, inputs, scheme, frozen="init"))
            squares = realised(model, graph, made, build, seeds)
        except (ArithmeticError, fl.FirstlightError) as error:
            found[scheme] = str(error).split("\n")[0]
            continue
        if scheme == "auto" and made is not None:
            free = {e.parameter.name for e in made if "divided out" in e.reason}
            found["divided out"] = len(free)
        # A product with what a layer made of learned values (relative positions) uses no weight itself.
        ratios = {n: s / wanted.get(n, 1.0) for n, s in squares.items() if n in names or made_of[n] - free}
        ratios = {n: r for n, r in ratios.items() if not roots[n] & free}
        found["weights"] = len(ratios)
        if ratios:
            found[scheme] = [round(min(ratios.values()), 5), round(max(ratios.values()), 5)]
            outside = {n: r for n, r in ratios.items() if not 0.5 <= r <= 2}
            found[f"{scheme}, outside"] = len(outside)
            if scheme == "auto":
                found["outside"] = {
                    f"{names.get(n, tape[n].module)}: {tape[n].op}": round(r, 3) for n, r in outside.items()
                }
    return found


def cell(value: object) -> str:
    """A range, or why there is none."""
    return f"{value[0]:.2g} to {value[1]:.2g}" if isinstance(value, list) else "–"


def table(rows: list[dict[str, Any]]) -> str:
    """One line a network."""
    columns = [
        "network",
        "weights",
        *(f"E[y²]/target, {s}" for s in SCHEMES),
        f"outside a factor 2, {' / '.join(SCHEMES)}",
    ]
    lines = [f"| {' | '.join(columns)} |", "|---|---|---|---|---|---|"]
    for r in rows:
        counts = " / ".join(str(r.get(f"{s}, outside", "–")) for s in SCHEMES)
        lines.append(
            f"| {r['network']} | {r.get('weights', 0)} | {' | '.join(cell(r.get(s)) for s in SCHEMES)} | {counts} |"
        )
    total = sum(r.get("weights", 0) for r in rows)
    sums = " / ".join(str(sum(r.get(f"{s}, outside", 0) for r in rows)) for s in SCHEMES)
    lines.append(f"| all {len(rows)} | {total} | | | | {sums} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--only")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    rows = []
    for name, build in networks():
        if given.only and given.only not in name:
            continue
        rows.append(row(name, build, given.seeds))
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    if not given.only:
        RESULTS.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
        RESULTS.with_suffix(".md").write_text(table(rows))


if __name__ == "__main__":
    main()

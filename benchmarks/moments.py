"""How well the signal is predicted, and how far each scheme keeps it at one, at every weight of eleven networks.

    python benchmarks/moments.py [--only CNN]

For each network: |predicted / realised - 1| of the standard deviation at every weight (median and 90th percentile over
the weights, realised as the mean over seeds), and the smallest and largest realised E[y²] of a weight's output under
``auto``, ``he_normal`` and as the model's constructor makes it (torch's default, for torch's modules), relative to the
target (1/N where a weight closes one of N residual branches, 1/ω² before sin(ω y)).

Networks with norms are drawn 16 times. Without norms a narrow network's signal wanders from seed to seed, at the last
layer of the CNN by a third of itself, so a mean over 16 is off by 8 % whatever was predicted: they are drawn 64 times.
``scatter`` predicts the wandering, and how far it puts the mean of standard deviations below the root of the mean
variance.

For plain networks, also the ratio of the gradient's squared norm between the first and the last weight layer's
output. Writes ``benchmarks/results/moments.md``.
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import firstlight as fl
from firstlight.graphs import Graph, trace
from firstlight.graphs.ops import EMBEDDINGS
from firstlight.graphs.tape import Flow, Tape
from firstlight.graphs.walks import is_weight_call
from firstlight.moments import Propagation, Signal, planned, replay
from firstlight.moments.scatter import scatter
from firstlight.plans import Plan
from firstlight.schemes.auto_rules import sine_factor
from firstlight.schemes.weights import WEIGHTS

RESULTS = Path(__file__).parent / "results" / "moments.md"
# Plain feed-forward networks, where the gradient at the first layer is held against that at the last.
PLAIN = ("MLP, ReLU", "MLP, tanh", "MLP, GELU", "SIREN", "CNN", "VGG", "U-Net")
WANDERING = tuple(n for n in PLAIN if n != "VGG")  # without norms
SCHEMES = ("auto", "he_normal", "as built")


class Sine(nn.Module):
    """sin(30 x)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(30 * x)


class Unet(nn.Module):
    """Two scales, joined by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 4, stride=2, padding=1)
        self.middle = nn.Conv2d(64, 64, 3, padding=1)
        self.up, self.join = nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), nn.Conv2d(64, 32, 3, padding=1)
        self.last = nn.Conv2d(32, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = F.relu(self.first(x))
        deep = self.up(F.relu(self.middle(F.relu(self.down(skip)))))
        return self.last(F.relu(self.join(torch.cat([skip, deep], 1))))


def mlp(activation: Callable[[], nn.Module], depth: int = 10) -> nn.Module:
    """Layers of 128 units."""
    layers = (m for _ in range(depth) for m in (nn.Linear(128, 128), activation()))
    return nn.Sequential(*layers, nn.Linear(128, 64))


def cnn(*, norm: bool, pool: bool) -> nn.Module:
    """Eight convolutions of 64 channels, and a linear layer. Narrower ones scatter more from seed to seed."""
    layers: list[nn.Module] = []
    for i in range(8):
        layers += [nn.Conv2d(3 if i == 0 else 64, 64, 3, padding=1)] + [nn.BatchNorm2d(64)] * norm + [nn.ReLU()]
        layers += [nn.MaxPool2d(2)] * (pool and i in (2, 5))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(1024, 64))


def networks() -> Iterator[tuple[str, Callable[[], nn.Module], Any]]:
    """Name, how to make the model, inputs."""
    import transformers as hf

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))

    ids = torch.randint(2, 100, (4, 24), generator=torch.Generator().manual_seed(0))
    text = {"vocab_size": 100, "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 4}
    named = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    yield "MLP, ReLU", lambda: mlp(nn.ReLU), randn(64, 128)
    yield "MLP, tanh", lambda: mlp(nn.Tanh), randn(64, 128)
    yield "MLP, GELU", lambda: mlp(nn.GELU), randn(64, 128)
    yield "SIREN", lambda: mlp(Sine, 5), randn(64, 128).tanh()
    yield "CNN", lambda: cnn(norm=False, pool=False), randn(8, 3, 24, 24)
    yield "VGG", lambda: cnn(norm=True, pool=True), randn(8, 3, 24, 24)
    yield "U-Net", Unet, randn(8, 3, 24, 24)
    gpt = {"vocab_size": 100, "n_positions": 32, "n_embd": 96, "n_layer": 4, "n_head": 4}
    yield "GPT-2", lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**gpt, **named)), {"input_ids": ids, "use_cache": False}
    llama = hf.LlamaConfig(**text, **heads, **named, num_key_value_heads=2)
    yield "Llama", lambda: hf.LlamaForCausalLM(llama), {"input_ids": ids, "use_cache": False}
    bert = hf.BertConfig(**text, **heads, **named)
    yield "BERT", lambda: hf.BertModel(bert, add_pooling_layer=False), {"input_ids": ids}
    t5 = hf.T5Config(vocab_size=100, d_model=96, d_kv=24, d_ff=192, num_layers=3, num_heads=4, decoder_start_token_id=0)
    both = {"input_ids": ids, "decoder_input_ids": ids, "use_cache": False}
    yield "T5", lambda: hf.T5ForConditionalGeneration(t5), both
    size = {"image_size": 24, "patch_size": 4, "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 4}
    vit = hf.ViTConfig(**size, **heads)
    yield "ViT", lambda: hf.ViTModel(vit, add_pooling_layer=False), {"pixel_values": randn(8, 3, 24, 24)}
    resnet = hf.ResNetConfig(embedding_size=16, hidden_sizes=[32, 64], depths=[2, 2], layer_type="basic")
    yield "ResNet", lambda: hf.ResNetModel(resnet), {"pixel_values": randn(8, 3, 48, 48)}
    mobile = hf.MobileNetV2Config(depth_multiplier=0.35)
    yield "MobileNetV2", lambda: hf.MobileNetV2Model(mobile), {"pixel_values": randn(8, 3, 96, 96)}


def realised(
    build: Callable[[], nn.Module], graph: Graph, made: Plan | None, seeds: int
) -> dict[int, tuple[float, float, tuple[int, ...]]]:
    """The standard deviation and second moment of every weight call's output, means over seeds, and its shape.

    Without a plan, of models as their constructors make them.
    """
    tape = graph.tape or Tape((), ())
    found: dict[int, list[tuple[float, float]]] = {}
    shapes = {}
    model = build()
    for seed in range(seeds):
        if made is None:
            torch.manual_seed(seed)
            model = build()
        else:
            fl.apply_(model, made, seed, digests=False)
        for node, values in replay(tape, dict(model.named_parameters(remove_duplicate=False))):
            if node.flow is Flow.DATA and is_weight_call(tape, node) and node.op not in EMBEDDINGS:
                y = values[0].detach().double()
                found.setdefault(node.id, []).append((float(y.std(correction=0)), float(y.square().mean())))
                shapes[node.id] = tuple(y.shape)
    means = {n: tuple(map(statistics.mean, zip(*pairs, strict=True))) for n, pairs in found.items()}
    return {n: (std, square, shapes[n]) for n, (std, square) in means.items()}


def shown(signal: Signal, shape: tuple[int, ...]) -> float:
    """The standard deviation that one tensor of this shape shows: its own mean, over few units, is taken off."""
    samples = shape[0]
    units = shape[1] if len(shape) == 4 else shape[-1]
    positions = math.prod(shape) / samples / units
    within = (signal.variance + (positions - 1) * signal.local) / positions
    of_mean = (within + (samples - 1) * signal.shared) / samples / units
    return math.sqrt(max(signal.variance - of_mean, 0.0))


def targets(graph: Graph) -> dict[int, float]:
    """The second moment that auto aims at, where it is not one."""
    tape = graph.tape or Tape((), ())
    found = {}
    for use in (u for p in graph.parameters for u in p.uses if u.role in WEIGHTS):
        factor = sine_factor(tape, tape.readers(), tape[use.node])
        branch = use.branch if use.branch is not None and not use.normalized else None
        found[use.node] = 1 / factor**2 if factor is not None else 1.0 if branch is None else 1 / branch.total
    return found


def gradients(model: nn.Module, inputs: Any, made: Plan | None) -> str:
    """The ratio of ‖gradient‖² between the first and the last weight layer's output, in a plain network.

    The whole norm, since pooling spreads one gradient over many positions; in a sine network by the argument ω y. An
    average pool over p positions that are nearly alike hands on the signal and 1/p of the gradient's squared norm:
    where there is one, the ratio up to the last layer before it stands beside.
    """
    if made is not None:
        fl.apply_(model, made, 0, digests=False)
    seen: list[torch.Tensor] = []
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [m.register_forward_hook(lambda _, __, y: seen.append(y)) for m in layers]
    out = model(inputs)
    for hook in hooks:
        hook.remove()
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    found = torch.autograd.grad((out * direction).sum(), seen)
    sine = any(isinstance(m, Sine) for m in model.modules())
    scales = [30.0 if sine and layer is not layers[-1] else 1.0 for layer in layers]
    squares = [float((g.double() / w).square().sum()) for g, w in zip(found, scales, strict=True)]

    def ratio(last: int) -> float:
        return max(squares[0], squares[last]) / min(squares[0], squares[last])

    pooled = any(isinstance(m, nn.AdaptiveAvgPool2d) for m in model.modules())
    return f"{ratio(-1):.2g}" + (f" ({ratio(-2):.2g})" if pooled else "")


def main() -> None:
    """Print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    lines = [
        f"| network | weights | error, median | error, 90 % | {' | '.join(f'E[y²]/target, {s}' for s in SCHEMES)} "
        f"| gradient, {' / '.join(SCHEMES)} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, build, inputs in networks():
        if given.only and given.only != name:
            continue
        torch.manual_seed(0)
        model = build()
        graph = trace(model, inputs)
        wanted = targets(graph)
        cells, backward, errors = [], [], [0.0]
        for scheme in SCHEMES:
            made = None if scheme == "as built" else fl.plan(model, inputs, scheme)
            if name in PLAIN:
                backward.append(gradients(build() if made is None else model, inputs, made))
            seeds = 4 if scheme != "auto" else 64 if name in WANDERING else 16
            found = realised(build, graph, made, seeds)
            ratios = [square / wanted.get(n, 1.0) for n, (_, square, _) in found.items()]
            cells.append(f"{min(ratios):.2g} to {max(ratios):.2g}")
            if scheme == "auto" and made is not None:
                errors = compared(graph, made, found)
        middle, tail = errors[len(errors) // 2], errors[int(0.9 * (len(errors) - 1))]
        lines.append(
            f"| {name} | {len(errors)} | {middle:.1%} | {tail:.1%} | {' | '.join(cells)} | {' / '.join(backward)} |"
        )
        print(lines[-1], flush=True)
    if not given.only:
        RESULTS.write_text("\n".join(lines) + "\n")


def compared(graph: Graph, made: Plan, found: dict[int, tuple[float, float, tuple[int, ...]]]) -> list[float]:
    """|predicted / realised - 1| of the standard deviation at every weight, sorted."""
    tape = graph.tape or Tape((), ())
    prediction = Propagation(tape, planned(made.entries, tape))
    for _ in prediction.run():
        pass
    wander = scatter(prediction)
    signals = prediction.signals
    return sorted(
        abs(shown(signals[n], shape) * math.exp(-wander[n] / 8) / std - 1) for n, (std, _, shape) in found.items()
    )


if __name__ == "__main__":
    main()

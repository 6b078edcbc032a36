"""Does ``auto`` train as well as the best fixed scheme? Five networks, five seeds, the learning rate tuned for each.

    python benchmarks/auto.py --data ../shared/data [--only mlp30] [--out runs/auto]

Resumable: what is finished is not run again. Writes ``benchmarks/results/auto.json`` and ``auto.md``, which
``docs/plan.md`` shows.
The data: scikit-learn's digits, CIFAR-10 reduced to 16 × 16, Tiny Shakespeare.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import firstlight as fl

ARMS = ("auto", "torch", "glorot_normal", "he_normal", "orthogonal(gain=relu)")
RESULTS = Path(__file__).parent / "results" / "auto.json"
Shape = tuple[int, ...]


class Sine(nn.Module):
    """sin(30 x), as in Sitzmann et al. 2020."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(30 * x)


class Block(nn.Module):
    """x + W₂ relu(W₁ x), without normalization."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.relu(self.up(x)))


class Attention(nn.Module):
    """Causal self-attention with a fused projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = (p.view(b, t, self.heads, -1).transpose(1, 2) for p in self.qkv(x).chunk(3, dim=-1))
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d))


class GptBlock(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, 4)
        self.norm2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    """A small GPT that predicts the character after its window."""

    def __init__(self, window: int, characters: int, classes: int, width: int = 48, depth: int = 4) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(characters, width), nn.Embedding(window, width)
        self.blocks = nn.Sequential(*(GptBlock(width) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ids = x.long()
        h = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(h))[:, -1])


def mlp30(shape: Shape, classes: int) -> nn.Module:
    """Thirty linear layers of 64 ReLU units."""
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(math.prod(shape), 64), nn.ReLU()]
    for _ in range(28):
        layers += [nn.Linear(64, 64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, classes))


def cnn20(shape: Shape, classes: int) -> nn.Module:
    """Twenty plain convolutions with GELU."""
    layers: list[nn.Module] = [nn.Conv2d(shape[0], 16, 3, padding=1), nn.GELU()]
    for i in range(19):
        layers += [nn.Conv2d(16, 16, 3, padding=1, stride=2 if i in (4, 9) else 1), nn.GELU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes))


def sine(shape: Shape, classes: int) -> nn.Module:
    """Five layers of 96 sines."""
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(math.prod(shape), 96), Sine()]
    for _ in range(4):
        layers += [nn.Linear(96, 96), Sine()]
    return nn.Sequential(*layers, nn.Linear(96, classes))


def residual40(shape: Shape, classes: int) -> nn.Module:
    """Forty residual blocks without normalization."""
    blocks = (Block(48) for _ in range(40))
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 48), *blocks, nn.Linear(48, classes))


def gpt(shape: Shape, classes: int) -> nn.Module:
    """Four blocks, 48 wide; it reads all 65 characters and predicts the common ones."""
    return Gpt(shape[0], characters=65, classes=classes)


def shakespeare(folder: Path, window: int = 24, examples: int = 12_000) -> fl.Task:
    """Windows of characters, and the character that follows."""
    text = (folder / "tinyshakespeare.txt").read_text()
    letters = sorted(set(text))
    codes = np.array([letters.index(c) for c in text[:400_000]])
    starts = np.random.default_rng(0).choice(len(codes) - window - 1, examples, replace=False)
    x = np.stack([codes[s : s + window] for s in starts]).astype(np.float32)
    y = np.array([f"U+{ord(letters[codes[s + window]]):04X}" for s in starts])
    common = {c for c, n in zip(*np.unique(y, return_counts=True), strict=True) if n >= 20}
    kept = np.array([c in common for c in y])
    task = fl.task_from_arrays(x[kept], y[kept], name="tinyshakespeare", description="next character")
    return replace(task, mean=torch.zeros(()), scale=torch.ones(()))  # they are codes, not measurements


@dataclass(frozen=True)
class Case:
    """A network on a task, how it is trained, and the learning rates tried."""

    build: Callable[[Shape, int], nn.Module]
    task: Callable[[Path], fl.Task]
    rates: tuple[float, ...]
    steps: int
    optimizer: str = "sgd"


def _digits(_: Path) -> fl.Task:
    return fl.load_task("digits10")


def _cifar(folder: Path) -> fl.Task:
    return fl.load_task(
        folder / "cifar10-train.parquet", test=folder / "cifar10-test.parquet", image_size=16, limit=4000
    )


CASES = {
    "mlp30": Case(mlp30, _digits, (0.001, 0.003, 0.01, 0.03), 300),
    "cnn20": Case(cnn20, _cifar, (0.0003, 0.001, 0.003), 300, "adamw"),
    "sine": Case(sine, _digits, (0.00001, 0.00003, 0.0001, 0.0003, 0.001), 300, "adamw"),
    "residual40": Case(residual40, _digits, (0.0003, 0.001, 0.003, 0.01, 0.03), 200),
    "gpt": Case(gpt, shakespeare, (0.0003, 0.001, 0.003, 0.01), 300, "adamw"),
}


def table(whole: dict[str, dict[str, Any]]) -> str:
    """What came out, as Markdown: a network a row, an arm a column."""
    head = ["network", "trained", *ARMS]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name in CASES:
        if name in whole:
            arms = {a["arm"]: a for a in whole[name]["arms"]}
            best = max(a["accuracy"] for a in arms.values())
            cells = []
            for arm in ARMS:
                a = arms[arm]
                mean = f"{100 * a['accuracy']:.1f}"
                mean = f"**{mean}**" if a["accuracy"] == best else mean
                cells.append(f"{mean} ({100 * a['low']:.1f} to {100 * a['high']:.1f})")
            trained = f"{whole[name]['steps']} steps of {whole[name]['optimizer']}"
            lines.append(f"| {name} | {trained} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the cases and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--out", type=Path, default=Path("runs/auto"))
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    whole = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in [given.only] if given.only else CASES:
        case = CASES[name]
        study = fl.compare(
            case.build,
            case.task(given.data),
            list(ARMS),
            learning_rates=case.rates,
            seeds=given.seeds,
            optimizer=case.optimizer,
            steps=case.steps,
            baseline="auto",
            out=given.out / name,
        )
        print(f"\n{name}\n{study}\n", flush=True)
        tests = {c.arm: c.p_holm for c in study.comparisons}
        whole[name] = {
            "task": study.setting.task,
            "parameters": study.setting.parameters,
            "steps": case.steps,
            "optimizer": case.optimizer,
            "rates": case.rates,
            "seeds": given.seeds,
            "machine": f"{platform.machine()}, torch {torch.__version__}",
            "arms": [
                {
                    "arm": a.arm,
                    "accuracy": round(a.test.mean, 4),
                    "low": round(a.test.low, 4),
                    "high": round(a.test.high, 4),
                    "rate": a.learning_rate,
                    "rates that work": list(a.working_rates),
                    "p": tests.get(a.arm),
                }
                for a in study.arms
            ],
        }
        RESULTS.write_text(json.dumps(whole, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(table(whole))


if __name__ == "__main__":
    main()

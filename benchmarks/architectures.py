"""Findings on architectures that nobody here wrote: every model of transformers that runs at a tiny size.

    python benchmarks/architectures.py               false alarms on all of them: about 2 minutes
    python benchmarks/architectures.py --faults 60   and faults put into 60 of them, by kind: about 2 minutes more

Configurations are made tiny by the names of their settings; a model that then does not build, run and give a loss, or
has over 20 million parameters, is left out. Faults go into a weight chosen at random; found is one whose code is right
and whose place is that weight. Writes benchmarks/results/architectures.md.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto import modeling_auto as auto

import firstlight as fl
from firstlight.checks.looking import WEIGHTS

RESULTS = Path(__file__).parent / "results" / "architectures.md"
_TINY: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "embedding_size", "image_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "hidden_dim", "vocab_size"), 64),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "max_position_embeddings", "n_positions", "n_ctx"), 64),
    **dict.fromkeys(("d_kv", "head_dim", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "rotary_dim"), 8),
    **dict.fromkeys(("state_size", "attention_head_size", "patch_size"), 8),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
    **{
        "num_key_value_heads": 2,
        "num_channels": 3,
        "num_labels": 10,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
    },
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
}
_MAY_BE_NONE = ("pad_token_id", "bos_token_id", "eos_token_id")
_LARGEST = 20_000_000


@dataclass(frozen=True)
class Built:
    """An architecture: how it is made, and what it is probed with."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Any
    targets: Any = None
    loss_fn: Callable[..., torch.Tensor] | None = None

    def probed(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> fl.Light:
        return fl.probe(model, self.inputs, self.targets, self.loss_fn, optimizer=optimizer)


def architectures() -> Iterator[Built]:
    """Name, builder and inputs with labels of every model that runs."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 60, (8, 16), generator=generator)
    pixels = torch.randn(8, 3, 32, 32, generator=generator)
    text = {"input_ids": ids, "labels": torch.randint(3, 60, (8, 16), generator=generator)}
    kind = {"labels": torch.arange(8) % 10}
    for mapping, inputs in (
        (auto.MODEL_FOR_CAUSAL_LM_MAPPING, text),
        (auto.MODEL_FOR_MASKED_LM_MAPPING, text),
        (auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, text),
        (auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, {"input_ids": ids, **kind}),
        (auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, {"pixel_values": pixels, **kind}),
    ):
        for config, models in list(mapping.items()):
            for model in models if isinstance(models, tuple) else (models,):
                built = _built(config, model, dict(inputs))
                if built is not None:
                    yield built


def _built(config: Any, model: Any, inputs: dict[str, Any]) -> Built | None:
    try:
        tiny = config(**{k: v for k, v in _TINY.items() if _takes(config(), k)})
        with torch.device("meta"):
            size = sum(p.numel() for p in model(tiny).parameters())
        if size > _LARGEST:
            return None

        def build() -> nn.Module:
            torch.manual_seed(0)
            made: nn.Module = model(tiny)
            return made

        made = build()
        if "use_cache" in inspect.signature(made.forward).parameters:
            inputs["use_cache"] = False
        with torch.no_grad():
            runs = bool(torch.isfinite(made(**inputs).loss))
    except Exception:  # a model may want anything of its settings
        return None
    return Built(model.__name__, build, inputs) if runs else None


def _takes(config: Any, setting: str) -> bool:
    given = getattr(config, setting, config)
    return isinstance(given, int) or (given is None and setting in _MAY_BE_NONE)


Fault = Callable[[nn.Module, list[str], random.Random], tuple[list[str], torch.optim.Optimizer | None] | None]


def _constant(model: nn.Module, names: list[str], rng: random.Random) -> Any:
    name = rng.choice(names)
    model.get_parameter(name).data.fill_(0.01)
    return [name], None


def _rows(model: nn.Module, names: list[str], rng: random.Random) -> Any:
    linear = [n for n in names if type(_owner(model, n)) is nn.Linear]
    if not linear:
        return None
    name = rng.choice(linear)
    weight = model.get_parameter(name).data
    weight.copy_(weight[:1].clone().expand_as(weight))
    return [name], None


def _copied(model: nn.Module, names: list[str], rng: random.Random) -> Any:
    shapes = defaultdict(list)
    for name in names:
        shapes[model.get_parameter(name).shape].append(name)
    pairs = [alike for alike in shapes.values() if len(alike) > 1]
    if not pairs:
        return None
    one, other = rng.sample(rng.choice(pairs), 2)
    model.get_parameter(one).data.copy_(model.get_parameter(other).data)
    return [one, other], None


def _nan(model: nn.Module, names: list[str], rng: random.Random) -> Any:
    name = rng.choice(names)
    model.get_parameter(name).data.view(-1)[3] = float("nan")
    return [name], None


def _frozen(model: nn.Module, names: list[str], rng: random.Random) -> Any:
    name = rng.choice(names[1:])
    for parameter in _owner(model, name).parameters(recurse=False):
        parameter.requires_grad_(False)
    return [name], None


def _left_out(model: nn.Module, names: list[str], rng: random.Random) -> Any:
    own = {id(p) for p in _owner(model, rng.choice(names)).parameters(recurse=False)}
    where = [n for n, p in model.named_parameters(remove_duplicate=False) if id(p) in own]
    return where, torch.optim.AdamW([p for p in model.parameters() if id(p) not in own], 1e-3)


def _cut(model: nn.Module, names: list[str], rng: random.Random) -> Any:
    called = [n for n in names if type(_owner(model, n)) is nn.Linear and "mamba" not in type(model).__name__.lower()]
    if not called:  # Mamba reads some weights without calling their layers
        return None
    _owner(model, rng.choice(called)).register_forward_hook(lambda _module, _args, out: out.detach())
    return [n for n, _ in model.named_parameters(remove_duplicate=False)], None


def _head(model: nn.Module, _names: list[str], _rng: random.Random) -> Any:
    get = getattr(model, "get_output_embeddings", None)
    head = get() if callable(get) else None
    if head is None or not hasattr(head, "weight"):
        return None
    head.weight.data.mul_(300)
    return ["*"], None


_FAULTS: dict[str, tuple[Fault, frozenset[str]]] = {
    "one value throughout": (_constant, frozenset({"constant-init"})),
    "every row the same": (_rows, frozenset({"symmetric-units", "rank-collapse"})),
    "a layer's draw copied": (_copied, frozenset({"duplicated-draws"})),
    "one NaN": (_nan, frozenset({"non-finite-weights"})),
    "frozen": (_frozen, frozenset({"frozen"})),
    "left out of the optimizer": (_left_out, frozenset({"not-in-optimizer"})),
    "output detached": (_cut, frozenset({"no-gradient"})),
    "head (or tied table) × 300": (_head, frozenset({"large-head", "exploding-forward"})),
}


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _loud(light: fl.Light) -> list[Any]:
    return [f for f in light.findings if f.severity != "note"]


def faults_in(built: Built, light: fl.Light) -> Iterator[tuple[str, bool, str]]:
    """Each kind of fault put into a fresh copy of a model: its name, whether it is found, and what was."""
    names = [
        w.name
        for w in light.weights
        if w.trainable and w.reached and w.role in WEIGHTS and not w.constant and len(w.shape) >= 2
        if w.module_type in ("Linear", "Conv1D", "Conv2d")
    ]
    if len(names) < 3:
        return
    for kind, (put, codes) in _FAULTS.items():
        model = built.build()
        done = put(model, names, random.Random(f"{built.name} {kind}"))
        if done is None:
            continue
        where, optimizer = done
        found = _loud(built.probed(model, optimizer))
        right = any(f.code in codes and (where == ["*"] or f.where in where) for f in found)
        yield (
            kind,
            right,
            f"{built.name}, {kind} at {where[0]}: {'; '.join(f'{f.code} at {f.where}' for f in found) or 'nothing'}",
        )


def report(title: str, command: str, listed: Sequence[Built], faults: int) -> str:
    """False alarms on models as they are made, and recall of faults put into so many of them."""
    some = random.Random(0).sample(range(len(listed)), min(faults, len(listed)))
    kept: dict[int, fl.Light] = {}  # a light holds its graph: all of them together take gigabytes
    alarms = []
    for i, built in enumerate(listed):
        light = built.probed(built.build())
        if _loud(light):
            found = "; ".join(f"{f.severity} {f.code} at {f.where}" for f in _loud(light))
            alarms.append(f"- {built.name}: {found}")
        if i in some:
            kept[i] = light
    lines = [
        f"# {title}\n",
        f"`{command}`\n",
        f"{len(listed)} models with their own initialization: {len(alarms)} with an error or a warning.\n",
        *alarms,
        "",
    ]
    if faults:
        tried, hit, missed = Counter[str](), Counter[str](), []
        for i in some:
            for kind, right, words in faults_in(listed[i], kept[i]):
                tried[kind] += 1
                hit[kind] += right
                missed += [] if right else [f"- {words}"]
        lines += ["| fault put into one weight | tried | right code at that weight |", "|---|---|---|"]
        lines += [f"| {kind} | {n} | {hit[kind]} |" for kind, n in tried.items()]
        lines += [
            f"| **all** | {tried.total()} | {hit.total()} |",
            "",
            *(["Missed:", "", *missed, ""] if missed else []),
        ]
    return "\n".join(lines)


def quietly() -> None:
    """One thread, and none of the libraries' warnings."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--faults", type=int, default=0, help="put faults into so many of the models")
    given = parser.parse_args()
    quietly()
    text = report(
        f"Findings on the architectures of transformers {transformers.__version__}",
        f"python benchmarks/architectures.py --faults {given.faults}",
        list(architectures()),
        given.faults,
    )
    RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()

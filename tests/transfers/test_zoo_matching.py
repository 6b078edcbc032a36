"""Structure matching on 58 architectures under other names: what is matched is right, without exception.

Two spellings of every model's tensors, in alphabetical order: the words of other libraries, and words that mean
nothing, so that only numbers, kinds and sizes are left. The truth is the name each tensor had.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest
import torch
import transformers

from firstlight.graphs import structure
from firstlight.transfers.matching import evidence, match
from firstlight.transfers.records import Target
from zoo.huggingface import MODELS, build

transformers.logging.set_verbosity_error()

PARTS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
WORDS = (
    ("self_attn", "attention"),
    ("attention.self", "attn"),
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("o_proj", "proj"),
    ("out_proj", "proj"),
    ("gate_proj", "w1"),
    ("up_proj", "w3"),
    ("down_proj", "w2"),
    ("layers", "blocks"),
    ("input_layernorm", "norm1"),
    ("post_attention_layernorm", "norm2"),
    ("embed_tokens", "tok_embeddings"),
    ("lm_head", "output_head"),
    ("encoder.layer.", "blocks."),
    ("self.query", "wq"),
    ("LayerNorm", "norm"),
    ("layer_norm", "ln"),
)


def other_words(name: str) -> str:
    name = f"net.{name}"
    for old, new in WORDS:
        name = name.replace(old, new)
    return name


def no_words(name: str) -> str:
    """Every word but a tensor's part replaced by one without meaning, the same word by the same."""

    def word(found: re.Match[str]) -> str:
        rng = random.Random(found[0])
        return "".join(rng.choice("bcdfghjmprstz") + rng.choice("aeiou") for _ in range(4))

    *path, part = name.split(".")
    spelled = [re.sub(r"[A-Za-z]+", word, p) for p in path]
    return ".".join([*spelled, part if part in PARTS else re.sub(r"[A-Za-z]+", word, part)])


def counted(name: str, spelling: Callable[[str], str]) -> tuple[int, int, list[str]]:
    """How many of a model's tensors there are, how many are matched rightly, and the wrong ones."""
    model, _ = build(name)
    state = {n: t for n, t in model.state_dict().items() if t.is_floating_point() or n.endswith("tracked")}
    truth = {spelling(n): n for n in state}
    assert len(truth) == len(state)
    same: dict[int, set[str]] = {}
    for n, t in state.items():
        same.setdefault(t.data_ptr() if t.numel() else id(t), set()).add(n)
    graph = structure(model)
    targets = [Target(p) for p in graph.parameters] + [Target(p, buffer=True) for p in graph.statistics]
    shapes = {n: tuple(state[truth[n]].shape) for n in sorted(truth)}
    found = match(targets, shapes, ours=evidence(graph))
    right, wrong = 0, []
    for target in targets:
        made = found.matches.get(target.name)
        if made is None:
            continue
        names = set().union(*(g for g in same.values() if g & set(target.parameter.names)))
        if len(made.pieces) == 1 and truth[made.pieces[0].tensor] in names:
            right += 1
        else:
            wrong.append(f"{target.name} ← {[truth[p.tensor] for p in made.pieces]} ({made.evidence})")
    return len(targets), right, wrong


QUICK = ("bert", "gpt2", "llama", "resnet", "swin", "t5")


def cases() -> list[object]:
    return [pytest.param(n, marks=() if n in QUICK else (pytest.mark.slow,)) for n in sorted(MODELS)]


@pytest.mark.parametrize("name", cases())
def test_under_other_words_what_is_matched_is_right(name: str) -> None:
    tensors, right, wrong = counted(name, other_words)
    assert not wrong
    assert right >= 0.85 * tensors


@pytest.mark.parametrize("name", cases())
def test_without_words_what_is_matched_is_right(name: str) -> None:
    _, _, wrong = counted(name, no_words)
    assert not wrong


@pytest.mark.slow
def test_the_counts_that_the_docs_give() -> None:
    torch.manual_seed(0)
    for spelling, expected in ((other_words, 2665), (no_words, 1354)):
        found = [counted(n, spelling) for n in MODELS]
        assert sum(f[0] for f in found) == 2668
        assert sum(f[1] for f in found) == expected

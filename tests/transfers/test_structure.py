"""Structure matching: transformers' models as ``save_pretrained`` writes them, into twins written by hand.

The law: after loading, the outputs are equal. What no evidence decides is left and named.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

import firstlight as fl
from transfers.twins import GPT, Bert, Llama, ResNet, ViT, Wordless

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

IDS = torch.randint(2, 40, (2, 12), generator=torch.Generator().manual_seed(0))
PICTURES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
_TEXT = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_TOKENS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}


def vit() -> nn.Module:
    sizes = {k: v for k, v in _TEXT.items() if k != "vocab_size"}
    return transformers.ViTModel(transformers.ViTConfig(**sizes, image_size=16, patch_size=4), add_pooling_layer=False)


def resnet() -> nn.Module:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[2, 2], layer_type="basic")
    return transformers.ResNetForImageClassification(config)


def bert() -> nn.Module:
    return transformers.BertModel(transformers.BertConfig(**_TEXT, max_position_embeddings=32))


def gpt2() -> nn.Module:
    sizes = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **_TOKENS))


def llama() -> nn.Module:
    sizes = {**_TEXT, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **_TOKENS))


PAIRS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], torch.Tensor]] = {
    "vit": (vit, ViT, PICTURES),
    "resnet": (resnet, ResNet, PICTURES),
    "bert": (bert, Bert, IDS),
    "gpt2": (gpt2, GPT, IDS),
    "llama": (llama, Llama, IDS),
}


def shaken(model: nn.Module) -> nn.Module:
    """Every value its own, statistics too: a tensor in a wrong place changes the output."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def output(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        y = model.eval()(x)
    return y if isinstance(y, torch.Tensor) else y[0]


@pytest.mark.parametrize("traced", [False, True], ids=["names", "traced"])
@pytest.mark.parametrize("name", PAIRS)
def test_a_twin_computes_what_the_saved_model_does(name: str, traced: bool, tmp_path: Path) -> None:
    make, twin_of, x = PAIRS[name]
    source, twin = shaken(make()), twin_of()
    source.save_pretrained(tmp_path)
    report = fl.load_(twin, tmp_path, inputs=x if traced else None)
    assert report.share == 1
    assert {o.rule for o in report if not o.buffer} <= {"structure", "prefix"}
    torch.testing.assert_close(output(twin, x), output(source, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_of_another_depth_the_first_blocks_are_matched(depth: int, tmp_path: Path) -> None:
    source, twin = shaken(vit()), ViT(depth=depth)
    source.save_pretrained(tmp_path)
    report = fl.load_(twin, tmp_path, fresh="keep", adapt={"stack"})
    assert report.share == 1
    for i in range(depth):
        (tensor,) = report[f"blocks.{i}.mlp.fc1.weight"].tensors
        assert tensor == f"encoder.layer.{i % 2}.intermediate.dense.weight"
    assert report["norm.weight"].tensors == ("layernorm.weight",)
    assert {u.name.split(".")[2] for u in report.unused} == ({"1"} if depth == 1 else set())


def test_two_forwards_tell_what_names_do_not() -> None:
    source, twin = shaken(bert()), Wordless()
    report = fl.load_(twin, source, inputs=IDS)
    assert report.share == 1
    torch.testing.assert_close(output(twin, IDS), output(source, IDS), rtol=1e-4, atol=1e-5)


def test_without_evidence_nothing_is_guessed(tmp_path: Path) -> None:
    source, twin = shaken(bert()), Wordless()
    source.save_pretrained(tmp_path)
    report = fl.load_(twin, tmp_path, require=0, fresh="keep", dry_run=True)
    for unit in ("aa", "dd", "ff", "hh"):
        outcome = report[f"uu.0.{unit}.weight"]
        assert outcome.kind == "kept"
        assert "equally" in outcome.why
        assert "attention.self.query" in outcome.why
    assert report["tt.weight"].tensors == ("embeddings.word_embeddings.weight",)
    assert report["uu.1.cc.weight"].tensors == ("encoder.layer.1.output.dense.weight",)


def test_fused_and_split_go_round_exactly() -> None:
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.ModuleDict({f"{p}_proj": nn.Linear(12, 12) for p in "qkvo"})

    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.ModuleDict({"qkv": nn.Linear(12, 36), "proj": nn.Linear(12, 12)})

    first, fused, last = Split(), Fused(), Split()
    assert fl.load_(fused, first).share == 1
    stacked = torch.cat([first.attn[f"{p}_proj"].weight for p in "qkv"])
    assert torch.equal(fused.attn["qkv"].weight, stacked)
    assert fl.load_(last, fused).share == 1
    for a, b in zip(first.parameters(), last.parameters(), strict=True):
        assert torch.equal(a, b)


def test_heads_stacked_one_by_one_are_not_taken_for_a_fused_projection() -> None:
    model = nn.Module()
    model.attn = nn.ModuleDict({"qkv": nn.Linear(12, 36), "proj": nn.Linear(12, 12)})
    source = {
        "attention.query_key_value.weight": torch.randn(36, 12),
        "attention.query_key_value.bias": torch.randn(36),
        "attention.dense.weight": torch.randn(12, 12),
        "attention.dense.bias": torch.randn(12),
    }
    report = fl.load_(model, source, require=0, fresh="keep", dry_run=True)
    assert report["attn.qkv.weight"].kind == "kept"
    assert report["attn.proj.weight"].kind == "loaded"


def test_a_linear_layer_is_a_convolution_of_one_pixel() -> None:
    linear = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    conv = nn.Module()
    conv.first, conv.last = nn.Conv2d(6, 8, 1), nn.Conv2d(8, 4, 1)
    report = fl.load_(conv, linear)
    assert report.share == 1
    assert torch.equal(conv.first.weight[:, :, 0, 0], linear[0].weight)
    assert "8×6 as 8×6×1×1" in report["first.weight"].why
    x = torch.randn(3, 6)
    y = conv.last(conv.first(x[:, :, None, None]).relu())[:, :, 0, 0]
    torch.testing.assert_close(y, linear(x))


def test_a_square_matrix_turns_with_the_others() -> None:
    class Turned(nn.Module):
        """As GPT-2 has its weights: (in, out)."""

        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(i, o)), nn.Parameter(torch.randn(o))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight + self.bias

    source = nn.ModuleDict({"c_a": Turned(6, 6), "c_b": Turned(6, 9)})
    model = nn.ModuleDict({"a": nn.Linear(6, 6), "b": nn.Linear(6, 9)})
    assert fl.load_(model, source).share == 1
    x = torch.randn(2, 6)
    torch.testing.assert_close(model["b"](model["a"](x)), source["c_b"](source["c_a"](x)))


def test_roles_that_exclude_each_other_are_not_matched_by_size() -> None:
    model = nn.ModuleDict({"classifier": nn.Linear(8, 8)})
    source = {"pooler.dense.weight": torch.randn(8, 8), "pooler.dense.bias": torch.randn(8)}
    report = fl.load_(model, source, require=0, fresh="keep", dry_run=True)
    assert not report.loaded
    assert "pooler" in report["classifier.weight"].why

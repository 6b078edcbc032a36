"""Aids for fine-tuning: depth, decaying learning rates, freezing, and starting the last layers anew."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.errors import ArgumentError, ModelError
from firstlight.transfers import freeze_, groups_by_depth
from firstlight.transfers.finetuning import depths
from firstlight.writers import reset_last_
from transfers.twins import GPT, ResNet, ViT

PICTURE = torch.zeros(1, 3, 16, 16)


@pytest.mark.parametrize("inputs", [None, PICTURE], ids=["names", "traced"])
def test_blocks_are_layers_between_the_stem_and_the_head(inputs: torch.Tensor | None) -> None:
    found = depths(ViT(depth=3), inputs)
    assert {found[n] for n in ("cls_token", "pos_embed", "patch_embed.proj.weight")} == {0}
    assert [found[f"blocks.{i}.mlp.fc1.weight"] for i in range(3)] == [1, 2, 3]
    assert found["norm.weight"] == 4


def test_blocks_in_stages_are_counted_through() -> None:
    found = depths(ResNet())
    assert found["conv1.weight"] == 0
    layers = [found[f"layer{s}.{b}.conv1.weight"] for s in (1, 2) for b in (0, 1)]
    assert layers == [1, 2, 3, 4]
    assert found["layer2.0.downsample.0.weight"] == 3
    assert found["fc.bias"] == 5


def test_modules_are_layers_where_there_are_no_blocks() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 2))
    found = depths(model)
    assert found["1.weight"] == found["0.weight"] == 0
    assert (found["2.bias"], found["3.weight"]) == (1, 2)
    with pytest.raises(ModelError, match="no parameters"):
        depths(nn.ReLU())


@pytest.mark.parametrize("model", [ViT(), ResNet(), GPT()], ids=lambda m: type(m).__name__)
def test_every_trainable_parameter_is_in_one_group(model: nn.Module) -> None:
    groups = groups_by_depth(model, 0.1)
    held = [id(p) for g in groups for p in g["params"]]
    assert sorted(held) == sorted({id(p) for p in model.parameters()})
    optimizer = torch.optim.AdamW(groups)
    assert len(optimizer.param_groups) == len(groups)


def test_rates_decay_towards_the_input() -> None:
    groups = groups_by_depth(ViT(depth=3), 0.1, decay=0.5)
    rates = {g["layer"]: g["lr"] for g in groups}
    assert rates == {layer: pytest.approx(0.1 * 0.5 ** (4 - layer)) for layer in range(5)}
    assert {g["lr"] for g in groups_by_depth(ViT(), 0.1, decay=1)} == {0.1}


def test_biases_and_norms_do_not_decay_unless_asked() -> None:
    for group in groups_by_depth(ResNet(), 0.1, weight_decay=0.02):
        matrices = {len(p.shape) > 1 for p in group["params"]}
        assert matrices == {group["weight_decay"] == 0.02}
    assert {g["weight_decay"] for g in groups_by_depth(ResNet(), 0.1, weight_decay=0.02, decay_all=True)} == {0.02}


def test_frozen_parameters_are_in_no_group() -> None:
    model = ViT(depth=3)
    frozen = freeze_(model, 3)
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == set(frozen)
    assert {g["layer"] for g in groups_by_depth(model, 0.1)} == {3, 4}
    freeze_(model, -1)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"norm.weight", "norm.bias"}
    freeze_(model, 5)
    with pytest.raises(ArgumentError, match="nothing to train"):
        groups_by_depth(model, 0.1)


@pytest.mark.parametrize(
    "arguments", [{"lr": 0}, {"lr": float("nan")}, {"decay": 0}, {"decay": 1.1}, {"weight_decay": -1}]
)
def test_numbers_outside_their_range_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ArgumentError):
        groups_by_depth(ViT(), **{"lr": 0.1, **arguments})
    with pytest.raises(ArgumentError, match="has 4 layers"):
        freeze_(ViT(depth=2), 9)


def test_the_last_layers_start_anew_and_the_others_stay() -> None:
    model = ResNet()
    model(torch.randn(8, 3, 16, 16))
    before = {n: t.clone() for n, t in model.state_dict().items()}
    receipt = reset_last_(model, 2, "he_normal", seed=1)
    fresh = ResNet()
    fl.init_(fresh, "he_normal", seed=1)
    reset = {w.name for w in receipt.written}
    assert {"fc.weight", "layer2.1.conv2.weight", "layer2.1.bn1.running_mean"} <= reset
    for name, tensor in model.state_dict().items():
        new = name.startswith(("fc.", "layer2.1."))
        assert (name in reset) is new
        assert torch.equal(tensor, fresh.state_dict()[name] if new else before[name]), name
    with pytest.raises(ArgumentError, match="layers"):
        reset_last_(model, 0)

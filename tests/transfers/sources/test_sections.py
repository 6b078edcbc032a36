"""Which section of a checkpoint the weights are: one way of each framework, and every doubt named."""

from __future__ import annotations

import pytest
import torch

from firstlight.errors import TransferError, UnknownNameError
from firstlight.transfers.sources import open_source


def weights(value: float = 0.0) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((2, 3), value), "bias": torch.zeros(2)}


ADAM = {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(2, 3)}}, "param_groups": [{"lr": 0.1}]}

FRAMEWORKS = {
    "plain": (weights(), ""),
    "torch tutorial": ({"epoch": 1, "model_state_dict": weights(), "optimizer_state_dict": ADAM}, "model_state_dict"),
    "Lightning": (
        {
            "state_dict": weights(),
            "optimizer_states": [ADAM],
            "callbacks": {"Checkpoint": {"best_model_score": torch.tensor(0.1)}},
            "loops": {"fit_loop": {"state_dict": {"batches": torch.tensor(3)}}},
            "hyper_parameters": {"lr": torch.tensor(0.1)},
        },
        "state_dict",
    ),
    "timm": ({"state_dict": weights(), "state_dict_ema": weights(1), "optimizer": ADAM}, "state_dict"),
    "DeiT": ({"model": weights(), "model_ema": weights(1), "scaler": {"scale": torch.tensor(1.0)}}, "model"),
    "only an average": ({"ema": {"module": weights()}, "updates": 3}, "ema.module"),
    "a loss beside it": ({"loss": torch.tensor(0.3), "net": weights()}, "net"),
    "flat optimizer": ({"model": weights(), "optimizer": {"exp_avg": torch.ones(3)}}, "model"),
    "a name that looks like an optimizer's": ({"opt": weights(), "epoch": 3}, "opt"),
    "nested": ({"checkpoint": {"model": weights()}}, "checkpoint.model"),
}


@pytest.mark.parametrize("tree", FRAMEWORKS.values(), ids=FRAMEWORKS)
def test_the_weights_are_found(tree: tuple[dict[str, object], str]) -> None:
    content, path = tree
    source = open_source(content)
    assert {"weight", "bias"} <= set(source.tensors)
    assert (f"(section {path!r})" in source.label) == bool(path)
    assert (f"section {path!r}" in "".join(source.notes)) == bool(path)


def test_another_section_can_be_named() -> None:
    tree = {"model": weights(), "ema": {"module": weights(1)}, "optimizer": {"flat": torch.ones(2)}}
    for section in ("ema", "ema.module"):
        assert open_source(tree, section=section).read("weight")[0, 0] == 1
    assert set(open_source(tree, section="optimizer").tensors) == {"flat"}
    assert "'ema.module'" in open_source(tree).notes[0]
    with pytest.raises(UnknownNameError, match=r"unknown section .* 'model_ema'.*ema\.module"):
        open_source(tree, section="model_ema")


@pytest.mark.parametrize("names", [("generator", "discriminator"), ("model", "state_dict"), ("student", "student2")])
def test_doubt_lists_the_sections(names: tuple[str, str]) -> None:
    tree = {name: weights() for name in names}
    with pytest.raises(TransferError, match=rf"{names[0]}: 2 tensors\n  {names[1]}: 2 tensors\nName one: section="):
        open_source(tree)
    assert set(open_source(tree, section=names[1]).tensors) == {"weight", "bias"}


def test_a_section_that_holds_several_is_refused() -> None:
    tree = {"models": {"a": weights(), "b": weights()}}
    with pytest.raises(TransferError, match=r"'models' .* holds several: models\.a, models\.b"):
        open_source(tree, section="models")


@pytest.mark.parametrize("tree", [{}, {"a": 1}, {"a": {"b": [torch.ones(1)]}}, {0: torch.ones(1)}])
def test_without_tensors_there_is_nothing_to_load(tree: dict[object, object]) -> None:
    with pytest.raises(TransferError, match="holds no tensors by name"):
        open_source(tree)


def test_a_tree_without_end_ends() -> None:
    tree: dict[str, object] = {"model": weights(), "epoch": 1}
    tree["self"] = tree
    assert "'model'" in open_source(tree).label


def test_one_dict_under_many_names_is_one_section() -> None:
    """Ten to the power of twenty paths, each level ten times the next."""
    tree: dict[str, object] = weights()
    for _ in range(20):
        tree = {str(i): tree for i in range(10)}
    with pytest.raises(TransferError, match="holds no tensors by name"):
        open_source(tree)
    assert open_source({"model": (same := weights()), "net": same}).label.endswith("(section 'model')")

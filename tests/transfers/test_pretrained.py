"""``pretrained``: all but the head from a safetensors file, and every way the file can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

import firstlight as fl
from firstlight.errors import TransferError
from models import Tied


def network(classes: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    model = network()
    fl.init_(model, "he_normal", seed=1)
    model(torch.randn(16, 8))
    save_model(model, str(tmp_path / "w.safetensors"))
    return tmp_path / "w.safetensors"


def test_loads_all_but_the_head(trained: Path) -> None:
    source, model = network(), network(classes=3)
    fl.init_(source, "he_normal", seed=1)
    receipt = fl.init_(model, f"pretrained({trained})", seed=2)
    assert torch.equal(model[0].weight, source[0].weight)
    assert not torch.equal(model[1].running_mean, torch.zeros(8))
    fresh = network(classes=3)
    fl.init_(fresh, "he_normal", seed=2)
    assert torch.equal(model[3].weight, fresh[3].weight)
    assert "w.safetensors" in receipt["0.weight"].reason
    assert "head" in receipt["3.weight"].reason


def test_the_head_and_its_scheme_can_be_named(trained: Path) -> None:
    model = network()
    fl.init_(model, f"pretrained({trained}, head=0.*, fresh=zeros)")
    assert (model[0].weight == 0).all()
    assert not (model[3].weight == 0).all()


def test_a_tied_tensor_may_be_stored_under_either_name(tmp_path: Path) -> None:
    source = Tied()
    fl.init_(source, "he_normal", seed=1)
    for name in ("embed.weight", "head.weight"):
        save_file(
            {
                name: source.embed.weight.detach(),
                "body.weight": torch.ones(16, 16),
                "body.bias": torch.ones(16),
            },
            tmp_path / "t.safetensors",
        )
        model = Tied()
        fl.init_(model, f"pretrained({tmp_path / 't.safetensors'}, head=none)")
        assert torch.equal(model.embed.weight, source.embed.weight)


def _spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    match how:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "header":
            path.write_bytes(b"\xff" * 8 + data[8:])
        case "pickle":
            torch.save({"0.weight": torch.zeros(2)}, path)


@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "header", "pickle"])
def test_a_bad_file_is_named_and_nothing_is_written(trained: Path, how: str) -> None:
    _spoil(trained, how)
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(TransferError, match=r"w\.safetensors"):
        fl.init_(model, f"pretrained({trained})")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"0.weight": torch.zeros(8, 8)}, "0.bias .*no tensor of the source matches"),
        ({"0.weight": torch.zeros(8, 4), "0.bias": torch.zeros(8)}, r"0.weight.*has the shape \(8, 4\)"),
        ({"other": torch.zeros(8)}, "0 tensors match"),
    ],
)
def test_a_partial_match_is_refused(tmp_path: Path, tensors: dict[str, torch.Tensor], words: str) -> None:
    save_file(tensors, tmp_path / "p.safetensors")
    with pytest.raises(TransferError, match=words):
        fl.init_(network(), f"pretrained({tmp_path / 'p.safetensors'})")


def test_nan_weights_are_refused(tmp_path: Path) -> None:
    state = {k: v.clone() for k, v in network().state_dict().items()}
    state["0.weight"][0, 0] = float("nan")
    save_file(state, tmp_path / "n.safetensors")
    with pytest.raises(TransferError, match=r"'0\.weight'.*NaN"):
        fl.init_(network(), f"pretrained({tmp_path / 'n.safetensors'})")

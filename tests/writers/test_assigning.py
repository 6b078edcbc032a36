"""``load_(mapped=True)``: the file's memory becomes the parameter's, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import nn

import firstlight as fl
from firstlight.errors import TransferError
from models import Tied


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4))


def filled(seed: int = 0) -> nn.Sequential:
    model = network()
    fl.init_(model, "he_normal", seed=seed)
    return model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_model(filled(1), str(tmp_path / "w.safetensors"))
    return tmp_path / "w.safetensors"


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_mapped_model_is_the_copied_one_and_trains(suffix: str, file: Path) -> None:
    path = file if suffix == ".safetensors" else file.with_suffix(".pt")
    if suffix == ".pt":
        torch.save(load_file(file), path)
    before = path.read_bytes()
    copied, mapped = filled(), filled()
    parameters = dict(mapped.named_parameters())
    fl.load_(copied, path)
    report = fl.load_(mapped, path, mapped=True)
    assert report.loaded
    assert all(mapped.get_parameter(n) is p for n, p in parameters.items())
    for _ in range(2):
        for model in (copied, mapped):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            model(torch.arange(48.0).view(8, 6)).square().mean().backward()
            optimizer.step()
    assert all(
        torch.equal(a, b) for a, b in zip(copied.state_dict().values(), mapped.state_dict().values(), strict=True)
    )
    assert path.read_bytes() == before


def test_nothing_is_copied(file: Path) -> None:
    first, second = filled(), filled()
    old = first[0].weight.data_ptr()
    fl.load_(first, file, mapped=True)
    fl.load_(second, file)
    assert first[0].weight.data_ptr() != old
    assert first[0].weight.untyped_storage().nbytes() == first[0].weight.nbytes
    save_model(first, str(file.with_name("again.safetensors")))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_model_on_meta_gets_its_memory_from_the_file(file: Path) -> None:
    with torch.device("meta"):
        model = network()
    model[0].weight.requires_grad_(False)
    fl.load_(model, file, mapped=True, device="cpu")
    assert not any(t.is_meta for t in model.state_dict().values())
    assert isinstance(model[0].weight, nn.Parameter)
    assert not model[0].weight.requires_grad
    assert all(torch.equal(t, load_file(file)[n]) for n, t in model.state_dict().items())


def test_ties_stay_and_are_not_made(tmp_path: Path) -> None:
    tied = Tied()
    fl.init_(tied, "he_normal", seed=1)
    torch.save(tied.state_dict(), tmp_path / "tied.pt")
    model = Tied()
    fl.load_(model, tmp_path / "tied.pt", mapped=True)
    assert model.embed.weight is model.head.weight
    assert torch.equal(model.embed.weight, tied.embed.weight)
    state = filled(1).state_dict()
    state["2.weight"] = state["0.weight"][:4, :5]  # one storage under two names
    torch.save(state, tmp_path / "shared.pt")
    model = filled()
    fl.load_(model, tmp_path / "shared.pt", mapped=True)
    with torch.no_grad():
        model[0].weight.zero_()
    assert torch.equal(model[2].weight, state["2.weight"])
    assert model[2].weight.abs().sum() > 0


def test_what_cannot_stand_as_it_is_is_copied(file: Path, tmp_path: Path) -> None:
    model = filled().double()
    fl.load_(model, file, mapped=True)
    assert model[0].weight.dtype == torch.float64
    assert torch.equal(model[0].weight.float(), load_file(file)["0.weight"])
    state = {n: t.clone() for n, t in filled(1).state_dict().items()}
    model = filled()
    fl.load_(model, state, mapped=True)
    assert model[0].weight.data_ptr() != state["0.weight"].data_ptr()


def test_a_bad_value_leaves_the_model_alone(file: Path) -> None:
    state = load_file(file)
    state["2.bias"][0] = float("nan")
    save_file(state, file)
    model = filled()
    old = {n: (p.data_ptr(), p.clone()) for n, p in model.named_parameters()}
    with pytest.raises(TransferError, match=r"2\.bias"):
        fl.load_(model, file, mapped=True)
    assert all(p.data_ptr() == old[n][0] and torch.equal(p, old[n][1]) for n, p in model.named_parameters())

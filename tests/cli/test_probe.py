"""``firstlight probe``: what it prints and writes, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import firstlight as fl
from firstlight.cli.app import app

SOURCE = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(*(m for _ in range(20) for m in (nn.Linear(16, 16), nn.ReLU())), nn.Linear(16, 4))

def both():
    return net(), torch.randn(32, 16)

def targets():
    return torch.arange(32) % 4

def far(outputs, targets):
    return (outputs - 5).square().mean()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets_for_probes.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["probe", "nets_for_probes.py:both", *words])
    return done.exit_code, done.output


def test_a_model_as_it_is_built_is_measured_and_diagnosed(here: Path) -> None:
    code, out = run("--targets", "nets_for_probes.py:targets")
    assert code == 0
    assert "cross_entropy" in out
    assert "E[g²] there" in out
    assert "vanishing-gradient" in out  # torch's default on twenty ReLU layers
    assert max(map(len, out.split("\n"))) <= 100


def test_initializations_are_laid_over_one_another(here: Path) -> None:
    code, out = run("--init", "torch,he_normal", "--init", "normal(std=0.01)", "--json", "o.json", "--html", "o.html")
    assert code == 0
    assert [line[:12].strip() for line in out.split("\n") if line[:1] in "●○■" and "→" in line] == [
        "● torch",
        "○ he_normal",
        "■ normal(std",
    ]
    assert set(json.loads((here / "o.json").read_text())["lights"]) == {"torch", "he_normal", "normal(std=0.01)"}
    assert "he_normal" in (here / "o.html").read_text()


def test_one_initialization_is_a_record_that_can_be_read_again(here: Path) -> None:
    code, _ = run("--init", "he_normal", "--shape", "8,16", "--lr", "0.1", "--jacobian", "--json", "o.json")
    light = fl.Light.from_json(here / "o.json")
    assert code == 0
    assert light.batch == 8
    assert light.jacobian is not None
    assert light.weights[0].lr == 0.1
    again, _ = run("--init", "he_normal", "--shape", "8,16", "--lr", "0.1", "--jacobian", "--json", "p.json")
    assert again == 0
    assert (here / "o.json").read_text() == (here / "p.json").read_text()


def test_a_loss_is_named_or_ones_own(here: Path) -> None:
    named = ("--targets", "nets_for_probes.py:targets", "--loss")
    assert "(cross_entropy)" in run(*named, "cross_entropy")[1]
    code, out = run(*named, "nets_for_probes.py:far")
    assert code == 0
    assert "loss 2" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--loss", "crossentropy"), "Did you mean cross_entropy"),
        (("--shape", "8,15"), "the forward raised"),
        (("--shape", "8,16", "--inputs", "nets_for_probes.py:targets"), "give one"),
        (("--init", "he_norml"), "he_normal"),
        (("--lr", "-1"), "lr=-1"),
        (("--json", "no/folder.json"), "cannot write"),
    ],
)
def test_an_error_is_one_message(here: Path, words: tuple[str, ...], said: str) -> None:
    code, out = run(*words)
    assert code == 2
    assert said in out
    assert "Traceback" not in out


def test_without_inputs_nothing_can_be_measured(here: Path) -> None:
    done = CliRunner().invoke(app, ["probe", "nets_for_probes.py:net"])
    assert done.exit_code == 2
    assert "--shape" in done.output

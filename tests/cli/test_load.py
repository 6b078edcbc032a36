"""``firstlight load``: what it prints and writes, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

from firstlight.cli.app import app

SOURCE = """
from torch import nn

def net():
    model = nn.Sequential()
    model.body, model.head = nn.Linear(8, 6), nn.Linear(6, 2)
    return model
"""
STATE = {
    "old.body.weight": torch.randn(6, 8),
    "old.body.bias": torch.randn(6),
    "old.head.weight": torch.randn(5, 6),
    "old.head.bias": torch.randn(5),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets_to_load.py").write_text(SOURCE)
    save_file(STATE, tmp_path / "old.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["load", "nets_to_load.py:net", *words])
    return done.exit_code, done.output


def test_the_report_is_shown_and_the_weights_written(here: Path) -> None:
    code, out = run("old.safetensors", "--out", "new.safetensors", "--json", "report.json")
    assert code == 0, out
    assert "2 loaded, 2 fresh, 2 of the source unused" in out
    assert "a new head: 2 outputs" in out
    made = load_file(here / "new.safetensors")
    assert torch.equal(made["body.weight"], STATE["old.body.weight"])
    assert made["head.weight"].shape == (2, 6)
    assert json.loads((here / "report.json").read_text())["written"] is True
    assert not list(here.glob("*.part"))


def test_a_dry_run_shows_what_rules_do(here: Path) -> None:
    code, out = run("old.safetensors", "--rename", "old.*=*", "--dry-run", "--all")
    assert code == 0, out
    assert "old.body.weight → body.weight" in out
    assert "would be: " in out


def test_options_reach_the_load(here: Path) -> None:
    code, out = run("old.safetensors", "--skip", "body.*", "--fresh", "zeros", "--require", "0", "--adapt", "none")
    assert code == 0, out
    assert "skipped by 'body.*'" in out
    assert "adapt={'head'} would fit it" in out or "has the shape (5, 6)" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.safetensors"], "none.safetensors"),
        (["old.safetensors", "--rename", "body"], "should be old=new"),
        (["old.safetensors", "--rename", "x.*=y.*"], "fits none"),
        (["old.safetensors", "--adapt", "hed"], "unknown adaptation 'hed'"),
        (["old.safetensors", "--dry-run", "--out", "new.safetensors"], "leave one of them out"),
        (["old.safetensors", "--require", "1"], "100 % are required"),
        (["old.safetensors", "--out", "no/folder/new.safetensors"], "cannot write"),
    ],
)
def test_an_error_is_one_message_and_code_two(here: Path, words: list[str], message: str) -> None:
    code, out = run(*words)
    assert code == 2
    assert message in out.replace("\n", "")


def test_a_model_that_ties_weights_is_written(here: Path) -> None:
    (here / "tied_nets.py").write_text(
        "from torch import nn\n\n\ndef net():\n    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7))\n"
        "    model[1].weight = model[0].weight\n    return model\n"
    )
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7))
    save_file({"0.weight": model[0].weight.detach(), "1.bias": model[1].bias.detach()}, here / "t.safetensors")
    done = CliRunner().invoke(app, ["load", "tied_nets.py:net", "t.safetensors", "--out", "n.safetensors"])
    assert done.exit_code == 0, done.output
    assert "tied, loaded once" in done.output

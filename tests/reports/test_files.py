"""Text into a named file, or an error that names it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import firstlight as fl
from firstlight.errors import ArgumentError
from firstlight.reports.files import into


def test_the_text_comes_back_and_is_in_the_file(tmp_path: Path) -> None:
    assert into(None, "σ²") == "σ²"
    assert into(tmp_path / "x.json", "σ²") == (tmp_path / "x.json").read_text(encoding="utf-8") == "σ²"


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    with pytest.raises(ArgumentError, match=r"cannot write .*nowhere"):
        fl.plan(model, scheme="he_normal").to_json(tmp_path / "nowhere" / "plan.json")
    with pytest.raises(ArgumentError, match=r"cannot write .*nowhere"):
        fl.init_(model, "he_normal").to_json(tmp_path / "nowhere" / "receipt.json")

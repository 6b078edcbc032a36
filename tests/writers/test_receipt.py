"""Receipts: saved as JSON and read back exactly, or refused with what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import firstlight as fl
from firstlight.errors import ArgumentError
from models import Everything, Tied


def a_receipt() -> fl.Receipt:
    model = nn.Sequential(Tied(), nn.Linear(0, 0, bias=False), nn.BatchNorm1d(2))
    model[0].body.weight.requires_grad_(False)
    with torch.no_grad():
        model[0].body.weight[0, 0] = torch.inf
    return fl.init_(model, "he_normal", 2**64 - 1, rules={"1.weight": fl.Zeros()})


@pytest.mark.filterwarnings("ignore:Initializing zero-element:UserWarning")
def test_the_round_trip_is_exact(tmp_path: Path) -> None:
    for receipt in (a_receipt(), fl.init_(Everything(), "torch", 3, digests=False)):
        text = receipt.to_json(tmp_path / "receipt.json")
        assert (tmp_path / "receipt.json").read_text(encoding="utf-8") == text
        for read in (fl.Receipt.from_json(text), fl.Receipt.from_json(tmp_path / "receipt.json")):
            assert read == receipt
            assert read.to_json() == text
            assert str(read) == str(receipt)
    text = a_receipt().to_json()
    assert '"nan"' in text  # an empty tensor has no mean


def test_a_receipt_read_back_verifies() -> None:
    model = Everything()
    receipt = fl.Receipt.from_json(fl.init_(model, "orthogonal").to_json())
    assert fl.verify(model, receipt).ok


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no receipt's JSON"),
        ("[" * 100_000, "no receipt's JSON"),
        ("[]", "no key 'firstlight_receipt'"),
        ('{"firstlight_plan": 1}', "no key 'firstlight_receipt'"),
        ('{"firstlight_receipt": 2}', "version 2; this firstlight reads version 1"),
        ('{"firstlight_receipt": true}', "version True"),
        ('{"firstlight_receipt": 1}', "should have exactly the keys scheme, seed"),
    ],
)
def test_what_is_no_receipt_is_refused(text: str, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        fl.Receipt.from_json(text)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no receipt's JSON"):
        fl.Receipt.from_json(tmp_path / "none.json")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(ArgumentError, match="no receipt's JSON"):
        fl.Receipt.from_json(tmp_path / "bytes")
    with pytest.raises(ArgumentError, match="no receipt's JSON"):
        fl.Receipt.from_json(None)


_WRONG: dict[str, list[Any]] = {
    "name": [3, None, ["w"]],
    "aliases": ["w", [3], {}, None],
    "shape": [3, [2.5], ["2"], [True], None],
    "dtype": [None, 32],
    "decision": [{}],
    "reason": [None],
    "stream": [1.5, "0", 2**70, True],
    "mean": ["zero", None, True, [], 10**400],
    "std": ["-nan"],
    "digest": [None, 5],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in _WRONG.items() for v in values])
def test_a_field_of_another_type_is_named(field: str, value: object) -> None:
    whole = json.loads(fl.init_(nn.Linear(2, 2), "he_normal").to_json())
    whole["written"][1][field] = value
    with pytest.raises(ArgumentError, match=rf"written\[1\]: {field}"):
        fl.Receipt.from_json(json.dumps(whole))


@pytest.mark.parametrize("change", [{"extra": 1}, {"written": {}}, {"written": [3]}, {"seed": 0.5}, {"kept": None}])
def test_receipts_of_another_form_are_refused(change: dict[str, object]) -> None:
    whole = json.loads(fl.init_(nn.Linear(2, 2), "he_normal").to_json())
    with pytest.raises(ArgumentError, match="the receipt"):
        fl.Receipt.from_json(json.dumps(whole | change))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_any_json_is_read_or_refused(value: object) -> None:
    for whole in (
        value,
        {"firstlight_receipt": 1, "scheme": value, "seed": 0, "field_format": 1, "written": [], "kept": []},
    ):
        try:
            fl.Receipt.from_json(json.dumps(whole))
        except ArgumentError:
            continue

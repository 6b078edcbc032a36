"""Golden values: format 1 gives these bits for ever, from either engine."""

import json
from pathlib import Path

import pytest
import torch

from firstlight import fields

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "fields.json").read_text(encoding="utf-8"))
VALUES = [case for case in GOLDEN["cases"] if "bits" in case]
WORDS = [case for case in GOLDEN["cases"] if "words" in case]
INTEGERS = {"float32": torch.int32, "float16": torch.int16, "bfloat16": torch.int16, "float64": torch.int64}


def test_the_format_is_the_golden_one():
    assert GOLDEN["format"] == fields.FORMAT


def test_keys_and_words():
    for case in WORDS:
        key = fields.key(*case["key"])
        expected = [int(word, 16) for word in case["words"].split()]
        assert key.stream == int(case["stream"], 16)
        assert fields.words(key, case["start"], case["start"] + len(expected)).tolist() == expected


@pytest.mark.parametrize("engine", fields.ENGINES)
def test_values(engine):
    for case in VALUES:
        name, *numbers = case["transform"]
        transform = getattr(fields, name)(*map(float, numbers))
        expected = [int(bits, 16) for bits in case["bits"].split()]
        out = torch.empty(len(expected), dtype=getattr(torch, case["dtype"]))
        fields.fill_(out, transform, fields.key(*case["key"]), case["start"], engine=engine)
        mask = (1 << 8 * out.element_size()) - 1
        assert [bits & mask for bits in out.view(INTEGERS[case["dtype"]]).tolist()] == expected, case

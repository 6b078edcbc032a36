"""The digest of a model's code changes with whatever the model does, and with nothing else."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from firstlight.studies.identity import code_digest

HELPER = """
from torch import nn
WIDTH = 8
def activation(x):
    return x.relu()
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, WIDTH), nn.Linear(WIDTH, 3)
    def forward(self, x):
        return self.last(activation(self.first(x)))
"""
FACTORY = """
import {helper} as parts
from torch import nn
SCALE = 2.0
def plain(width=8):
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))
def scaled():
    model = plain()
    model.register_buffer("scale", __import__("torch").tensor(SCALE))
    return model
def helped():
    return parts.Net()
def nested():
    def build():
        return plain()
    return build()
"""


def modules(folder: Path, helper: str = HELPER, factory: str = FACTORY) -> ModuleType:
    """The factory's module, imported from files, as fresh as in a new process."""
    name = f"helper_of_{folder.name}"
    for module, text in ((name, helper), (f"factory_{folder.name}", factory.format(helper=name))):
        path = folder / f"{module}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(module, path)
        made = importlib.util.module_from_spec(spec)
        sys.modules[module] = made
        spec.loader.exec_module(made)
    return made


EDITS = {
    "helped": ("helper", "x.relu()", "x.tanh()"),
    "plain": ("factory", "nn.ReLU()", "nn.Tanh()"),
    "scaled": ("factory", "SCALE = 2.0", "SCALE = 3.0"),
    "nested": ("factory", "width=8", "width=9"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_anywhere_in_the_users_code_changes_it(name: str, tmp_path: Path) -> None:
    which, old, new = EDITS[name]
    texts = {"helper": HELPER, "factory": FACTORY}
    first, second = tmp_path / "one", tmp_path / "two"
    for folder in (first, second):
        folder.mkdir()
    before = code_digest(getattr(modules(first), name))
    texts[which] = texts[which].replace(old, new)
    # The same names in the same places: only the text differs.
    first_again = modules(first, **texts)
    assert code_digest(getattr(first_again, name)) != before
    assert code_digest(getattr(modules(first), name)) == before


def with_closure(value: object) -> Callable[[], object]:
    return lambda: value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.ReLU, nn.Tanh),
        (1.0, 2.0),
        (torch.zeros(3), torch.ones(3)),
        (np.zeros(3), np.ones(3)),
        ((1, 2), (2, 1)),
        ({"a": 1}, {"a": 2}),
        (functools.partial(int, base=2), functools.partial(int, base=8)),
        (nn.Dropout(0.1), nn.Dropout(0.2)),
        (torch.relu, torch.tanh),
    ],
)
def test_what_a_closure_or_a_default_holds_counts(one: object, other: object) -> None:
    def defaulted(value: object) -> Callable[[], object]:
        def build(held: object = value) -> object:
            return held

        return build

    for make in (with_closure, defaulted):
        assert code_digest(make(one)) != code_digest(make(other))
        assert code_digest(make(one)) == code_digest(make(one))


def test_recursion_and_cycles_end() -> None:
    values: list[object] = []
    values.append(values)
    assert code_digest(with_closure(values))

    def again(n: int) -> int:
        return again(n - 1) if n else 0

    assert code_digest(again)


def test_it_is_the_same_in_another_process(tmp_path: Path) -> None:
    """Whatever the seed of Python's hashes and the addresses of things."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\nNAMES = {'a', 'b', 'c', 'd'}\ncode = lambda x: x in {'p', 'q', 'r'}\n"
        "class Odd:\n    def __init__(self):\n        self.x = object()\nODD = Odd()\n"
        "def make():\n    return [NAMES, code, ODD, nn.Linear(2, 2)]\n"
        "typed = eval('lambda: {1, 2, 3} | NAMES')\n"
    )
    script = (
        "from net import make, typed; from firstlight.studies.identity import code_digest as d; print(d(make, typed))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONHASHSEED": str(seed)}, capture_output=True,
            text=True, check=True,
        ).stdout
        for seed in (1, 2)
    ]  # fmt: skip
    assert runs[0] == runs[1]
    assert len(runs[0].strip()) == 32

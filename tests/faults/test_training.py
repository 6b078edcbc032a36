"""Trainings under the watch alone: a few always, all of them with ``-m slow``."""

from __future__ import annotations

import pytest
import torch

import firstlight as fl
from firstlight.checks import CATALOGUE
from firstlight.graphs.ops import words

from .collection import TRAINING, WATCHED, WATCHED_LATER
from .program import Program

pytestmark = pytest.mark.filterwarnings("ignore")  # schedulers warn of how they are called

_QUICK = words(
    "adam-thirty-times-too-high momentum-of-999 loss-times-a-thousand restart-at-a-hundred-times-the-rate "
    "gradients-never-zeroed optimizer-that-maximizes sgd-with-decay-of-one sgd-thirty-times-too-low rate-of-zero "
    "steps-of-decay-counted-in-batches clipped-to-nothing forty-digits ok-a-third-of-the-labels-wrong "
    "ok-one-example-a-batch ok-slow-but-sure ok-policy-gradient ok-density-of-narrow-data ok-harder-with-time "
    "ok-fine-tuned-with-a-loss-of-its-own ok-tiny-targets ok-wasserstein-critic ok-values-bootstrapped"
)
_ALL = {p.name: p for p in (*TRAINING, *WATCHED, *WATCHED_LATER)}


def _right(program: Program) -> tuple[bool, str]:
    case = program()
    torch.manual_seed(2)
    case.model.train()
    optimizer = case.optimizer(case.model)
    with fl.watch(case.model, optimizer) as w:
        case.run(optimizer, w)
    if program.faults:
        return any(f.code in program.faults for f in w.findings), str(w)
    return all(f.severity == "note" for f in w.findings), str(w)


@pytest.mark.parametrize("name", sorted(_QUICK))
def test_a_training_is_judged_rightly(name: str) -> None:
    right, said = _right(_ALL[name])
    assert right, said


@pytest.mark.slow
def test_recall_and_false_alarms_of_all_trainings() -> None:
    wrong = {name for name, program in _ALL.items() if not _right(program)[0]}
    faulty = {name for name, program in _ALL.items() if program.faults}
    assert len(wrong & faulty) <= 0.05 * len(faulty), wrong
    assert len(wrong - faulty) <= 0.02 * (len(_ALL) - len(faulty)), wrong


@pytest.mark.slow
@pytest.mark.parametrize("program", [p for p in _ALL.values() if p.faults], ids=lambda p: p.name)
def test_what_is_called_faulty_does_not_train(program: Program) -> None:
    case = program()
    assert not case.train() >= case.trains


@pytest.mark.slow
@pytest.mark.parametrize("program", [p for p in _ALL.values() if not p.faults], ids=lambda p: p.name)
def test_what_is_called_healthy_trains(program: Program) -> None:
    case = program()
    assert case.train() >= case.trains


def test_every_faulty_training_says_what_is_right_and_has_a_healthy_twin() -> None:
    assert sum(bool(p.faults) for p in _ALL.values()) >= 60
    assert sum(not p.faults for p in _ALL.values()) >= 45
    for program in _ALL.values():
        assert program.faults <= set(CATALOGUE), program.name
        assert not program.faults or (isinstance(program.twin, Program) and not program.twin.faults), program.name

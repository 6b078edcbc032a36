"""One trial: its result depends on its question alone; whatever goes wrong is a result."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.studies import Task
from firstlight.studies.design import Recipe, make_recipe
from firstlight.studies.networks import NETWORKS, cnn, mlp
from firstlight.studies.records import Trial
from firstlight.studies.training import Work, at_chance, batches, evaluate, run_trial

RECIPE = Recipe("sgd", 30, 8, 0.7, 10)


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))


def run(task: Task, scheme: str = "he_normal", rate: float = 0.05, seed: int = 0, build=small, recipe=RECIPE):
    return run_trial(Work(Trial("target", scheme, rate, seed), scheme), task, build, recipe)


def same(a, b) -> bool:
    return repr(replace(a, wall_seconds=0)) == repr(replace(b, wall_seconds=0))


def test_a_trial_is_the_same_whenever_it_runs(task: Task) -> None:
    first = run(task)
    state = torch.get_rng_state()
    torch.manual_seed(123)
    assert same(run(task), first)
    torch.set_rng_state(state)
    assert first.status == "finished"
    assert first.test_accuracy > 0.9
    assert first.curve[-1].step == 30
    assert [p.step for p in first.curve] == [10, 20, 30]
    assert first.steps_to_target in (10, 20, 30)


def test_the_global_random_state_is_left_alone(task: Task) -> None:
    state = torch.get_rng_state()
    run(task)
    assert torch.equal(state, torch.get_rng_state())


def test_all_arms_see_the_same_order_and_seeds_differ() -> None:
    first, again, other = ([b.tolist() for b in batches(20, RECIPE, seed)] for seed in (1, 1, 2))
    assert first == again != other
    epoch = sorted(i for b in first[:2] for i in b)
    assert len(set(epoch)) == 16
    assert first[0] != first[2]


def test_adamw_trains_too(task: Task) -> None:
    assert run(task, rate=0.01, recipe=replace(RECIPE, optimizer="adamw")).test_accuracy > 0.8


def test_a_diverging_trial_is_a_result(task: Task) -> None:
    result = run(task, rate=1e6)
    assert result.status == "diverged"
    assert result.diverged_at == result.curve[-1].step
    assert 0 <= result.test_accuracy <= 1


def test_a_raising_model_is_a_result(task: Task) -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 3)
            self.calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.calls > 5:
                raise RuntimeError("out of paper")
            return self.inner(x)

    result = run(task, build=Breaks)
    assert result.status == "failed"
    assert result.error is not None
    assert "out of paper" in result.error
    assert math.isnan(result.test_accuracy)


def test_non_finite_outputs_are_wrong(task: Task) -> None:
    class Nan(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), 3), math.nan)

    assert evaluate(Nan(), task, task.test)[0] == 0


@pytest.mark.parametrize(("accuracy", "stuck"), [(0.2, True), (0.28, True), (0.30, False), (math.nan, True)])
def test_chance_is_three_standard_errors(accuracy: float, stuck: bool) -> None:
    assert at_chance(accuracy, 0.2, 179) is stuck


def test_weights_are_left_behind_and_loaded(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    run_trial(Work(Trial("source", "he_normal", 0.05, 0), "he_normal", save=path), task, small, RECIPE)
    model = small()
    fl.init_(model, f"pretrained({path})")
    loaded = run_trial(Work(Trial("target", "pretrained", 0.05, 0), "pretrained", load=path), task, small, RECIPE)
    assert loaded.status == "finished"
    assert not list(tmp_path.glob("*.part"))


def test_the_target_is_half_way_from_chance(task: Task) -> None:
    assert make_recipe(task, "sgd", None, None, 8, None).target == (1 + task.chance) / 2
    assert make_recipe(task, "sgd", None, 2, 8, None).steps == 2 * (len(task.train) // 8)


@pytest.mark.parametrize("name", NETWORKS)
def test_embedded_networks_end_in_a_head_and_have_no_norm(name: str) -> None:
    model = NETWORKS[name]((1, 8, 8), 5)
    assert list(dict(model.named_children()))[-1] == "head"
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 5)
    assert not any("Norm" in type(m).__name__ for m in model.modules())


def test_depths_are_as_said() -> None:
    assert sum(isinstance(m, nn.Linear) for m in mlp((1, 8, 8), 5).modules()) == 20
    assert sum(isinstance(m, nn.Conv2d) for m in cnn((1, 8, 8), 5).modules()) == 15
    with pytest.raises(fl.ArgumentError, match="images"):
        cnn((4,), 3)

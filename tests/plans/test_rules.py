"""What the message of an unknown parameter suggests is what such a parameter usually is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from firstlight import Normal, init_
from firstlight.errors import UncoveredParameterError


class Token(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.thing = nn.Parameter(torch.zeros(shape))


@pytest.mark.parametrize(
    ("shape", "suggestion"),
    [((5,), "fl.Ones()"), ((1, 1, 8), "fl.Normal(std=0.02)"), ((4, 8), "fl.Axes(out=0, in_=1)")],
)
def test_suggestions_follow_the_shape(shape: tuple[int, ...], suggestion: str) -> None:
    with pytest.raises(UncoveredParameterError) as caught:
        init_(Token(*shape), "he_normal")
    assert f'"Token.thing": {suggestion}' in str(caught.value)


@pytest.mark.parametrize("wrap", [weight_norm, spectral_norm, nn.utils.weight_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_parametrized_weight_is_said_to_be_one(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = wrap(nn.Linear(4, 8))
    with pytest.raises(UncoveredParameterError, match=r"fl\.Keep\(\)(.|\n)*before it is parametrized"):
        init_(model, "he_normal")
    init_(linear := nn.Linear(4, 8), "he_normal", seed=1)
    weight = linear.weight.detach().clone()
    assert torch.allclose(nn.utils.parametrizations.weight_norm(linear).weight, weight, atol=1e-6)


def test_a_long_list_is_cut_and_counted() -> None:
    model = nn.ModuleList(Token(3) for _ in range(15))
    with pytest.raises(UncoveredParameterError, match=r"15 parameters(.|\n)*and 5 more"):
        init_(model, "he_normal")


def test_rules_also_mean_base_classes() -> None:
    class Special(Token):
        pass

    model = Special(1, 1, 8)
    init_(model, "he_normal", rules={"Token.thing": Normal(std=0.5)})
    assert model.thing.abs().max() > 0

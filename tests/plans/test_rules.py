"""What the message of an unknown parameter suggests is what such a parameter usually is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

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

"""The graph from modules alone: every tensor once, with its role, axes and fans."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from firstlight.errors import ArgumentError, ModelError, UnsupportedParameterError
from firstlight.graphs import Axes, Role, structure
from models import Everything, Scale, Tied, Transposed, mlp

# parameter: (role, fan_in, fan_out, blocks), from the modules' definitions.
TABLE = {
    "linear.weight": (Role.LINEAR, 6, 8, 1),
    "linear.bias": (Role.BIAS, 1, 1, 1),
    "conv1.weight": (Role.CONV, 2 * 3, 4 * 3, 2),
    "conv2.weight": (Role.CONV, 3 * 9, 8 * 9 / 4, 1),
    "conv3.weight": (Role.CONV, 2 * 8, 4 * 8, 1),
    "up.weight": (Role.CONV_TRANSPOSED, 4 * 16 / 4, 3 * 16, 2),
    "up.bias": (Role.BIAS, 1, 1, 1),
    "bilinear.weight": (Role.BILINEAR, 12, 20, 1),
    "embedding.weight": (Role.EMBEDDING, 1, 6, 1),
    "bag.weight": (Role.EMBEDDING, 1, 4, 1),
    "attention.in_proj_weight": (Role.ATTENTION, 8, 8, 3),
    "attention.in_proj_bias": (Role.BIAS, 1, 1, 1),
    "attention.bias_k": (Role.TOKEN_BIAS, 1, 1, 1),
    "attention.out_proj.weight": (Role.LINEAR, 8, 8, 1),
    "cross.k_proj_weight": (Role.KEY, 6, 8, 1),
    "cross.v_proj_weight": (Role.VALUE, 10, 8, 1),
    "lstm.weight_ih_l0": (Role.RECURRENT_INPUT, 5, 6, 4),
    "lstm.weight_ih_l1_reverse": (Role.RECURRENT_INPUT, 6, 6, 4),
    "lstm.weight_hh_l0": (Role.RECURRENT_HIDDEN, 3, 6, 4),
    "lstm.weight_hr_l0": (Role.RECURRENT_PROJECTION, 6, 3, 1),
    "lstm.bias_ih_l0": (Role.GATE_BIAS, 1, 1, 1),
    "lstm.bias_hh_l0": (Role.BIAS, 1, 1, 1),
    "gru.weight_hh_l0": (Role.RECURRENT_HIDDEN, 6, 6, 3),
    "rnn.weight_ih_l0": (Role.RECURRENT_INPUT, 5, 6, 1),
    "cell.weight_ih": (Role.RECURRENT_INPUT, 5, 6, 4),
    "batch.weight": (Role.NORM_SCALE, 1, 1, 1),
    "layer.bias": (Role.NORM_SHIFT, 1, 1, 1),
    "group.weight": (Role.NORM_SCALE, 1, 1, 1),
    "rms.weight": (Role.NORM_SCALE, 1, 1, 1),
    "instance.weight": (Role.NORM_SCALE, 1, 1, 1),
    "prelu.weight": (Role.SLOPE, 1, 1, 1),
}


def test_roles_and_fans_are_those_of_the_definitions() -> None:
    found = {p.name: p for p in structure(Everything()).parameters}
    for name, (role, fan_in, fan_out, blocks) in TABLE.items():
        p = found[name]
        assert (p.role, p.layout.fan_in, p.layout.fan_out, p.layout.blocks) == (
            role,
            fan_in,
            fan_out,
            blocks,
        ), name


def test_every_parameter_once_with_its_shape_and_a_role() -> None:
    model = Everything()
    graph = structure(model)
    assert {p.name: p.layout.shape for p in graph.parameters} == {
        n: tuple(t.shape) for n, t in model.named_parameters()
    }
    assert all(p.role is not Role.UNKNOWN for p in graph.parameters)
    tracked = {p.name.rpartition(".")[2] for p in graph.statistics}
    assert tracked == {"running_mean", "running_var", "num_batches_tracked"}


def test_a_tie_is_one_parameter_and_the_embedding_is_what_it_is() -> None:
    tied = {p.name: p for p in structure(Tied()).parameters}
    assert set(tied) == {"embed.weight", "body.weight", "body.bias"}
    assert tied["embed.weight"].aliases == ("head.weight",)
    assert tied["embed.weight"].role is Role.EMBEDDING
    assert tied["embed.weight"].tied_roles == (Role.LINEAR,)


def test_a_tied_name_does_not_depend_on_the_order_of_registration() -> None:
    other = Tied()
    embed = other._modules.pop("embed")
    other._modules["embed"] = embed
    names = [sorted(p.names for p in structure(m).parameters) for m in (Tied(), other)]
    assert names[0] == names[1]


def test_wrappers_do_not_change_names() -> None:
    plain = [p.name for p in structure(mlp()).parameters]
    compiled = torch.compile(mlp(), backend="eager")
    assert [p.name for p in structure(compiled).parameters] == plain
    wrapped = nn.DataParallel(mlp())
    assert [p.name for p in structure(wrapped).parameters] == plain


def test_a_module_called_module_keeps_its_name() -> None:
    holder = nn.Module()
    holder.module = nn.Linear(2, 2)
    assert [p.name for p in structure(holder).parameters] == ["module.weight", "module.bias"]


def test_unknown_tensors_are_unknown_and_axes_declare_them() -> None:
    model = nn.Sequential(Scale(4), Transposed(6, 18))
    assert [p.role for p in structure(model).parameters] == [Role.UNKNOWN, Role.UNKNOWN]
    declared = structure(model, {"Transposed.kernel": Axes(out=1, in_=0)}).parameters[1]
    assert declared.role is Role.DECLARED
    assert (declared.layout.fan_in, declared.layout.fan_out) == (6, 18)
    with pytest.raises(ArgumentError, match=r"1\.kernel"):
        structure(model, {"1.kernel": Axes(out=2, in_=0)})


def test_a_subclass_is_read_as_its_base_unless_it_changes_the_shape() -> None:
    class Same(nn.Linear):
        pass

    class Other(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 4)
            self.weight = nn.Parameter(torch.zeros(3, 4, 4))

    assert structure(Same(4, 4)).parameters[0].role is Role.LINEAR
    assert structure(Other()).parameters[0].role is Role.UNKNOWN


def test_lazy_and_colliding_parameters_are_refused() -> None:
    with pytest.raises(UnsupportedParameterError, match=r"lazily initialized.*forward pass"):
        structure(nn.Sequential(nn.LazyLinear(4)))
    clash = nn.Module()
    clash._orig_mod = nn.Linear(2, 2)
    clash.register_parameter("weight", nn.Parameter(torch.zeros(2)))
    with pytest.raises(ModelError, match="two different tensors"):
        structure(clash)


def test_a_module_that_holds_itself_ends() -> None:
    model = nn.Linear(2, 2)
    model._modules["again"] = model
    assert len(structure(model).parameters) == 2

"""The tape: one call one node, every tensor known by what made it, the model untouched."""

from __future__ import annotations

import copy
import gc
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from firstlight.errors import ModelError
from firstlight.graphs.callnames import call_name
from firstlight.graphs.recorder import record
from firstlight.graphs.tape import Flow, Tape


class Calls(nn.Module):
    """A module that is one function."""

    def __init__(self, function: Callable[..., object], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(torch.zeros(s) for s in shapes)

    def forward(self, *inputs: torch.Tensor) -> object:
        return self.function(*inputs, *self.weights)


def ops(tape: Tape) -> list[str]:
    return [n.op for n in tape if not n.is_source]


X = torch.randn(2, 4, 8)


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda x: x + 1, "add"),
        (lambda x: 1 - x, "rsub"),
        (lambda x: x.add_(1), "add"),
        (lambda x: 2 / x, "div"),
        (lambda x: x @ x.mT, "matmul"),
        (lambda x: torch.bmm(x, x.mT), "bmm"),
        (lambda x: x.T if x.dim() == 2 else x.mT, "mT"),
        (F.gelu, "gelu"),
        (F.silu, "silu"),
        (torch.relu, "relu"),
        (torch.sigmoid_, "sigmoid"),
        (lambda x: F.max_pool1d(x, 2), "max_pool1d"),
        (lambda x: F.max_pool2d(x, 2), "max_pool2d"),
        (lambda x: F.adaptive_avg_pool1d(x, 2), "adaptive_avg_pool1d"),
        (lambda x: F.layer_norm(x, (8,)), "layer_norm"),
        (lambda x: F.rms_norm(x, (8,)), "rms_norm"),
        (lambda x: F.group_norm(x, 2), "group_norm"),
        (lambda x: F.scaled_dot_product_attention(x, x, x), "scaled_dot_product_attention"),
        (lambda x: F.dropout(x, 0.5), "dropout"),
        (lambda x: F.interpolate(x, scale_factor=2), "interpolate"),
        (lambda x: torch.einsum("btd,bsd->bts", x, x), "einsum"),
        (lambda x: torch.cat([x, x]), "cat"),
        (lambda x: torch.stack([x, x]), "stack"),
        (lambda x: x[:, 0], "getitem"),
        (lambda x: F.glu(x), "glu"),
        (lambda x: F.pad(x, (1, 1)), "pad"),
        (lambda x: x.clamp(min=0), "clamp"),
        (lambda x: F.normalize(x), "normalize"),
    ],
)
def test_a_call_is_one_node_under_its_plain_name(function: Callable[..., object], op: str) -> None:
    tape = record(Calls(function), (X,))
    assert op in ops(tape)
    assert len(ops(tape)) <= 2


def test_nodes_read_only_what_came_before() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    tape = record(model, (X,))
    assert [n.id for n in tape] == list(range(len(tape)))
    assert all(i < n.id for n in tape for i in n.inputs)
    assert ops(tape).count("multi_head_attention_forward") == 2


def test_flows() -> None:
    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return x + w.exp() + torch.arange(8)

    flows = {n.op: n.flow for n in record(Calls(function, (8,)), (X,))}
    assert flows["exp"] is Flow.WEIGHTS
    assert flows["arange"] is Flow.FIXED
    assert flows["add"] is Flow.DATA


def test_a_shared_module_is_one_parameter_with_two_readers() -> None:
    layer = nn.Linear(8, 8, bias=False)
    tape = record(nn.Sequential(layer, nn.ReLU(), layer), (X,))
    parameters = [n for n in tape if n.op == "parameter"]
    assert [n.name for n in parameters] == ["0.weight"]
    assert len(tape.readers()[parameters[0].id]) == 2


def test_a_tied_parameter_is_one_node_under_its_first_name() -> None:
    model = nn.ModuleDict({"table": nn.Embedding(5, 8), "head": nn.Linear(8, 5, bias=False)})
    model["head"].weight = model["table"].weight
    model.forward = lambda ids: model["head"](model["table"](ids))  # type: ignore[method-assign]
    copied = record(Tied(), (torch.zeros(2, 3, dtype=torch.long),))
    assert [n.name for n in copied if n.op == "parameter"] == ["head.weight"]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(5, 8), nn.Linear(8, 5, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(ids))


def test_what_is_written_in_place_is_seen_through_views() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        view = y[:, 0]
        y[:, 0] = 1.0
        return view * 2

    tape = record(Calls(function), (X,))
    product = next(n for n in tape if n.op == "mul")
    written = next(n for n in tape if n.op == "setitem")
    assert product.operands[0].ref.node == written.id
    assert product.operands[0].ref.also


@pytest.mark.parametrize("wrap", [weight_norm, spectral_norm, nn.utils.weight_norm, nn.utils.spectral_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_parametrized_weight_is_computed_on_the_tape(wrap: Callable[[nn.Module], nn.Module]) -> None:
    tape = record(wrap(nn.Linear(8, 4)), (X,))
    linear = next(n for n in tape if n.op == "linear")
    weight = tape[linear.operands[1].ref.node]
    assert weight.flow is Flow.WEIGHTS
    assert not weight.is_source


def test_the_model_is_untouched_also_by_an_error() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(7, 1))
    seen: list[object] = []
    model[0].register_forward_hook(lambda *a: seen.append(a))
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    with pytest.raises(ModelError):
        record(model, (X,))
    assert not seen, "an observer of the user's ran"
    assert model.training
    assert all(m.training for m in model.modules())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert torch.equal(state, torch.random.get_rng_state())
    assert len(model[0]._forward_hooks) == 1
    assert not model[1]._forward_hooks


def test_training_flags_are_the_users() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    flags = [n.training for n in record(model, (X,)) if n.op == "dropout"]
    assert flags == [True, False]


def test_an_error_names_the_module_its_shapes_and_what_it_was_given() -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.Sequential(nn.ReLU(), nn.Linear(5, 2)))
    with pytest.raises(ModelError, match=r"'1\.1' \(Linear, weight \(2, 5\).*given float32 \(2, 4, 6\)") as caught:
        record(model, (X,))
    assert caught.value.__cause__ is not None


def test_meta_models_and_large_ones_take_no_memory() -> None:
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(20_000, 20_000) for _ in range(4)))
    tape = record(model, (torch.empty(1, 20_000, device="meta"),))
    assert ops(tape) == ["linear"] * 4
    gc.collect()


def test_fixed_values_and_integers_are_known() -> None:
    def function(ids: torch.Tensor) -> torch.Tensor:
        mask = torch.triu(torch.full((3, 3), -torch.inf), 1)
        positions = (ids != 0).cumsum(1)
        return mask + positions[:, :, None]

    ids = torch.tensor([[1, 2, 0]])
    values = {n.op: n.value for n in record(Calls(function), (ids,))}
    assert torch.equal(values["cumsum"], torch.tensor([[1, 2, 2]]))
    assert values["triu"][0, 1] == -torch.inf


def test_known_values_answer_questions_and_the_rest_is_guessed_and_said() -> None:
    def known(ids: torch.Tensor) -> torch.Tensor:
        return torch.zeros(int(ids.max()), 2) if bool((ids > 1).any()) else torch.zeros(1)

    tape = record(Calls(known), (torch.tensor([1, 5]),))
    assert tape.guesses == ()
    assert tape[tape.outputs[0].node].shape == (5, 2)

    def unknown(x: torch.Tensor) -> torch.Tensor:
        return x.relu() if bool(x.mean() > 0) else x.tanh()

    guessed = record(nn.Sequential(nn.Linear(8, 8), Calls(unknown)), (X,))
    assert "relu" in ops(guessed)
    assert len(guessed.guesses) == 1
    assert "'1'" in guessed.guesses[0]


def test_zero_dim_tensors_stand_for_numbers() -> None:
    tape = record(Calls(lambda n, x: x[:, : torch.arange(n).shape[0]]), (torch.tensor(3), X))
    assert tape[tape.outputs[0].node].shape == (2, 3, 8)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def test_a_custom_autograd_function_keeps_its_link() -> None:
    tape = record(nn.Sequential(nn.Linear(8, 8), Calls(Doubled.apply)), (X,))
    out = tape[tape.outputs[0].node]
    assert out.flow is Flow.DATA
    assert tape[out.inputs[0]].op == "linear"


def test_wrappers_fall_away() -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
    plain = record(model, (X,))
    for wrapped in (nn.DataParallel(model), torch.compile(model, backend="eager")):
        tape = record(wrapped, (X,))
        assert ops(tape) == ops(plain)
        assert [n.name for n in tape] == [n.name for n in plain]
        assert [n.module for n in tape] == [n.module for n in plain]


def test_a_compiled_part_leaves_the_compiler_at_work() -> None:
    torch.compiler.reset()
    record(nn.Sequential(nn.Linear(4, 4), torch.compile(nn.Linear(4, 4), backend="eager")), (torch.zeros(2, 4),))
    compiled = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        compiled.append(graph)
        return graph.forward

    torch.compile(nn.Linear(4, 4), backend=backend)(torch.zeros(2, 4))
    assert len(compiled) == 1


def test_keyword_arguments_and_nested_outputs() -> None:
    class Odd(nn.Module):
        def forward(self, *, x: torch.Tensor, deep: dict[str, list[torch.Tensor]]) -> dict[str, object]:
            return {"out": (x * deep["a"][0], [x.exp()]), "none": None}

    tape = record(Odd(), (), {"x": X, "deep": {"a": [X]}})
    assert [tape[r.node].op for r in tape.outputs] == ["mul", "exp"]


def test_what_cannot_be_copied_is_named() -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator = (i for i in range(3))

    with pytest.raises(ModelError, match="cannot be copied"):
        record(Held(), (X,))


def test_names_of_calls() -> None:
    assert call_name(torch.Tensor.__rsub__) == "rsub"
    assert call_name(torch.Tensor.__radd__) == "add"
    assert call_name(torch.ops.aten.mm.default) == "mm"


def test_a_guessed_split_takes_equal_parts() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes = torch.bincount(self.map(x).argmax(-1), minlength=4).tolist()
            return torch.cat([self.map(part) for part in x.split(sizes)])

    tape = record(Routed(), (torch.randn(10, 4),))
    assert any("equal parts" in guess for guess in tape.guesses)


def test_no_random_state_is_advanced() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x) * random.random() * np.random.rand() + torch.rand(1)

    model = Dropping()
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    record(model, (torch.ones(2, 4),))
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_function_that_closes_over_the_model_reads_and_writes_its_copy() -> None:
    class Closed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 8)
            self.register_buffer("count", torch.zeros(1))
            self.head = lambda x: x @ self.table.weight.t()
            self.counted = lambda: self.count.add_(1)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            self.counted()
            return self.head(self.table(ids))

    model = Closed()
    tape = record(model, (torch.arange(4),))
    product = next(n for n in tape if n.op == "matmul")
    assert product.flow is Flow.DATA
    assert not any(n.parameter for n in tape)
    assert model.count == 0

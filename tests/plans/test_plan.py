"""A plan is data: printed, selected from, edited, saved, compared and cited without losing anything."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import firstlight as fl
from firstlight.graphs import Role
from firstlight.plans import Plan, Selector
from firstlight.plans.references import WORKS, found
from firstlight.schemes import catalogue
from models import Everything

X = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))


def model() -> nn.Module:
    layers = [m for _ in range(12) for m in (nn.Linear(16, 16), nn.LayerNorm(16), nn.GELU())]
    return nn.Sequential(*layers, nn.Linear(16, 4))


@pytest.fixture(scope="module")
def made() -> Plan:
    return fl.plan(model(), X)


def test_a_table_says_what_each_is_what_it_gets_and_why(made: Plan) -> None:
    text = made.table()
    for word in ("parameter", "shape", "role", "fan in/out", "meets", "initializer", "std", "why", "gelu", "head"):
        assert word in text
    for number in re.findall(r"\[(\d+)\]$", text, re.MULTILINE):
        assert f"\n[{number}] " in text


def test_rows_that_differ_in_a_number_stand_once(made: Plan) -> None:
    assert "0–33.weight ×12" in made.table()
    assert made.table().count("\n") < 20
    assert made.table(collapse=False).count("\n") > len(made)


@pytest.mark.parametrize("width", [70, 90])
def test_long_names_are_cut_to_fit(width: int) -> None:
    deep = nn.Sequential()
    inner = deep
    for _ in range(6):
        child = nn.Sequential()
        inner.add_module("a_rather_long_name", child)
        inner = child
    inner.append(nn.Linear(16, 16))
    lines = fl.plan(deep, X, "he_normal").table(width=width + 60).splitlines()[2:5]
    assert all(len(line) <= width + 60 for line in lines)
    assert "…" in "".join(lines)


def test_a_notebook_shows_it_escaped(made: Plan) -> None:
    html = made.override("0.weight", fl.Zeros(), why="<b>")._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_selections(made: Plan) -> None:
    assert len(made["*.weight"]) == 25
    assert len(made[Selector(role="norm*")]) == 24
    assert len(made[Selector(module="LayerNorm", role=Role.NORM_SCALE)]) == 12
    assert {e.parameter.module for e in made[Selector(depth=slice(0, 2))]} == {"0", "1"}
    assert {e.parameter.module for e in made[Selector(depth=-1)]} == {"36"}
    assert len(made["Linear.bias"]) == 13


def test_a_selection_that_means_nothing_is_an_error(made: Plan) -> None:
    with pytest.raises(fl.ArgumentError, match="means no parameter"):
        made["head.*"]
    with pytest.raises(fl.UnknownNameError, match="role"):
        Selector(role="wieght")
    with pytest.raises(fl.ArgumentError, match="depth"):
        Selector(depth="1")  # type: ignore[arg-type]


def test_overrides_are_written_with_their_reason(made: Plan) -> None:
    changed = made.override("36.weight", fl.Zeros(), why="from zero").override(Selector(role="bias"), fl.Keep())
    assert changed["36.weight"].entries[0].reason == "from zero"
    net = model()
    before = net[0].bias.detach().clone()
    fl.apply_(net, changed, 1)
    assert not net[36].weight.any()
    assert torch.equal(net[0].bias, before)
    assert net[0].weight.any()


def test_rules_take_selectors_and_the_first_stands() -> None:
    rules = {
        Selector(role="bias", depth=slice(0, 1)): fl.Ones(),
        "*.bias": fl.Constant(2.0),
        Selector(depth=0): fl.Keep(),
    }
    made = fl.plan(model(), X, rules=rules)
    assert made["0.bias"].entries[0].decision == fl.Ones()
    assert made["3.bias"].entries[0].decision == fl.Constant(2.0)
    assert isinstance(made["0.weight"].entries[0].decision, fl.Keep)
    with pytest.raises(fl.ArgumentError, match="declares axes"):
        fl.plan(model(), X, rules={Selector(): fl.Axes(0, 1)})
    with pytest.raises(fl.ArgumentError, match="matches no parameter"):
        fl.plan(model(), X, rules={Selector(module="Conv2d"): fl.Ones()})


@pytest.mark.parametrize("decision", ["zeros", 0.0, None])
def test_an_override_by_no_decision_is_refused(made: Plan, decision: Any) -> None:
    with pytest.raises(fl.ArgumentError, match="no decision"):
        made.override("0.weight", decision)


def test_a_part_of_a_plan_is_not_applied(made: Plan) -> None:
    net = model()
    before = [p.clone() for p in net.parameters()]
    with pytest.raises(fl.ParameterError, match="lacks"):
        fl.apply_(net, made["*.weight"])
    with pytest.raises(fl.ParameterError, match="twice"):
        fl.apply_(net, Plan(made.scheme, (*made.entries, made.entries[0])))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize(
    "scheme", ["auto", "torch", "he_normal", "orthogonal", "truncated_normal(0.1)", "sparse(0.5)", "identity"]
)
def test_json_gives_every_plan_back_exactly(scheme: str) -> None:
    original = fl.plan(Everything(), None, scheme)
    assert Plan.from_json(original.to_json()) == original


def test_json_of_a_traced_plan_writes_the_same_bits(made: Plan, tmp_path: Any) -> None:
    made.to_json(tmp_path / "plan.json")
    again = Plan.from_json(tmp_path / "plan.json")
    assert again == made
    a, b = model(), model()
    fl.apply_(a, made, 7)
    fl.apply_(b, again, 7)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no plan's JSON"),
        ("[]", "no key"),
        ("{}", "no key"),
        ('{"firstlight_plan": 2, "scheme": "x", "entries": []}', "version 2"),
        ('{"firstlight_plan": 1, "entries": []}', "lacks"),
        ('{"firstlight_plan": 1, "scheme": "x", "entries": [' + "9" * 400 + "]}", r"entries\[0\]"),
        ('{"firstlight_plan": 1, "scheme": "x", "entries": [3]}', r"entries\[0\]"),
    ],
)
def test_what_is_no_plan_is_named(text: str, words: str) -> None:
    with pytest.raises(fl.ArgumentError, match=words):
        Plan.from_json(text)


def test_numbers_without_end_are_refused(made: Plan) -> None:
    whole = json.loads(made.to_json())
    whole["entries"][0]["decision"] = {"type": "Normal", "mean": 0.0, "std": 10**400}
    with pytest.raises(fl.ArgumentError, match="which is no number"):
        Plan.from_json(json.dumps(whole))


def test_a_decision_of_another_type_is_not_built(made: Plan) -> None:
    whole = json.loads(made.to_json())
    whole["entries"][0]["decision"] = {"type": "Path", "x": 1}
    with pytest.raises(fl.ArgumentError, match=r"entries\[0\]\.decision.*'Path'"):
        Plan.from_json(json.dumps(whole))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=JSON)
def test_a_damaged_plan_is_read_or_refused_and_nothing_else(made: Plan, data: st.DataObject, value: object) -> None:
    whole = json.loads(made["0.*"].to_json())
    place: Any = whole
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    if isinstance(place, dict) and data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = value
    try:
        read = Plan.from_json(json.dumps(whole))
        str(read)
    except fl.FirstlightError:
        pass


def test_a_difference_shows_what_changed_and_how(made: Plan) -> None:
    assert not made.diff(made)
    assert str(made.diff(made)) == "the plans decide alike"
    other = made.override("0.weight", fl.Normal(std=0.5))
    difference = made.diff(other)
    assert [b.parameter.name for _, b in difference.changed] == ["0.weight"]
    assert "0.5" in str(difference)
    assert "- 36.weight" in str(made.diff(Plan("x", made.entries[:-2])))
    assert "+ 36.weight" in str(Plan("x", made.entries[:-2]).diff(made))


def test_every_reference_of_every_scheme_is_a_known_work() -> None:
    for listed in catalogue():
        if not listed.reference.startswith("torch.nn") and listed.reference:
            assert found(listed.reference), listed.reference
    for scheme in ("auto", "he_normal", "glorot_uniform", "orthogonal", "lecun_normal"):
        for entry in fl.plan(Everything(), None, scheme):
            assert not entry.reference or found(entry.reference), entry.reference


def test_references_mean_one_work_each() -> None:
    assert len({w.key for w in WORKS}) == len(WORKS)
    assert [w.arxiv for w in found("Touvron et al. 2021, arXiv 2103.17239")] == ["2103.17239"]
    assert len(found("Gers et al. 2000; Jozefowicz et al. 2015")) == 2


def test_bibtex_of_what_is_used(made: Plan) -> None:
    text = made.cite()
    assert "@inproceedings{bingham2023autoinit," in text
    assert text.count("@") == len(set(re.findall(r"@\w+\{(\w+),", text)))

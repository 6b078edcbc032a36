"""Matching by name, prefix and rename rule: which rule made a match, in which order, and when none is made."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import firstlight as fl
from firstlight.errors import ArgumentError, TransferError, UnknownNameError
from firstlight.graphs import structure
from firstlight.transfers import apply_renames
from firstlight.transfers.matching import match
from firstlight.transfers.records import Target
from transfers.twins import Bert, ViT


def targets(model: nn.Module) -> list[Target]:
    graph = structure(model)
    return [Target(p) for p in graph.parameters] + [Target(p, buffer=True) for p in graph.statistics]


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {n: tuple(t.shape) for n, t in model.state_dict().items()}


def correct(found, spelled) -> bool:
    """Whether every match is the tensor that ``spelled`` makes of the target's name."""
    return all(m.pieces[0].tensor == spelled(name) for name, m in found.matches.items())


def test_own_names_are_exact() -> None:
    found = match(targets(ViT()), shapes(ViT()))
    assert len(found.matches) == len(targets(ViT()))
    assert {m.rule for m in found.matches.values()} == {"exact"}
    assert correct(found, lambda n: n)


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.backbone.", "a.0.", "_orig_mod."])
def test_a_prefix_of_the_source_is_dropped(prefix: str) -> None:
    found = match(targets(ViT()), {f"{prefix}{n}": s for n, s in shapes(ViT()).items()})
    assert len(found.matches) == len(targets(ViT()))
    assert {m.rule for m in found.matches.values()} == {"prefix"}
    assert correct(found, lambda n: prefix + n)


def test_a_prefix_of_the_model_is_added_and_one_read_as_another() -> None:
    inner = ViT()
    model = nn.ModuleDict({"backbone": inner, "head": nn.Linear(16, 3)})
    for prefix in ("", "encoder."):
        found = match(targets(model), {f"{prefix}{n}": s for n, s in shapes(inner).items()})
        assert {n for n in found.matches if n.startswith("backbone")} == {n for n in shapes(model) if "backbone" in n}
        assert correct(found, lambda n, p=prefix: n.replace("backbone.", p))
        assert "head.weight" not in found.matches


def test_wrappers_within_names_are_taken_off() -> None:
    source = {n.replace("blocks.1.", "blocks.1._checkpoint_wrapped_module."): s for n, s in shapes(ViT()).items()}
    found = match(targets(ViT()), source)
    assert len(found.matches) == len(targets(ViT()))


def test_two_prefixes_that_fit_as_well_are_not_chosen_between() -> None:
    source = {f"{p}.{n}": s for p in ("student", "teacher") for n, s in shapes(ViT()).items()}
    found = match(targets(ViT()), source)
    assert not found.matches
    assert "'student.' and 'teacher.'" in found.reasons["norm.weight"]


def test_a_block_of_many_is_not_matched_by_its_last_words() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(8)

    source = {f"layers.{i}.norm.{p}": (8,) for i in range(3) for p in ("weight", "bias")}
    assert not match(targets(Model()), source).matches


def test_a_glob_renames_with_its_captures() -> None:
    source = {n.replace("blocks.", "stage.").replace("attn.qkv", "mix.in"): s for n, s in shapes(ViT()).items()}
    renames = {"stage.*.mix.in.*": "blocks.*.attn.qkv.*", "stage.*": "blocks.*"}
    found = match(targets(ViT()), source, renames=renames, rules=("exact", "rename"))
    assert len(found.matches) == len(targets(ViT()))
    assert {m.rule for n, m in found.matches.items() if "blocks" in n} == {"rename"}
    assert found.matches["blocks.1.attn.qkv.bias"].pieces[0].tensor == "stage.1.mix.in.bias"


@pytest.mark.parametrize("pattern", [re.compile(r"^stage(\d)_"), r"re:^stage(\d)_"])
def test_a_regular_expression_renames_what_it_finds(pattern: str | re.Pattern[str]) -> None:
    source = {re.sub(r"^blocks\.(\d)\.", r"stage\1_", n): s for n, s in shapes(ViT()).items()}
    found = match(targets(ViT()), source, renames={pattern: r"blocks.\1."}, rules=("exact", "rename"))
    assert len(found.matches) == len(targets(ViT()))


def test_a_rename_wins_over_the_exact_name() -> None:
    source = {"0.weight": (3, 3), "1.weight": (3, 3)}
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    found = match(targets(model), source, renames={"0.weight": "1.weight", "1.weight": "0.weight"})
    assert found.matches["0.weight"].pieces[0].tensor == "1.weight"
    assert found.matches["1.weight"].pieces[0].tensor == "0.weight"


@given(st.lists(st.text("ab.", min_size=1, max_size=6), min_size=1, unique=True))
def test_a_star_for_a_star_changes_no_name(names: list[str]) -> None:
    assert [(r.old, r.new) for r in apply_renames({"*": "*"}, names)] == [(n, n) for n in names]


@pytest.mark.parametrize(
    ("renames", "error", "words"),
    [
        ({"blok.*": "blocks.*"}, TransferError, "fits none of the source's names"),
        ({"blocks.*": "bloks.*"}, TransferError, "makes no name of the model"),
        ({"blocks.*": "blocks.*.*"}, ArgumentError, "more \\* in the new name"),
        ({"re:(": "x"}, ArgumentError, "no regular expression"),
        ({"re:blocks": r"\9"}, ArgumentError, "cannot make"),
        ({"blocks.*.norm1.weight": "norm.weight"}, TransferError, "the same name"),
    ],
)
def test_a_rule_that_does_nothing_is_an_error(renames: dict[str, str], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        match(targets(ViT()), shapes(ViT()), renames=renames)


def test_rules_are_chosen_by_name() -> None:
    source = {f"model.{n}": s for n, s in shapes(ViT()).items()}
    assert not match(targets(ViT()), source, rules=("exact",)).matches
    with pytest.raises(UnknownNameError, match="structur"):
        match(targets(ViT()), source, rules=("structur",))
    with pytest.raises(ArgumentError, match="leaves the rule 'rename' out"):
        match(targets(ViT()), source, rules=("exact",), renames={"*": "*"})


def test_no_tensor_of_the_source_serves_twice_and_shapes_fit() -> None:
    found = match(targets(Bert()), shapes(ViT()))
    used = [p.tensor for m in found.matches.values() for p in m.pieces if p.rows is None]
    assert len(used) == len(set(used))


def test_a_dry_run_shows_what_rules_do_and_changes_nothing() -> None:
    model, source = ViT(), {n.replace("norm", "scale"): t for n, t in ViT().state_dict().items()}
    before = {n: t.clone() for n, t in model.state_dict().items()}
    report = fl.load_(model, source, rename={"*scale*": "*norm*"}, dry_run=True)
    assert "blocks.0.scale1.weight → blocks.0.norm1.weight" in str(report)
    assert "would be: " in report.summary
    assert not report.written
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


NAMES = st.lists(
    st.sampled_from(["a", "b", "0", "1", "qkv", "q", "norm1", "head", "weight", "bias", "pos_embed", ""]), max_size=5
)
FILES = st.dictionaries(
    NAMES.map(".".join), st.lists(st.sampled_from([1, 2, 4, 12]), max_size=4).map(tuple), min_size=1, max_size=14
)


@given(FILES, FILES)
def test_whatever_the_names_and_shapes_every_match_is_sound(ours: dict, theirs: dict) -> None:
    model = nn.Module()
    held = {n.replace(".", "_") or "x": s for n, s in ours.items()}
    for name, shape in held.items():
        if not hasattr(model, name):
            model.register_parameter(name, nn.Parameter(torch.zeros(shape)))
    wanted = targets(model)
    found = match(wanted, theirs)
    again = match(wanted, dict(sorted(theirs.items(), reverse=True)))
    by_name = {t.name: t for t in wanted}
    for name, made in found.matches.items():
        assert name in by_name
        assert all(p.tensor in theirs for p in made.pieces)
        if (
            made.rule == "structure"
            and len(made.shape) == len(by_name[name].shape)
            and "another size" not in made.evidence
        ):
            assert made.shape == by_name[name].shape
    whole = [p.tensor for m in found.matches.values() for p in m.pieces if p.rows is None]
    steps = [s.rule for m in found.matches.values() for s in m.steps]
    assert len(whole) == len(set(whole)) or "cut" in steps
    # The order of the file says nothing.
    assert {n: m.pieces for n, m in found.matches.items()} == {n: m.pieces for n, m in again.matches.items()}

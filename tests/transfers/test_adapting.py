"""Adaptations: each states what it keeps, through ``load_`` where it can be seen there."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import firstlight as fl
from firstlight.errors import ArgumentError, UnknownNameError
from firstlight.transfers.adapting.channels import MODES, spread
from firstlight.transfers.adapting.grids import resized
from firstlight.transfers.adapting.patches import pi_resized
from firstlight.transfers.adapting.selection import chosen
from firstlight.transfers.adapting.vocabulary import regrown
from firstlight.transfers.adapting.widening import copied, shares
from transfers.twins import GPT, ResNet, ViT


def drawn(model: nn.Module, seed: int = 1) -> nn.Module:
    """Every value and statistic its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("new", [1, 2, 3, 4, 7])
def test_channels_that_agree_give_the_output_they_gave(mode: str, new: int) -> None:
    kernel = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    grey = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    before = F.conv2d(grey.expand(-1, 3, -1, -1), kernel)
    after = F.conv2d(grey.expand(-1, new, -1, -1), spread(kernel, new, mode))
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("new", [1, 2, 3, 4, 7])
def test_channels_that_are_independent_keep_the_second_moment(mode: str, new: int) -> None:
    kernel = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    made = spread(kernel, new, mode, keep_norm=True)
    # E[y²] of an output for uncorrelated inputs of unit second moment is the sum of its squared weights.
    torch.testing.assert_close(made.square().sum((1, 2, 3)), kernel.square().sum((1, 2, 3)))


def test_as_many_channels_change_nothing() -> None:
    kernel = torch.randn(5, 3, 3, 3)
    assert torch.equal(spread(kernel, 3, "cycle"), kernel)


@pytest.mark.parametrize("channels", [1, 5])
def test_a_first_convolution_takes_other_channels(channels: int) -> None:
    source, model = drawn(ResNet()), ResNet(channels=channels)
    report = fl.load_(model, source)
    assert [o.name for o in report.adapted] == ["conv1.weight"]
    grey = torch.randn(2, 1, 16, 16)
    y = model.eval()(grey.expand(-1, channels, -1, -1))
    torch.testing.assert_close(y, source(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_a_grid_of_the_same_size_is_left_as_it_is(rows: int, columns: int, channels: int) -> None:
    grid = torch.randn(channels, rows, columns, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resized(grid, (rows, columns), "bicubic"), grid)


@given(st.integers(2, 12), st.integers(1, 20), st.sampled_from(["linear", "bicubic"]))
def test_a_constant_stays_constant_at_any_size(old: int, new: int, mode: str) -> None:
    grid = torch.full((2, old), 3.0) if mode == "linear" else torch.full((2, old, old), 3.0)
    made = resized(grid, (new,) if mode == "linear" else (new, new), mode)
    torch.testing.assert_close(made, torch.full_like(made, 3.0))


def test_positions_on_a_grid_keep_their_class_token() -> None:
    source, model = drawn(ViT(image=16)), ViT(image=32)
    report = fl.load_(model, source)
    assert report["pos_embed"].kind == "adapted"
    assert "4×4 → 8×8" in report["pos_embed"].why
    assert torch.equal(model.pos_embed[:, 0], source.pos_embed[:, 0])
    assert model(torch.randn(1, 3, 32, 32)).isfinite().all()
    # A table that is linear along the rows is so again at twice the resolution, away from the border.
    ramp = torch.linspace(-1, 1, 4).repeat_interleave(4)
    with torch.no_grad():
        source.pos_embed[0, 1:] = ramp[:, None]
    fl.load_(model, source, adapt={"positions": "bilinear"})
    inner = model.pos_embed[0, 1:].reshape(8, 8, -1)[1:-1]
    steps = inner.diff(dim=0)
    torch.testing.assert_close(steps, torch.full_like(steps, (2 / 3) / 2))


def test_grids_that_are_no_squares_are_given() -> None:
    class Model(nn.Module):
        def __init__(self, rows: int) -> None:
            super().__init__()
            self.pos_embed = nn.Parameter(torch.randn(1, rows, 4))
            self.proj = nn.Conv2d(3, 4, 4, 4)

    source, model = Model(6), Model(13)
    report = fl.load_(model, source, adapt={"positions": {"old": (2, 3), "new": (13, 1)}}, require=0.1)
    assert "2×3 → 13×1" in report["pos_embed"].why
    with pytest.raises(ArgumentError, match="not the grids"):
        fl.load_(model, source, adapt={"positions": {"old": (2, 2), "new": (13, 1)}})


def test_positions_of_text_lie_on_a_line() -> None:
    source, model = drawn(GPT(length=16)), GPT(length=31)
    report = fl.load_(model, source, inputs=torch.zeros(1, 8, dtype=torch.int64))
    assert "16 → 31 positions, linear" in report["pos_emb.weight"].why


def test_a_relative_bias_table_is_a_picture_of_each_head() -> None:
    class Window(nn.Module):
        def __init__(self, side: int) -> None:
            super().__init__()
            self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, 2))
            self.qkv = nn.Linear(8, 24)

    source, model = Window(4), Window(7)
    with torch.no_grad():
        source.relative_position_bias_table[:, 0] = 1.5
        source.relative_position_bias_table[:, 1] = torch.randn(49)
    report = fl.load_(model, source)
    assert "7×7 → 13×13" in report["relative_position_bias_table"].why
    made = model.relative_position_bias_table
    torch.testing.assert_close(made[:, 0], torch.full((169,), 1.5))
    # Offsets mirrored before are mirrored after.
    mirrored = nn.Parameter(source.relative_position_bias_table.flip(0))
    twin = Window(4)
    twin.relative_position_bias_table = mirrored
    other = Window(7)
    fl.load_(other, twin)
    torch.testing.assert_close(other.relative_position_bias_table.flip(0), made, rtol=1e-5, atol=1e-5)


def test_a_grown_vocabulary_keeps_its_rows_and_its_logits() -> None:
    source, model = drawn(GPT(entries=40)), GPT(entries=50)
    report = fl.load_(model, source, seed=3)
    assert report["tok_emb.weight"].kind == "adapted"
    assert torch.equal(model.tok_emb.weight[:40], source.tok_emb.weight)
    new, old = model.tok_emb.weight[40:], source.tok_emb.weight
    assert (new - old.mean(0)).abs().max() < 0.06 * old.std()
    assert len(new.unique(dim=0)) == 10
    ids = torch.randint(0, 40, (2, 8))
    torch.testing.assert_close(model.eval()(ids)[..., :40], source(ids))
    again, other = GPT(entries=50), GPT(entries=50)
    fl.load_(again, source, seed=3)
    fl.load_(other, source, seed=4)
    assert torch.equal(again.tok_emb.weight, model.tok_emb.weight)
    assert not torch.equal(other.tok_emb.weight[40:], new)


def test_an_output_layer_grows_with_its_table() -> None:
    class Untied(nn.Module):
        def __init__(self, entries: int) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(entries, 8), nn.Linear(8, entries)

    source, model = Untied(20), Untied(26)
    report = fl.load_(model, source)
    assert {o.name for o in report.adapted} == {"table.weight", "out.weight", "out.bias"}
    assert torch.equal(model.out.bias[:20], source.out.bias)


def test_rows_follow_their_tokens() -> None:
    source, model = nn.Sequential(nn.Embedding(3, 4)), nn.Sequential(nn.Embedding(4, 4))
    report = fl.load_(model, source, adapt={"vocabulary": (["a", "b", "c"], ["c", "x", "a", "y"])})
    assert torch.equal(model[0].weight[0], source[0].weight[2])
    assert torch.equal(model[0].weight[2], source[0].weight[0])
    assert "2 of 4 rows kept (by token)" in report["0.weight"].why
    with pytest.raises(ArgumentError, match="3 old and 3 new tokens"):
        fl.load_(model, source, adapt={"vocabulary": (["a", "b", "c"], ["c", "x", "a"])})


def test_new_rows_lie_at_the_mean() -> None:
    from firstlight.fields import key

    table = torch.randn(2000, 16)
    made = regrown(table, [None] * 4000, key(0, "t"))
    # The mean of 4,000 rows with noise of 0.01 has a standard error of 1.6e-4: five of them, for 16 columns.
    assert (made.mean(0) - table.mean(0)).abs().max() < 5.5 * 0.01 / math.sqrt(4000) * 1.1


def test_a_resized_patch_has_the_embedding_the_patch_had() -> None:
    kernel = torch.randn(6, 3, 4, 4, dtype=torch.float64)
    patches = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    larger = F.interpolate(patches, (8, 8), mode="bilinear")
    before = torch.einsum("ncij,ocij->no", patches, kernel)
    after = torch.einsum("ncij,ocij->no", larger, pi_resized(kernel, (8, 8)))
    torch.testing.assert_close(after, before)
    assert torch.equal(pi_resized(kernel, (4, 4)), kernel)


def test_a_patch_embedding_takes_another_patch_size() -> None:
    source, model = drawn(ViT(image=16, patch=4)), ViT(image=32, patch=8)
    report = fl.load_(model, source)
    assert [o.name for o in report.adapted] == ["patch_embed.proj.weight"]
    x = torch.randn(2, 3, 16, 16)
    # Patch by patch: resizing the whole picture would mix neighbours.
    patches = x.unfold(2, 4, 4).unfold(3, 4, 4).reshape(2, 3, 16, 4, 4).permute(0, 2, 1, 3, 4).reshape(32, 3, 4, 4)
    large = F.interpolate(patches, (8, 8), mode="bilinear").reshape(2, 4, 4, 3, 8, 8)
    picture = large.permute(0, 3, 1, 4, 2, 5).reshape(2, 3, 32, 32)
    torch.testing.assert_close(model.eval()(picture), source(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mode", ["mean", "center"])
def test_a_still_clip_gives_what_the_picture_gave(mode: str) -> None:
    source, model = nn.Sequential(nn.Conv2d(3, 5, 3)), nn.Sequential(nn.Conv3d(3, 5, (4, 3, 3)))
    report = fl.load_(model, source, adapt={"inflate": mode})
    assert "over 4 frames" in report["0.weight"].why
    picture = torch.randn(2, 3, 8, 8)
    clip = picture[:, :, None].expand(-1, -1, 4, -1, -1)
    torch.testing.assert_close(model(clip)[:, :, 0], source(picture), rtol=1e-5, atol=1e-5)


def test_a_folded_batch_norm_computes_what_it_did() -> None:
    def net(norm: bool) -> nn.Module:
        made = nn.Module()
        made.conv1 = nn.Conv2d(3, 6, 3, bias=not norm)
        made.conv2 = nn.Conv2d(6, 4, 3)
        if norm:
            made.bn1, made.bn2 = nn.BatchNorm2d(6), nn.BatchNorm2d(4)
        return made

    source, model = drawn(net(True)), net(False)
    report = fl.load_(model, source)
    assert report.share == 1
    assert not report.unused
    x = torch.randn(2, 3, 9, 9)
    y = source.bn2(source.conv2(source.bn1(source.conv1(x)).relu()))
    torch.testing.assert_close(model.conv2(model.conv1(x).relu()), y, rtol=1e-4, atol=1e-5)
    untouched = net(False)
    alone = fl.load_(untouched, source, adapt=False)
    assert "bn1.running_mean" in {u.name for u in alone.unused}


def test_folding_in_a_sequence_goes_by_number() -> None:
    source = drawn(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6), nn.BatchNorm1d(6)))
    model = nn.Sequential(nn.Linear(4, 6), nn.Identity(), nn.ReLU(), nn.Linear(6, 6), nn.Identity())
    assert fl.load_(model, source).share == 1
    x = torch.randn(5, 4)
    torch.testing.assert_close(model(x), source(x), rtol=1e-4, atol=1e-5)


def test_a_new_head_starts_anew_at_the_class_prior() -> None:
    source, model = drawn(ResNet(classes=2)), ResNet(classes=4)
    report = fl.load_(model, source, adapt={"head": [1.0, 1.0, 2.0, 4.0]})
    assert {o.name for o in report.fresh} == {"fc.weight", "fc.bias"}
    assert "new head: 4 outputs, the source has 2" in report["fc.weight"].why
    torch.testing.assert_close(model.fc.bias.softmax(0), torch.tensor([1, 1, 2, 4.0]) / 8)
    with pytest.raises(ArgumentError, match="4 shares does not fit"):
        fl.load_(ResNet(classes=3), source, adapt={"head": [1.0, 1.0, 2.0, 4.0]})


class Plain(nn.Module):
    """ReLU, batch norm, convolutions and a flattened map."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, groups=width)
        self.fc1, self.fc2 = nn.Linear(width * 16, hidden), nn.Linear(hidden, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv2(self.bn1(self.conv1(x)).relu()).relu()
        return self.fc2(self.fc1(x.flatten(1)).relu())


def test_a_narrower_twin_is_the_same_with_and_without_a_trace() -> None:
    source, models = drawn(ViT(d=32, m=48)), (ViT(d=16, m=24), ViT(d=16, m=24))
    for model, x in zip(models, (None, torch.randn(1, 3, 16, 16)), strict=True):
        fl.load_(model, source, adapt={"select"}, inputs=x, rules={"*": fl.Zeros()}, require=0)
    both = zip(models[0].blocks.parameters(), models[1].blocks.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in both)


@pytest.mark.parametrize("mode", ["uneven", "even"])
@pytest.mark.parametrize(("width", "hidden"), [(8, 12), (7, 9), (4, 30)])
def test_widening_keeps_the_function(width: int, hidden: int, mode: str) -> None:
    source, model = drawn(Plain(4, 6)), Plain(width, hidden)
    report = fl.load_(model, source, adapt={"widen": mode})
    assert report.share == 1
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(model.eval()(x), source(x), rtol=1e-4, atol=1e-4)


def test_widening_a_transformer_by_whole_heads_keeps_the_function() -> None:
    source, model = drawn(ViT(d=16, m=24, n=2)), ViT(d=32, m=40, n=4)
    report = fl.load_(model, source, inputs=torch.randn(1, 3, 16, 16), adapt={"widen": True})
    assert report.share == 1
    x = torch.randn(2, 3, 16, 16)
    y = source(x)
    torch.testing.assert_close(model.eval()(x), torch.cat([y, y], -1), rtol=1e-3, atol=1e-4)


def test_a_tied_table_is_not_widened() -> None:
    report = fl.load_(GPT(d=32), GPT(d=16), adapt={"widen"}, dry_run=True, require=0, inputs=torch.zeros(1, 4).long())
    assert report["tok_emb.weight"].kind == "fresh"
    assert "tied to an output layer" in report["tok_emb.weight"].why


@given(st.integers(1, 12), st.integers(0, 20))
def test_shares_of_one_unit_add_up_to_one(old: int, more: int) -> None:
    source = copied(old, old + more)
    total = torch.zeros(old, dtype=torch.float64).index_add(0, source, shares(source))
    torch.testing.assert_close(total, torch.ones(old, dtype=torch.float64))


@given(st.integers(1, 40), st.integers(1, 40))
def test_selected_units_are_distinct_and_in_order(a: int, b: int) -> None:
    old, new = max(a, b), min(a, b)
    units = chosen(old, new).tolist()
    assert units == sorted(set(units))
    assert len(units) == new
    assert max(units) < old


def test_weight_selection_takes_the_same_units_everywhere() -> None:
    source, model = drawn(ViT(d=32, m=48, depth=3)), ViT(d=16, m=24, depth=2)
    report = fl.load_(model, source, adapt={"select"}, inputs=torch.randn(1, 3, 16, 16))
    assert report.share == 1
    kept = chosen(32, 16)
    assert torch.equal(model.norm.weight, source.norm.weight[kept])
    fused = source.blocks[1].attn["qkv"].weight.chunk(3)
    for made, part in zip(model.blocks[1].attn["qkv"].weight.chunk(3), fused, strict=True):
        assert torch.equal(made, part[kept][:, kept])
    biases = zip(*(m.blocks[1].attn["qkv"].bias.chunk(3) for m in (model, source)), strict=True)
    assert all(torch.equal(made, part[kept]) for made, part in biases)
    assert {u.name.split(".")[1] for u in report.unused} == {"2"}


def test_stacking_repeats_the_blocks() -> None:
    source, model = drawn(ViT(depth=2)), ViT(depth=5)
    report = fl.load_(model, source, adapt={"stack"})
    assert report.share == 1
    assert report["blocks.3.mlp.fc1.weight"].rule == "stack"
    for i in range(5):
        for a, b in zip(model.blocks[i].parameters(), source.blocks[i % 2].parameters(), strict=True):
            assert torch.equal(a, b)


def test_deepening_a_residual_network_keeps_the_function() -> None:
    source, model = drawn(ViT(depth=2)), ViT(depth=4)
    x = torch.randn(2, 3, 16, 16)
    report = fl.load_(model, source, inputs=x, adapt={"deepen"}, seed=1)
    torch.testing.assert_close(model.eval()(x), source(x))
    assert model.blocks[3].mlp["fc1"].weight.std() > 0.01
    assert "adds nothing at first" in report["blocks.3.mlp.fc2.weight"].why


def test_deepening_a_plain_network_adds_identities() -> None:
    def net(depth: int) -> nn.Module:
        return nn.Sequential(
            *(nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(depth)),
        )

    source, model = drawn(net(2)), net(4)
    x = torch.randn(8, 6)
    fl.load_(model, source, inputs=x, adapt={"deepen"})
    torch.testing.assert_close(model(x), source(x))


def test_without_inputs_deepening_says_what_it_needs() -> None:
    report = fl.load_(ViT(depth=3), ViT(depth=2), adapt={"deepen"}, fresh="keep", dry_run=True)
    assert "give inputs=" in report["blocks.2.mlp.fc2.weight"].why or report["blocks.2.mlp.fc2.weight"].kind == "kept"


def test_each_rule_is_switched_by_name() -> None:
    source, model = ResNet(), ResNet(channels=1)
    report = fl.load_(model, source, adapt=False, dry_run=True)
    assert report["conv1.weight"].kind == "fresh"
    assert "adapt={'channels'} would fit it" in report["conv1.weight"].why
    assert fl.load_(model, source, adapt=("default", "stack"), dry_run=True)["conv1.weight"].kind == "adapted"
    for adapt, error in (
        ({"chanels"}, UnknownNameError),
        ({"channels": "max"}, UnknownNameError),
        (("stack", "deepen"), ArgumentError),
        (3, ArgumentError),
    ):
        with pytest.raises(error):
            fl.load_(model, source, adapt=adapt)  # type: ignore[arg-type]


def test_every_adaptation_cites_a_work_that_is_known() -> None:
    from firstlight.plans.references import found
    from firstlight.transfers import adaptations

    unknown = {a.name for a in adaptations() if not found(a.reference)}
    assert unknown == {"channels"}  # common practice: a library's source, and no paper


def test_a_plan_that_starts_from_weights_cites_what_it_adapted(tmp_path) -> None:
    from safetensors.torch import save_file

    save_file(ViT(image=16).state_dict(), tmp_path / "w.safetensors")
    plan = fl.plan(ViT(image=32), torch.zeros(1, 3, 32, 32), f"pretrained({tmp_path / 'w.safetensors'}, head=none)")
    assert "2010.11929" in plan.cite()

"""The rows of fused projections, followed to the attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import firstlight as fl
from firstlight.graphs import Role, trace
from firstlight.transfers.matching import evidence
from transfers.twins import heads


class Fused(nn.Module):
    """Self-attention with one projection, its rows stacked as ``how`` says."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.attn = nn.ModuleDict({"qkv": nn.Linear(16, 48), "proj": nn.Linear(16, 16)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        y = self.attn["qkv"](x)
        match self.how:
            case "chunks" | "written out" | "rotated" | "keys first":
                q, k, v = (heads(z, 2) for z in y.chunk(3, -1))
                if self.how == "keys first":
                    q, k = k, q
            case "timm":
                q, k, v = y.reshape(b, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4).unbind(0)
            case "by head":
                q, k, v = y.view(b, t, 2, 3 * d // 2).transpose(1, 2).chunk(3, -1)
        if self.how == "rotated":
            q, k = (z * 0.5 + torch.cat([-z[..., 4:], z[..., :4]], -1) * 0.5 for z in (q, k))
        if self.how == "written out":
            y = (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        return self.attn["proj"](y.transpose(1, 2).reshape(b, t, d))


X = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("how", "role"),
    [
        ("chunks", "qkv"),
        ("timm", "qkv"),
        ("written out", "qkv"),
        ("rotated", "qkv"),
        ("by head", "qkv by head"),
        ("keys first", "qkv in another order"),
    ],
)
def test_the_rows_of_a_fused_projection_are_followed(how: str, role: str) -> None:
    graph = trace(Fused(how), X)
    assert next(p for p in graph.parameters if p.name == "attn.qkv.weight").role is Role.ATTENTION
    assert evidence(graph)["attn.qkv.weight"].role == role


@pytest.mark.parametrize("how", ["timm", "by head"])
def test_split_weights_do_not_go_where_rows_stand_head_by_head(how: str) -> None:
    source = {
        f"self.{p}.{k}": torch.randn((16, 16)[: 2 - (k == "bias")])
        for p in ("query", "key", "value")
        for k in ("weight", "bias")
    }
    report = fl.load_(Fused(how), source, inputs=X, require=0, fresh="keep", dry_run=True)
    assert (report["attn.qkv.weight"].kind == "loaded") is (how == "timm")

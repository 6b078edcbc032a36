"""Networks as people write them by hand, twins of architectures in ``transformers`` under other names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def heads(x: torch.Tensor, n: int) -> torch.Tensor:
    b, t, d = x.shape
    return x.view(b, t, n, d // n).transpose(1, 2)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, n: int, causal: bool = False) -> torch.Tensor:
    y = F.scaled_dot_product_attention(heads(q, n), heads(k, n), heads(v, n), is_causal=causal)
    return y.transpose(1, 2).reshape(q.shape)


class ViTBlock(nn.Module):
    """Fused q, k and v, timm's names."""

    def __init__(self, d: int, n: int, m: int) -> None:
        super().__init__()
        self.n = n
        self.norm1, self.norm2 = nn.LayerNorm(d, eps=1e-12), nn.LayerNorm(d, eps=1e-12)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(d, 3 * d), "proj": nn.Linear(d, d)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(d, m), "fc2": nn.Linear(m, d)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.attn["qkv"](self.norm1(x)).chunk(3, -1)
        x = x + self.attn["proj"](attend(q, k, v, self.n))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class ViT(nn.Module):
    def __init__(
        self, d: int = 16, depth: int = 2, m: int = 24, image: int = 16, patch: int = 4, channels: int = 3, n: int = 2
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, d))
        self.pos_embed = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, d))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(channels, d, patch, patch)})
        self.blocks = nn.ModuleList(ViTBlock(d, n, m) for _ in range(depth))
        self.norm = nn.LayerNorm(d, eps=1e-12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Residual(nn.Module):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        changes = i != o or stride != 1
        self.downsample = (
            nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) if changes else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.downsample(x))


class ResNet(nn.Module):
    """torchvision's and timm's names."""

    def __init__(self, widths: tuple[int, ...] = (8, 16), classes: int = 2, channels: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
        i = 8
        for k, width in enumerate(widths, 1):
            blocks = [Residual(i if j == 0 else width, width, 2 if j == 0 and k > 1 else 1) for j in range(2)]
            self.add_module(f"layer{k}", nn.Sequential(*blocks))
            i = width
        self.stages = len(widths)
        self.fc = nn.Linear(i, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for k in range(self.stages):
            x = getattr(self, f"layer{k + 1}")(x)
        return self.fc(x.mean((2, 3)))


class BertLayer(nn.Module):
    def __init__(self, d: int, n: int, m: int) -> None:
        super().__init__()
        self.n = n
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.ln1, self.ln2 = nn.LayerNorm(d, eps=1e-12), nn.LayerNorm(d, eps=1e-12)
        self.fc1, self.fc2 = nn.Linear(d, m), nn.Linear(m, d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.ln1(x + self.o(attend(self.q(x), self.k(x), self.v(x), self.n)))
        return self.ln2(x + self.fc2(F.gelu(self.fc1(x))))


class Bert(nn.Module):
    def __init__(self, d: int = 16, depth: int = 2, m: int = 24, entries: int = 40, length: int = 32) -> None:
        super().__init__()
        self.tok, self.pos, self.seg = nn.Embedding(entries, d), nn.Embedding(length, d), nn.Embedding(2, d)
        self.ln = nn.LayerNorm(d, eps=1e-12)
        self.layers = nn.ModuleList(BertLayer(d, 2, m) for _ in range(depth))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.ln(self.tok(ids) + self.pos(torch.arange(ids.shape[1])) + self.seg(torch.zeros_like(ids)))
        for layer in self.layers:
            x = layer(x)
        return x


class Wordless(nn.Module):
    """Bert under names that say nothing, its modules in another order."""

    class Layer(nn.Module):
        def __init__(self, d: int, m: int) -> None:
            super().__init__()
            self.aa, self.bb = nn.Linear(d, d), nn.LayerNorm(d, eps=1e-12)
            self.cc, self.dd = nn.Linear(m, d), nn.Linear(d, d)
            self.ee, self.ff = nn.LayerNorm(d, eps=1e-12), nn.Linear(d, d)
            self.gg, self.hh = nn.Linear(d, m), nn.Linear(d, d)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.ee(x + self.aa(attend(self.ff(x), self.hh(x), self.dd(x), 2)))
            return self.bb(x + self.cc(F.gelu(self.gg(x))))

    def __init__(self, d: int = 16, depth: int = 2, m: int = 24, entries: int = 40, length: int = 32) -> None:
        super().__init__()
        self.rr, self.ss, self.tt = nn.Embedding(2, d), nn.Embedding(length, d), nn.Embedding(entries, d)
        self.uu, self.vv = (
            nn.ModuleList(Wordless.Layer(d, m) for _ in range(depth)),
            nn.LayerNorm(d, eps=1e-12),
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.vv(self.tt(ids) + self.ss(torch.arange(ids.shape[1])) + self.rr(torch.zeros_like(ids)))
        for layer in self.uu:
            x = layer(x)
        return x


class GPTBlock(nn.Module):
    def __init__(self, d: int, n: int) -> None:
        super().__init__()
        self.n = n
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.query, self.key, self.value, self.proj = (nn.Linear(d, d) for _ in range(4))
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.ln1(x)
        x = x + self.proj(attend(self.query(y), self.key(y), self.value(y), self.n, causal=True))
        return x + self.down(F.gelu(self.up(self.ln2(x)), approximate="tanh"))


class GPT(nn.Module):
    """Tied, and linear where GPT-2 has transposed weights."""

    def __init__(self, d: int = 16, depth: int = 2, entries: int = 40, length: int = 16) -> None:
        super().__init__()
        self.tok_emb, self.pos_emb = nn.Embedding(entries, d), nn.Embedding(length, d)
        self.blocks = nn.ModuleList(GPTBlock(d, 2) for _ in range(depth))
        self.ln_f, self.head = nn.LayerNorm(d), nn.Linear(d, entries, bias=False)
        self.head.weight = self.tok_emb.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_f(x))


class RMSNorm(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class LlamaLayer(nn.Module):
    """The names of the first Llama: w1 is the gate, w3 goes up, w2 down."""

    def __init__(self, d: int, n: int, kv: int, m: int) -> None:
        super().__init__()
        self.n, self.kv, self.w = n, kv, d // n
        self.attention_norm, self.ffn_norm = RMSNorm(d), RMSNorm(d)
        self.wq, self.wo = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.wk, self.wv = (nn.Linear(d, kv * self.w, bias=False) for _ in range(2))
        self.w1, self.w3 = nn.Linear(d, m, bias=False), nn.Linear(d, m, bias=False)
        self.w2 = nn.Linear(m, d, bias=False)

    def _turned(self, x: torch.Tensor) -> torch.Tensor:
        rate = 10000 ** (-torch.arange(0, self.w, 2) / self.w)
        angle = torch.cat([torch.outer(torch.arange(x.shape[2]), rate)] * 2, -1)
        a, b = x.chunk(2, -1)
        return x * angle.cos() + torch.cat([-b, a], -1) * angle.sin()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        y = self.attention_norm(x)
        q, k, v = heads(self.wq(y), self.n), heads(self.wk(y), self.kv), heads(self.wv(y), self.kv)
        k, v = (z.repeat_interleave(self.n // self.kv, 1) for z in (self._turned(k), v))
        y = F.scaled_dot_product_attention(self._turned(q), k, v, is_causal=True)
        x = x + self.wo(y.transpose(1, 2).reshape(b, t, d))
        y = self.ffn_norm(x)
        return x + self.w2(F.silu(self.w1(y)) * self.w3(y))


class Llama(nn.Module):
    def __init__(self, d: int = 32, depth: int = 2, m: int = 48, entries: int = 40) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(entries, d)
        self.blocks = nn.ModuleList(LlamaLayer(d, 4, 2, m) for _ in range(depth))
        self.norm, self.output = RMSNorm(d), nn.Linear(d, entries, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tok_embeddings(ids)
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x))

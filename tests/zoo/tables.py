"""Hand-written networks with inputs, and what their authors meant: role and fans by a table from the definition."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from firstlight.graphs import Role

from . import fields as f
from . import handwritten as h
from . import pictures as p
from . import sequences as s

Fact = tuple[Role, float, float]
Inputs = torch.Tensor | tuple[torch.Tensor, ...]
L, C, T = Role.LINEAR, Role.CONV, Role.CONV_TRANSPOSED
R, H = Role.RECURRENT_INPUT, Role.RECURRENT_HIDDEN


def ids(*shape: int) -> torch.Tensor:
    return torch.randint(0, 20, shape, generator=torch.Generator().manual_seed(2))


# network, inputs, and for each weight its role and fans
TABLES: dict[str, tuple[Callable[[], nn.Module], Inputs, dict[str, Fact]]] = {
    "raw matrices": (
        h.RawMlp,
        h.randn(4, 8),
        {
            "right": (L, 8, 12),
            "left": (L, 12, 10),
            "added": (L, 10, 6),
            "summed": (L, 6, 5),
            "offset": (Role.BIAS, 1, 1),
        },
    ),
    "experts": (h.Experts, h.randn(4, 8), {"router.weight": (L, 8, 4), "up": (L, 8, 16), "down": (L, 16, 8)}),
    "hand-written GRU": (
        h.HandGru,
        h.randn(32, 5, 6),
        {"x2h.weight": (L, 6, 8), "h2h.weight": (L, 8, 8), "head.weight": (L, 8, 3)},
    ),
    "highway": (h.Highway, h.randn(4, 8), {"plain.weight": (L, 8, 8), "gate.weight": (L, 8, 8)}),
    "LoRA": (h.Lora, h.randn(4, 8), {"base.weight": (L, 8, 8), "down.weight": (L, 8, 2), "up.weight": (L, 2, 8)}),
    "WaveNet": (
        h.Gated,
        h.randn(2, 1, 12),
        {"first.weight": (C, 1, 8), "gates.weight": (C, 16, 16), "out.weight": (C, 8, 8), "head.weight": (C, 8, 4)},
    ),
    "DCGAN": (
        h.Generator,
        h.randn(4, 6),
        {"first.weight": (Role.CONV_TRANSPOSED, 96, 256), "second.weight": (Role.CONV_TRANSPOSED, 64, 48)},
    ),
    "weight standardization": (
        lambda: nn.Sequential(h.Standardized(3, 8, 3), nn.ReLU()),
        h.randn(2, 3, 8, 8),
        {"0.weight": (C, 27, 72)},
    ),
    "squeeze and excitation": (
        h.Squeezed,
        h.randn(32, 3, 8, 8),
        {
            "stem.weight": (C, 27, 18),
            "depth.weight": (C, 9, 9),
            "squeeze.weight": (L, 8, 2),
            "excite.weight": (L, 2, 8),
            "point.weight": (C, 8, 8),
        },
    ),
    "Perceiver": (
        h.Perceiver,
        h.randn(2, 7, 6),
        {
            "latents": (Role.TOKEN, 1, 1),
            "kv.weight": (Role.ATTENTION, 6, 8),
            "out.weight": (Role.OUT, 8, 8),
            "norm": (Role.NORM_SCALE, 1, 1),
            "shift": (Role.NORM_SHIFT, 1, 1),
        },
    ),
    "ViT": (
        h.Classified,
        h.randn(2, 4, 12),
        {
            "patch.weight": (L, 12, 8),
            "token": (Role.TOKEN, 1, 1),
            "positions": (Role.POSITIONAL, 1, 1),
            "scale": (Role.NORM_SCALE, 1, 1),
            "qkv.weight": (Role.ATTENTION, 8, 8),
            "out.weight": (Role.OUT, 8, 8),
            "gamma": (Role.LAYER_SCALE, 1, 1),
            "temperature": (Role.SCALE, 1, 1),
            "head.weight": (L, 8, 3),
        },
    ),
    "MLP-Mixer": (h.Mixer, h.randn(2, 5, 8), {"tokens.weight": (L, 5, 5), "channels.weight": (L, 8, 8)}),
    "recurrent": (
        h.Recurrent,
        torch.randint(0, 20, (3, 5)),
        {
            "table.weight": (Role.EMBEDDING, 1, 6),
            "lstm.weight_ih_l0": (Role.RECURRENT_INPUT, 6, 8),
            "lstm.weight_hh_l0": (Role.RECURRENT_HIDDEN, 8, 8),
            "lstm.bias_ih_l0": (Role.GATE_BIAS, 1, 1),
            "cell.weight_ih": (Role.RECURRENT_INPUT, 8, 4),
            "cell.weight_hh": (Role.RECURRENT_HIDDEN, 4, 4),
        },
    ),
    "VGG": (
        p.vgg,
        h.randn(4, 3, 16, 16),
        {
            "0.weight": (C, 27, 72),
            "2.weight": (C, 72, 72),
            "5.weight": (C, 72, 144),
            "7.weight": (C, 144, 144),
            "11.weight": (L, 256, 32),
            "14.weight": (L, 32, 32),
            "16.weight": (L, 32, 10),
        },
    ),
    "U-Net": (
        p.Unet,
        h.randn(4, 3, 16, 16),
        {
            "first.weight": (C, 27, 72),
            "norm1.weight": (Role.NORM_SCALE, 1, 1),
            "norm1.bias": (Role.NORM_SHIFT, 1, 1),
            "deep.weight": (C, 72, 144),
            "up.weight": (T, 16, 32),
            "join.weight": (C, 144, 72),
            "last.weight": (C, 8, 2),
        },
    ),
    "DenseNet": (
        p.Dense,
        h.randn(4, 3, 8, 8),
        {
            "stem.weight": (C, 27, 72),
            "layers.0.weight": (C, 72, 36),
            "layers.1.weight": (C, 108, 36),
            "layers.2.weight": (C, 144, 36),
            "head.weight": (L, 20, 5),
        },
    ),
    "DCGAN's discriminator": (
        p.discriminator,
        h.randn(4, 3, 16, 16),
        {"0.weight": (C, 48, 32), "2.weight": (C, 128, 64), "5.weight": (C, 256, 16)},
    ),
    "Inception": (
        p.Inception,
        h.randn(4, 8, 8, 8),
        {
            "one.weight": (C, 8, 4),
            "three.weight": (C, 72, 36),
            "five.weight": (C, 100, 100),
            "reduce.weight": (C, 8, 4),
            "pooled.weight": (C, 8, 4),
            "after.weight": (C, 16, 8),
        },
    ),
    "ShuffleNet": (
        p.Shuffled,
        h.randn(4, 8, 8, 8),
        {
            "first.weight": (C, 4, 4),
            "second.weight": (C, 9, 9),
            "third.weight": (C, 4, 8),
            "wide.weight": (C, 144, 36),
        },
    ),
    "volumes": (p.volumes, h.randn(2, 1, 8, 8, 8), {"0.weight": (C, 27, 27), "3.weight": (T, 32, 128)}),
    "VAE": (
        p.Autoencoder,
        h.randn(8, 20),
        {
            "inner.weight": (L, 20, 16),
            "mean.weight": (L, 16, 4),
            "spread.weight": (L, 16, 4),
            "outer.weight": (L, 4, 16),
            "back.weight": (L, 16, 20),
        },
    ),
    "tied autoencoder": (
        p.TiedAutoencoder,
        h.randn(8, 20),
        {"weight": (L, 20, 12), "there": (Role.BIAS, 1, 1), "back": (Role.BIAS, 1, 1)},
    ),
    "PointNet": (
        p.PointNet,
        h.randn(4, 3, 32),
        {
            "turn.weight": (C, 3, 16),
            "turned.weight": (L, 16, 9),
            "first.weight": (C, 3, 16),
            "second.weight": (C, 16, 32),
            "head.weight": (L, 32, 5),
        },
    ),
    "FiLM": (
        p.Film,
        (h.randn(4, 3, 8, 8), torch.tensor([3.0, 40.0, 500.0, 900.0])),
        {
            "time.weight": (L, 8, 16),
            "modulation.weight": (L, 16, 16),
            "first.weight": (C, 27, 72),
            "norm.weight": (Role.NORM_SCALE, 1, 1),
            "second.weight": (C, 72, 72),
            "last.weight": (C, 72, 27),
        },
    ),
    "modulated convolution": (
        p.Modulated,
        (h.randn(4, 8, 6, 6), h.randn(4, 6)),
        {"style.weight": (L, 6, 8), "weight": (C, 72, 72), "out.weight": (C, 8, 3)},
    ),
    "spectral norm": (
        p.critic,
        h.randn(4, 3, 8, 8),
        {
            "0.parametrizations.weight.original": (C, 27, 72),
            "2.parametrizations.weight.original": (C, 72, 72),
            "5.parametrizations.weight.original": (L, 128, 1),
        },
    ),
    "GRU language model": (
        s.GruLanguage,
        ids(4, 10),
        {
            "head.weight": (Role.EMBEDDING, 1, 16),
            "gru.weight_ih_l0": (R, 16, 16),
            "gru.weight_hh_l0": (H, 16, 16),
            "gru.weight_ih_l1": (R, 16, 16),
            "gru.weight_hh_l1": (H, 16, 16),
        },
    ),
    "bidirectional LSTM": (
        s.Tagger,
        ids(4, 10),
        {
            "lstm.weight_ih_l0": (R, 12, 16),
            "lstm.weight_hh_l0": (H, 8, 16),
            "lstm.weight_hr_l0_reverse": (Role.RECURRENT_PROJECTION, 16, 8),
            "lstm.weight_ih_l1": (R, 16, 16),
            "lstm.bias_ih_l1_reverse": (Role.GATE_BIAS, 1, 1),
            "head.weight": (L, 16, 5),
        },
    ),
    "additive attention": (
        s.Translator,
        (h.randn(32, 7, 6), h.randn(32, 5, 6)),
        {
            "read.weight_ih_l0": (R, 6, 8),
            "write.weight_ih": (R, 14, 8),
            "write.weight_hh": (H, 8, 8),
            "query.weight": (L, 8, 8),
            "key.weight": (L, 8, 8),
            "score.weight": (L, 8, 1),
            "head.weight": (L, 8, 6),
        },
    ),
    "ConvLSTM": (s.ConvLstm, h.randn(2, 4, 3, 6, 6), {"gates.weight": (C, 99, 72), "head.weight": (C, 8, 1)}),
    "raw heads": (
        s.RawHeads,
        h.randn(4, 6, 8),
        {"q": (Role.QUERY, 8, 4), "k": (Role.KEY, 8, 4), "v": (Role.VALUE, 8, 4), "o": (Role.OUT, 8, 8)},
    ),
    "linear attention": (
        s.LinearAttention,
        h.randn(4, 6, 8),
        {"q.weight": (L, 8, 8), "k.weight": (L, 8, 8), "v.weight": (L, 8, 8), "out.weight": (L, 8, 8)},
    ),
    "shared layers": (
        s.SharedLayers,
        ids(16, 10),
        {
            "table.weight": (Role.EMBEDDING, 1, 8),
            "positions.weight": (Role.POSITIONAL, 1, 8),
            "attention.in_proj_weight": (Role.ATTENTION, 8, 8),
            "attention.out_proj.weight": (Role.OUT, 8, 8),
            "up.weight": (L, 8, 16),
            "down.weight": (L, 16, 8),
        },
    ),
    "cross attention": (
        s.CrossAttention,
        (h.randn(4, 5, 8), h.randn(4, 7, 6), h.randn(4, 7, 10)),
        {
            "attention.q_proj_weight": (Role.QUERY, 8, 8),
            "attention.k_proj_weight": (Role.KEY, 6, 8),
            "attention.v_proj_weight": (Role.VALUE, 10, 8),
            "attention.out_proj.weight": (Role.OUT, 8, 8),
            "attention.in_proj_bias": (Role.BIAS, 1, 1),
            "attention.bias_k": (Role.TOKEN_BIAS, 1, 1),
        },
    ),
    "nn.Transformer": (
        lambda: nn.Transformer(16, 2, 1, 1, 32, batch_first=True),
        (h.randn(4, 6, 16), h.randn(4, 5, 16)),
        {
            "encoder.layers.0.self_attn.in_proj_weight": (Role.ATTENTION, 16, 16),
            "encoder.layers.0.linear1.weight": (L, 16, 32),
            "decoder.layers.0.multihead_attn.in_proj_weight": (Role.ATTENTION, 16, 16),
            "decoder.layers.0.multihead_attn.out_proj.weight": (Role.OUT, 16, 16),
            "decoder.layers.0.linear2.weight": (L, 32, 16),
            "decoder.norm.weight": (Role.NORM_SCALE, 1, 1),
        },
    ),
    "temporal convolutions": (
        s.temporal,
        h.randn(4, 2, 16),
        {
            "0.weight": (C, 2, 8),
            "1.parametrizations.weight.original0": (Role.MAGNITUDE, 1, 1),
            "1.parametrizations.weight.original1": (C, 24, 24),
            "3.parametrizations.weight.original1": (C, 24, 24),
            "5.weight": (T, 8, 16),
        },
    ),
    "routed experts": (
        s.Routed,
        h.randn(4, 12, 8),
        {"router.weight": (L, 8, 3), "experts.0.0.weight": (L, 8, 16), "experts.2.2.weight": (L, 16, 8)},
    ),
    "recommender": (
        s.DotInteraction,
        (h.randn(32, 5), ids(32, 3), ids(32, 3)),
        {"bags.0.weight": (Role.EMBEDDING, 1, 8), "dense.weight": (L, 5, 8), "top.weight": (L, 11, 1)},
    ),
    "SIREN": (
        f.Siren,
        h.randn(64, 2).clamp(-1, 1),
        {"first.weight": (L, 2, 64), "second.weight": (L, 64, 64), "last.weight": (L, 64, 3)},
    ),
    "Fourier features": (f.FourierFeatures, h.randn(16, 2), {"first.weight": (L, 32, 32), "last.weight": (L, 32, 3)}),
    "NeRF": (
        f.Nerf,
        (h.randn(16, 3), h.randn(16, 3)),
        {
            "first.weight": (L, 27, 32),
            "third.weight": (L, 59, 32),
            "density.weight": (L, 32, 1),
            "colour.weight": (L, 35, 3),
        },
    ),
    "GCN": (
        f.GraphNet,
        h.randn(12, 8),
        {"first": (L, 8, 16), "offset": (Role.BIAS, 1, 1), "second.weight": (L, 16, 4)},
    ),
    "GAT": (
        f.GraphAttention,
        h.randn(40, 6),
        {"map.weight": (L, 6, 8), "source": (L, 8, 1), "target": (L, 8, 1), "head.weight": (L, 8, 3)},
    ),
    "hypernetwork": (
        f.Hypernetwork,
        h.randn(16, 8),
        {
            "code": (Role.TOKEN, 1, 1),
            "hidden.weight": (L, 4, 16),
            "made.weight": (L, 16, 64),
            "head.weight": (L, 8, 3),
        },
    ),
    "functional call": (f.Functional, h.randn(16, 8), {"inner.weight": (L, 8, 8), "head.weight": (L, 8, 3)}),
    "equilibrium": (
        f.Equilibrium,
        h.randn(16, 6),
        {"inner.weight": (L, 8, 8), "inject.weight": (L, 6, 8), "head.weight": (L, 8, 2)},
    ),
    "coupling flow": (f.Flow, h.randn(16, 8), {"first.weight": (L, 4, 16), "second.weight": (L, 16, 8)}),
    "Euler steps": (
        f.Ode,
        h.randn(16, 8),
        {"first.weight": (L, 9, 16), "second.weight": (L, 16, 8), "head.weight": (L, 8, 2)},
    ),
    "parametrized": (
        f.parametrized,
        h.randn(16, 8),
        {
            "0.parametrizations.weight.original": (L, 8, 8),
            "2.parametrizations.weight.original": (L, 8, 8),
            "3.weight": (L, 8, 2),
        },
    ),
    "two towers": (
        f.Twin,
        (h.randn(4, 6), h.randn(4, 5)),
        {
            "left.weight": (L, 6, 8),
            "right.weight": (L, 5, 8),
            "project.weight": (L, 8, 4),
            "temperature": (Role.SCALE, 1, 1),
        },
    ),
}

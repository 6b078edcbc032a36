"""Healthy programs: usual networks as usually initialized, each with its usual training.

Nothing here may be called an error; many look sick to a careless rule (zero branches, He heads, frozen backbones).
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import data, nets
from .program import Case, Program, adam, healthy, r2, sgd, token_accuracy, token_loss

CE, MSE, BCE = F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits


@healthy
def mlp_default() -> Case:
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE)


@healthy
def mlp_two_layers() -> Case:
    return Case(nets.mlp((64, 128, 10)), *data.digits(), CE)


@healthy
def mlp_default_five() -> Case:
    return Case(nets.mlp((64, 64, 64, 64, 64, 10)), *data.digits(), CE, steps=400)


@healthy
def mlp_he() -> Case:
    return Case(nets.he(nets.mlp((64, 64, 64, 64, 10))), *data.digits(), CE)


@healthy
def mlp_he_deep() -> Case:
    return Case(nets.he(nets.mlp((64, *[128] * 12, 10))), *data.digits(), CE, optimizer=adam(), steps=300)


@healthy
def mlp_glorot_tanh() -> Case:
    return Case(nets.glorot(nets.mlp((64, 64, 64, 64, 10), nn.Tanh)), *data.digits(), CE)


@healthy
def mlp_tanh_deep_orthogonal() -> Case:
    model = nets.mlp((64, *[64] * 15, 10), nn.Tanh)
    nets.initialized(model, lambda w: nn.init.orthogonal_(w, 1.1), nn.init.zeros_)
    return Case(model, *data.digits(), CE, optimizer=sgd(0.01), steps=400)


@healthy
def mlp_gelu() -> Case:
    return Case(nets.mlp((64, 128, 128, 10), nn.GELU), *data.digits(), CE, optimizer=adam())


@healthy
def mlp_silu_layernorm() -> Case:
    model = nn.Sequential(
        nn.Linear(64, 64),
        nn.LayerNorm(64),
        nn.SiLU(),
        nn.Linear(64, 64),
        nn.LayerNorm(64),
        nn.SiLU(),
        nn.Linear(64, 10),
    )
    return Case(model, *data.digits(), CE, optimizer=adam())


@healthy
def mlp_selu() -> Case:
    model = nets.initialized(
        nets.mlp((64, *[64] * 8, 10), nn.SELU),
        lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
        nn.init.zeros_,
    )
    return Case(model, *data.digits(), CE, optimizer=sgd(0.01))


@healthy
def mlp_sigmoid_shallow() -> Case:
    return Case(nets.glorot(nets.mlp((64, 64, 10), nn.Sigmoid)), *data.digits(), CE, optimizer=adam(3e-3), steps=400)


@healthy
def mlp_leaky_batchnorm() -> Case:
    model = nn.Sequential(
        nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.LeakyReLU(), nn.Linear(64, 64, bias=False),
        nn.BatchNorm1d(64), nn.LeakyReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    return Case(model, *data.digits(), CE)


@healthy
def mlp_dropout() -> Case:
    model = nn.Sequential(
        nn.Linear(64, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(64, 10),
    )
    return Case(model, *data.digits(), CE, optimizer=adam(), steps=400)


@healthy
def mlp_zero_head() -> Case:
    model = nets.mlp((64, 64, 64, 10))
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    return Case(model, *data.digits(), CE)


@healthy
def regression() -> Case:
    return Case(nets.mlp((4, 64, 64, 1)), *data.smooth(), MSE, r2, 0.7, adam(3e-3), 400)


@healthy
def regression_tanh() -> Case:
    return Case(nets.glorot(nets.mlp((4, 64, 64, 1), nn.Tanh)), *data.smooth(), MSE, r2, 0.7, adam(3e-3), 400)


@healthy
def regression_linear() -> Case:
    x, _ = data.smooth()
    y = x @ torch.tensor([[1.0], [-0.5], [0.3], [0.0]])
    return Case(nn.Linear(4, 1), x, y, MSE, r2, 0.8, sgd(0.05), 200)


@healthy
def logistic() -> Case:
    return Case(nn.Linear(64, 10), *data.digits(), CE)


@healthy
def binary_logits() -> Case:
    return Case(nets.mlp((64, 64, 1)), *data.tall(), BCE)


@healthy
def binary_sigmoid_output() -> Case:
    model = nets.mlp((64, 64, 1), last=[nn.Sigmoid()])
    return Case(model, *data.tall(), F.binary_cross_entropy, optimizer=sgd(0.1))


@healthy
def log_softmax_nll() -> Case:
    return Case(nets.mlp((64, 64, 10), last=[nn.LogSoftmax(1)]), *data.digits(), F.nll_loss)


@healthy
def bounded_regression() -> Case:
    model = nets.mlp((4, 64, 64, 1), last=[nn.Sigmoid()])
    return Case(model, *data.positive(), MSE, r2, 0.6, adam(3e-3), 500)


@healthy
def xor_tanh() -> Case:
    return Case(nets.mlp((2, 16, 1), nn.Tanh), *data.xor(), BCE, trains=0.99, optimizer=adam(0.02), steps=400)


@healthy
def pixels_scaled() -> Case:
    x, y = data.pixels()
    return Case(nets.mlp((64, 64, 64, 10)), x / 255, y, CE, optimizer=adam(2e-3), steps=400)


@healthy
def raw_features_with_batchnorm() -> Case:
    model = nn.Sequential(nn.BatchNorm1d(11), *nets.mlp((11, 32, 32, 1)))
    return Case(model, *data.raw_features(), BCE, optimizer=adam(3e-3), steps=400)


@healthy
def lenet_default() -> Case:
    return Case(nets.lenet(), *data.pictures(), CE, optimizer=adam(3e-3), steps=300)


@healthy
def cnn_he() -> Case:
    return Case(nets.he(nets.cnn()), *data.pictures(), CE)


@healthy
def cnn_default_tanh() -> Case:
    return Case(nets.cnn(activation=nn.Tanh), *data.pictures(), CE)


@healthy
def cnn_depthwise() -> Case:
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    return Case(model, *data.pictures(), CE, optimizer=adam(5e-3), steps=300)


@healthy
def vgg_batchnorm() -> Case:
    return Case(nets.vgg(), *data.pictures(), CE, optimizer=adam(), steps=200)


@healthy
def resnet() -> Case:
    return Case(nets.resnet(), *data.pictures(), CE, optimizer=adam(3e-3), steps=200)


@healthy
def resnet_he_zero_branch() -> Case:
    model = nets.resnet(zero=True)
    nets.initialized(model[:-1], lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"))
    return Case(model, *data.pictures(), CE, optimizer=adam(3e-3), steps=200)


@healthy
def resnet_deep() -> Case:
    return Case(nets.resnet(12, 8), *data.pictures(), CE, optimizer=adam(5e-3), steps=200)


@healthy
def residual_scaled_without_norm() -> Case:
    return Case(nets.he(nets.residual_mlp(20, scale=0.2)), *data.digits(), CE, optimizer=adam(), steps=300)


@healthy
def residual_pre_norm() -> Case:
    return Case(nets.residual_mlp(12, norm=True), *data.digits(), CE, optimizer=adam(), steps=300)


@healthy
def residual_zero_last() -> Case:
    model = nets.he(nets.residual_mlp(30))
    for block in model:
        if isinstance(block, nets.Residual):
            nn.init.zeros_(block.branch[-1].weight)
    return Case(model, *data.digits(), CE, optimizer=adam(), steps=300)


@healthy
def batchnorm_ten() -> Case:
    return Case(nets.bn_stack(8), *data.digits(), CE, optimizer=adam(2e-3), steps=300)


@healthy
def lstm() -> Case:
    return Case(nets.Recurrent(nn.LSTM), *data.rows(), CE, optimizer=adam(5e-3), steps=400)


@healthy
def lstm_forget_one() -> Case:
    model = nets.Recurrent(nn.LSTM)
    with torch.no_grad():
        nn.init.orthogonal_(model.rnn.weight_hh_l0)
        model.rnn.bias_ih_l0[32:64] = 1.0
        model.rnn.bias_hh_l0[32:64] = 0.0
    return Case(model, *data.rows(), CE, optimizer=adam(5e-3), steps=400)


@healthy
def gru_two_layers() -> Case:
    return Case(nets.Recurrent(nn.GRU, num_layers=2), *data.rows(), CE, optimizer=adam(5e-3), steps=400)


@healthy
def lstm_four_layers() -> Case:
    return Case(nets.Recurrent(nn.LSTM, num_layers=4), *data.rows(), CE, optimizer=adam(5e-3), steps=400)


@healthy
def rnn_tanh() -> Case:
    return Case(nets.Recurrent(nn.RNN), *data.rows(), CE, optimizer=adam(3e-3), steps=500)


@healthy
def vit() -> Case:
    return Case(nets.Vit(), *data.pictures(), CE, optimizer=adam(2e-3), steps=400)


@healthy
def vit_truncated_normal() -> Case:
    model = nets.initialized(nets.Vit(depth=4), lambda w: nn.init.trunc_normal_(w, std=0.02), nn.init.zeros_)
    return Case(model, *data.pictures(), CE, optimizer=adam(2e-3), steps=500)


@healthy
def gpt() -> Case:
    return Case(nets.Gpt(), *data.chain(), token_loss, token_accuracy, 0.7, adam(5e-3), 300)


@healthy
def gpt_untied_on_purpose() -> Case:
    model = nets.Gpt(tied=False, depth=4)
    return Case(model, *data.chain(), token_loss, token_accuracy, 0.7, adam(5e-3), 300)


@healthy
def transformer_encoder() -> Case:
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Linear(8, 32), nn.TransformerEncoder(layer, 2), nn.Flatten(), nn.Linear(256, 10))
    return Case(model, *data.rows(), CE, optimizer=adam(2e-3), steps=300)


@healthy
def siren() -> Case:
    return Case(nets.siren_init(nets.siren()), *data.waves(), MSE, r2, 0.9, adam(3e-4), 400, 256)


@healthy
def autoencoder() -> Case:
    x, _ = data.digits()
    return Case(nets.Autoencoder(), x, x, MSE, r2, 0.5, adam(3e-3), 500)


@healthy
def vae() -> Case:
    x, _ = data.digits()
    score = lambda out, y: r2(out[:, :64], y)  # noqa: E731
    return Case(nets.Vae(), x, x, nets.vae_loss, score, 0.4, adam(3e-3), 600)


@healthy
def unet() -> Case:
    x, _ = data.pictures()
    noisy = x + 0.7 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return Case(nets.UNet(), noisy, x, MSE, r2, 0.6, adam(3e-3), 400)


@healthy
def dcgan_discriminator() -> Case:
    x, _ = data.pictures()
    fake = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(2 * len(x), generator=torch.Generator().manual_seed(1))
    labels = torch.cat([torch.ones(len(x), 1), torch.zeros(len(x), 1)])[order]
    return Case(nets.discriminator(), torch.cat([x, fake])[order], labels, BCE, trains=0.95, optimizer=adam(2e-3))


@healthy
def dcgan_generator() -> Case:
    x, _ = data.pictures()
    codes = torch.randn(len(x), 16, 1, 1, generator=torch.Generator().manual_seed(0))
    codes[:, :10, 0, 0] += 3 * F.one_hot(data.digits()[1], 10)
    return Case(nets.generator(last=nn.Tanh()), codes, (x / 2.5).clamp(-1, 1), MSE, r2, 0.3, adam(3e-3), 500)


@healthy
def frozen_backbone() -> Case:
    model = nets.mlp((64, 128, 128, 10))
    for layer in model[:-1]:
        layer.requires_grad_(False)
    return Case(model, *data.digits(), CE, optimizer=adam(5e-3), steps=500)


@healthy
def finetuned_head() -> Case:
    body = nets.cnn()
    trained = Case(body, *data.pictures(), CE, optimizer=adam(3e-3), steps=200)
    trained.train()
    body[:-1].requires_grad_(False)
    body[-1] = nn.Linear(256, 10)
    body.train()
    return Case(body, *data.pictures(), CE, optimizer=adam(3e-3), steps=300)


@healthy
def already_trained() -> Case:
    case = Case(nets.mlp((64, 64, 10)), *data.digits(), CE)
    case.train()
    case.model.train()
    return case


@healthy
def mixture_of_experts() -> Case:
    return Case(nets.Experts(), *data.digits(), CE, optimizer=adam(3e-3), steps=300)


@healthy
def ensemble_of_heads() -> Case:
    return Case(nets.Heads(), *data.digits(), CE)


@healthy
def unbalanced_classes() -> Case:
    x, y = data.digits()
    kept = (y != 0).nonzero()[:120, 0]
    order = torch.cat([(y == 0).nonzero()[:, 0], kept])
    order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(0))]
    return Case(nets.mlp((64, 64, 1)), x[order], (y[order] == 0).float()[:, None], BCE)


@healthy
def recsys_embeddings() -> Case:
    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users, self.items = nn.Embedding(40, 16), nn.Embedding(50, 16)
            self.head = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(torch.cat([self.users(ids[:, 0]), self.items(ids[:, 1])], 1))

    g = torch.Generator().manual_seed(0)
    ids = torch.stack([torch.randint(40, (2048,), generator=g), torch.randint(50, (2048,), generator=g)], 1)
    a, b = torch.randn(40, 3, generator=g), torch.randn(50, 3, generator=g)
    y = (a[ids[:, 0]] * b[ids[:, 1]]).sum(1, keepdim=True)
    return Case(Factors(), ids, (y - y.mean()) / y.std(), MSE, r2, 0.5, adam(5e-3), 800)


def _from_transformers(name: str, **settings: Any) -> Any:
    import transformers

    model, config = f"{name}LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM", f"{name}Config"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = getattr(transformers, config)(vocab_size=24, bos_token_id=0, eos_token_id=1, pad_token_id=0, **settings)
        return getattr(transformers, model)(made)


if find_spec("transformers"):

    @healthy
    def transformers_gpt2() -> Case:
        model = _from_transformers("GPT2", n_positions=16, n_embd=32, n_layer=2, n_head=4, use_cache=False)
        return Case(model, *data.chain(), token_loss, token_accuracy, 0.7, adam(5e-3), 300)

    @healthy
    def transformers_llama() -> Case:
        model = _from_transformers(
            "Llama", hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, use_cache=False
        )
        return Case(model, *data.chain(), token_loss, token_accuracy, 0.7, adam(5e-3), 300)

    @healthy
    def transformers_qwen3() -> Case:
        model = _from_transformers(
            "Qwen3", hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, use_cache=False,
        )  # fmt: skip
        return Case(model, *data.chain(), token_loss, token_accuracy, 0.7, adam(5e-3), 300)


def all_healthy() -> list[Program]:
    return [value for value in globals().values() if isinstance(value, Program)]

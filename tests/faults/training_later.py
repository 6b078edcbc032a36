"""Trainings written after the watch's rules had been fitted to those of ``training_more``, run before any change."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler

from . import data, healthy, nets
from .program import Case, Optimizer, Schedule, adam, fault, r2, sgd, token_accuracy, token_loss
from .program import healthy as well
from .training_more import HIGH, LOW

CE, MSE, BCE = F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits


def _of(kind: type[torch.optim.Optimizer], lr: float, **more: object) -> Optimizer:
    return lambda m: kind([p for p in m.parameters() if p.requires_grad], lr=lr, **more)  # type: ignore[call-arg]


def _rates(factor: object) -> Schedule:
    return lambda o: lr_scheduler.LambdaLR(o, factor)  # type: ignore[arg-type]


# Faulty.


@fault(HIGH, when="training", twin=healthy.cnn_he)
def cnn_with_nadam_of_a_third() -> Case:
    return Case(nets.cnn(), *data.pictures(), CE, optimizer=_of(torch.optim.NAdam, 0.3), steps=250)


@fault(HIGH, when="training", twin=healthy.gpt)
def gpt_with_momentum_sgd_of_five() -> Case:
    return Case(nets.Gpt(), *data.chain(), token_loss, token_accuracy, 0.6, sgd(5.0), 200, 32)


@fault(HIGH, when="training", twin=healthy.mlp_default)
def rate_finder_left_on() -> Case:
    rate = _rates(lambda i: 10 ** (6 * i / 300))
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=sgd(1e-4), schedule=rate)


@fault(HIGH, when="training", twin=healthy.recsys_embeddings)
def embeddings_with_adam_of_three() -> Case:
    case = healthy.recsys_embeddings.build()
    case.optimizer, case.steps = adam(3.0), 300
    return case


@fault(HIGH, when="training", twin=healthy.mlp_default)
def accumulated_and_not_averaged() -> Case:
    """The losses of sixty-four micro-batches, added up at the rate for one."""
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), lambda out, y: 64 * CE(out, y), optimizer=sgd(0.1))


@fault(HIGH, when="training", twin=healthy.resnet)
def signs_with_a_rate_of_a_tenth() -> Case:
    return Case(
        nets.mlp((64, 128, 128, 10)), *data.digits(), CE, optimizer=_of(torch.optim.Rprop, 1.0, step_sizes=(1e-1, 50))
    )


@fault(HIGH, when="training", twin=healthy.mlp_default)
def private_noise_of_one() -> Case:
    """Noise on each gradient, a hundred times the gradient."""
    model = nets.mlp((64, 64, 64, 10))
    g = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.register_hook(lambda grad: grad + torch.randn(grad.shape, generator=g))
    return Case(model, *data.digits(), CE, optimizer=sgd(0.05))


@fault("loss-rising loss-oscillating loss-diverged", when="training", twin=healthy.mlp_default)
def labels_renumbered_half_way() -> Case:
    x, y = data.digits()
    n = 64 * 300
    x, y = x.repeat(11, 1)[:n], y.repeat(11)[:n]
    y = torch.where(torch.arange(n) < n // 2, y, (y * 3 + 5) % 10)
    return Case(nets.mlp((64, 64, 64, 10)), x, y, CE, optimizer=sgd(0.005), shuffled=False, trains=0.95)


@fault(HIGH + " vanished-gradients", when="training", twin=healthy.gru_two_layers)
def gru_with_sgd_of_fifty() -> Case:
    return Case(nets.Recurrent(nn.GRU), *data.rows(), CE, optimizer=sgd(50.0))


@fault("non-finite-values non-finite-gradients", when="training", twin=healthy.binary_logits)
def logarithm_of_a_saturating_sigmoid() -> Case:
    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        p = torch.sigmoid(out)
        return -(y * p.log() + (1 - y) * (1 - p).log()).mean()

    return Case(nets.mlp((64, 128, 128, 1)), *data.tall(), loss, optimizer=adam(0.05), trains=1.1)


@fault(LOW, when="training", twin=healthy.lstm)
def lstm_with_sgd_of_a_ten_thousandth() -> Case:
    return Case(nets.Recurrent(nn.LSTM), *data.rows(), CE, optimizer=sgd(1e-4))


@fault(LOW, when="training", twin=healthy.mlp_two_layers)
def adadelta_of_a_thousandth() -> Case:
    return Case(nets.mlp((64, 128, 10)), *data.digits(), CE, optimizer=_of(torch.optim.Adadelta, 1e-3))


@fault(LOW, when="training", twin=healthy.vit)
def vit_with_adagrad_of_a_hundred_thousandth() -> Case:
    return Case(nets.Vit(), *data.pictures(), CE, optimizer=_of(torch.optim.Adagrad, 1e-5), steps=200)


@fault(LOW, when="training", twin=healthy.autoencoder)
def polynomial_decay_over_twenty_batches() -> Case:
    x, _ = data.digits()
    rate: Schedule = lambda o: lr_scheduler.PolynomialLR(o, 20, 2.0)  # noqa: E731
    return Case(nets.Autoencoder(), x, x, MSE, r2, 0.5, adam(1e-3), schedule=rate)


@fault(LOW + " vanished-gradients", when="training", twin=healthy.cnn_he)
def gradients_zeroed_after_backward() -> Case:
    """zero_grad() between backward() and step(), as a hook that leaves nothing."""
    model = nets.he(nets.cnn())
    for p in model.parameters():
        p.register_hook(torch.zeros_like)
    return Case(model, *data.pictures(), CE, optimizer=sgd(0.01), steps=200)


@fault("trivial-plateau loss-stuck over-fitting", when="training", twin=healthy.cnn_he)
def pictures_of_other_labels() -> Case:
    x, y = data.pictures()
    return Case(
        nets.cnn(), x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))], CE, optimizer=adam(1e-3)
    )


@fault("trivial-plateau loss-stuck", when="training", twin=healthy.mlp_default)
def inputs_drowned_in_noise() -> Case:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nets.mlp((64, 64, 64, 10))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(0.01 * x + torch.randn_like(x))

    return Case(Noisy(), *data.digits(), CE, optimizer=adam(1e-3))


@fault("over-fitting", when="training", twin=healthy.cnn_he)
def cnn_on_fifty_pictures() -> Case:
    x, y = data.pictures()
    held = (x[1000:1500], y[1000:1500])
    return Case(nets.he(nets.cnn(32)), x[:50], y[:50], CE, optimizer=adam(5e-3), batch=25, held_out=held, trains=0.95)


@fault("over-fitting", when="training", twin=healthy.lstm)
def lstm_on_half_wrong_labels() -> Case:
    x, y = data.rows()
    g = torch.Generator().manual_seed(0)
    wrong = torch.where(torch.rand(len(y), generator=g) < 0.5, torch.randint(10, (len(y),), generator=g), y)
    held = (x[1000:1600], wrong[1000:1600])
    return Case(
        nets.Recurrent(nn.LSTM, width=64),
        x[:300],
        wrong[:300],
        CE,
        optimizer=adam(5e-3),
        steps=500,
        batch=50,
        held_out=held,
    )


# Healthy.


@well
def vit_with_warmup_and_validation() -> Case:
    x, y = data.pictures()
    rate = _rates(lambda i: min(1.0, (i + 1) / 30))
    optimizer = _of(torch.optim.AdamW, 2e-3, weight_decay=0.05)
    return Case(nets.Vit(), x[:1200], y[:1200], CE, optimizer=optimizer, schedule=rate, held_out=(x[1200:], y[1200:]))


@well
def nesterov_and_cosine() -> Case:
    optimizer = _of(torch.optim.SGD, 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    rate: Schedule = lambda o: lr_scheduler.CosineAnnealingLR(o, 300)  # noqa: E731
    return Case(nets.resnet(3), *data.pictures(), CE, optimizer=optimizer, schedule=rate)


@well
def lstm_of_eight_a_batch() -> Case:
    return Case(nets.Recurrent(nn.LSTM), *data.rows(), CE, optimizer=adam(3e-3), batch=8, steps=600)


@well
def wasserstein_critic() -> Case:
    """Below zero and falling: the distance of two clouds."""

    def loss(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return out[:, 1].mean() - out[:, 0].mean() + 0.1 * out.square().mean()

    class Critic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nets.mlp((2, 64, 64, 1), lambda: nn.LeakyReLU(0.2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.body(x), self.body(torch.randn_like(x))], 1)

    x = torch.randn(1024, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([1.5, 0.0])
    score = lambda out, _: float(out[:, 0].mean() - out[:, 1].mean())  # noqa: E731
    return Case(Critic(), x, x, loss, score, 1.0, adam(1e-3), 400)


@well
def vae_with_a_rising_divergence() -> Case:
    """The divergence's weight grows from nothing to its end: the loss may rise."""
    x, _ = data.digits()
    calls = [0]

    def loss(out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        mean, logvar = out[:, 64:72], out[:, 72:]
        divergence = -0.5 * (1 + logvar - mean.square() - logvar.exp()).sum(1).mean()
        return F.mse_loss(out[:, :64], x) + min(1.0, calls[0] / 300) * 0.01 * divergence

    return Case(nets.Vae(), x, x, loss, lambda o, x: r2(o[:, :64], x), 0.4, adam(3e-3), 400)


@well
def poisson_counts() -> Case:
    x, _ = data.smooth()
    rate = (0.5 * x[:, :1] - 0.3 * x[:, 1:2] + 1.5).exp()
    y = torch.poisson(rate, generator=torch.Generator().manual_seed(0))
    loss = lambda out, y: F.poisson_nll_loss(out, y)  # noqa: E731
    return Case(nets.mlp((4, 32, 1)), x, y, loss, lambda o, y: r2(o.exp(), y), 0.4, adam(5e-3), 400)


@well
def pairs_of_views() -> Case:
    """SimCLR's loss, from log 2N down."""
    x, _ = data.digits()

    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nets.mlp((64, 128, 32))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            views = [F.normalize(self.body(x + 0.3 * torch.randn_like(x)), dim=1) for _ in range(2)]
            return torch.cat(views, 1)

    def loss(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        a, b = out[:, :32], out[:, 32:]
        return CE(a @ b.T / 0.2, torch.arange(len(a)))

    def score(out: torch.Tensor, _: torch.Tensor) -> float:
        return float(((out[:, :32] @ out[:, 32:].T).argmax(1) == torch.arange(len(out))).float().mean())

    return Case(Views(), x, x, loss, score, 0.5, adam(1e-3), 300)


@well
def heavy_tails_under_huber() -> Case:
    x, y = data.smooth()
    g = torch.Generator().manual_seed(3)
    y = y + 0.2 * torch.randn(len(y), 1, generator=g) / torch.rand(len(y), 1, generator=g).clamp_min(0.02)
    score = lambda o, t: 1 - float(F.smooth_l1_loss(o, t) / F.smooth_l1_loss(t.median().expand_as(t), t))  # noqa: E731
    return Case(nets.mlp((4, 64, 64, 1)), x, y, F.smooth_l1_loss, score, 0.15, adam(3e-3), 400)


@well
def one_in_fifty() -> Case:
    """A rare class: the loss falls to the prior's entropy at once, and from there slowly."""
    x, y = data.digits()
    kept = torch.cat([(y != 3).nonzero()[:, 0], (y == 3).nonzero()[:35, 0]])
    kept = kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))]
    score = lambda o, t: float((o > 0)[t > 0.5].float().mean())  # noqa: E731
    return Case(nets.mlp((64, 64, 1)), x[kept], (y[kept] == 3).float()[:, None], BCE, score, 0.6, adam(2e-3), 500)


@well
def noise_to_be_predicted() -> Case:
    """A diffusion model's loss: most of it stays."""
    x, _ = data.digits()

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nets.mlp((65, 128, 128, 64), nn.SiLU)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            t = torch.rand(len(x), 1)
            noise = torch.randn_like(x)
            return self.body(torch.cat([(1 - t).sqrt() * x + t.sqrt() * noise, t], 1)) - noise

    score = lambda o, _: 1 - float(o.square().mean())  # noqa: E731
    return Case(Denoiser(), x, x, lambda out, _: out.square().mean(), score, 0.3, adam(2e-3), 500)


@well
def values_bootstrapped() -> Case:
    """TD learning: targets grow with what has been learned, and so does the loss at first."""
    x = torch.randn(2048, 8, generator=torch.Generator().manual_seed(0))
    w = torch.randn(8, 1, generator=torch.Generator().manual_seed(1)) / 3
    follow = torch.randn(8, 8, generator=torch.Generator().manual_seed(2)) / 8**0.5

    class Values(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nets.mlp((8, 64, 1), nn.Tanh)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                target = x @ w + 1.0 + 0.9 * self.body(torch.tanh(x @ follow))
            return torch.cat([self.body(x), target], 1)

    loss = lambda out, _: MSE(out[:, :1], out[:, 1:])  # noqa: E731
    return Case(Values(), x, x, loss, lambda o, _: r2(o[:, :1], o[:, 1:]), 0.5, adam(3e-3), 500)


@well
def targets_of_a_slow_copy() -> Case:
    """A negative cosine to another view, as BYOL has it: from about 0 to -1."""
    x, y = data.digits()

    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nets.mlp((64, 64, 32)), nets.mlp((32, 32, 32))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a = self.head(self.body(x + 0.2 * torch.randn_like(x)))
            b = self.body(x + 0.2 * torch.randn_like(x)).detach()
            return F.cosine_similarity(a, b, dim=1)

    return Case(Views(), x, y, lambda out, _: -out.mean(), lambda o, _: float(o.mean()), 0.6, adam(1e-3), 300)


@well
def half_the_labels_wrong_to_the_end() -> Case:
    x, y = data.digits()
    g = torch.Generator().manual_seed(0)
    y = torch.where(torch.rand(len(y), generator=g) < 0.5, torch.randint(10, (len(y),), generator=g), y)
    rate: Schedule = lambda o: lr_scheduler.OneCycleLR(o, 0.05, total_steps=300)  # noqa: E731
    return Case(nets.mlp((64, 64, 10)), x, y, CE, optimizer=sgd(0.05), schedule=rate, trains=0.45)


@well
def rounded_through_a_straight_line() -> Case:
    class Rounded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + (torch.sign(x) - x.clamp(-1, 1)).detach() - (x - x.clamp(-1, 1)).detach()

    return Case(nets.mlp((64, 128, 128, 10), Rounded), *data.digits(), CE, optimizer=adam(2e-3))


@well
def sparse_by_penalty() -> Case:
    model = nets.mlp((64, 64, 10))
    loss = lambda out, y: CE(out, y) + 1e-3 * sum(p.abs().sum() for p in model.parameters())  # noqa: E731
    return Case(model, *data.digits(), loss, optimizer=adam(3e-3), steps=400)


@well
def linear_decay_of_softmax_regression() -> Case:
    rate: Schedule = lambda o: lr_scheduler.LinearLR(o, 1.0, 0.01, 300)  # noqa: E731
    return Case(nn.Linear(64, 10), *data.digits(), CE, optimizer=sgd(0.1, 0.0), schedule=rate)


@well
def masked_words() -> Case:
    """Only one word in seven counts: few targets a batch."""
    ids, _ = data.chain()
    g = torch.Generator().manual_seed(0)
    hidden = torch.rand(ids.shape, generator=g) < 0.15
    targets = ids.masked_fill(~hidden, -100)
    inputs = ids.masked_fill(hidden, 24)

    def score(out: torch.Tensor, y: torch.Tensor) -> float:
        return float((out.argmax(-1) == y)[y >= 0].float().mean())

    model = nn.Sequential(nn.Embedding(25, 32), nn.LSTM(32, 32, batch_first=True, bidirectional=True))

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = model, nn.Linear(64, 24)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(ids)[0])

    return Case(Masked(), inputs, targets, lambda o, y: CE(o.flatten(0, 1), y.flatten()), score, 0.5, adam(1e-2), 400)


@well
def physics_of_a_pendulum() -> Case:
    """The residual of y'' + y = 0 with y(0) = 0, y'(0) = 1: derivatives of the network are the loss."""
    t = torch.linspace(0, 3, 512)[:, None]

    class Path(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nets.mlp((1, 32, 32, 1), nn.Tanh)

        def forward(self, t: torch.Tensor) -> torch.Tensor:
            t = t.clone().requires_grad_(True)
            with torch.enable_grad():
                y = t + t.square() * self.body(t)
                first = torch.autograd.grad(y.sum(), t, create_graph=True)[0]
                second = torch.autograd.grad(first.sum(), t, create_graph=True)[0]
            return torch.cat([second + y, y], 1)

    score = lambda out, y: r2(out[:, 1:].detach(), y)  # noqa: E731
    return Case(Path(), t, torch.sin(t), lambda out, _: out[:, 0].square().mean(), score, 0.9, adam(3e-3), 600)

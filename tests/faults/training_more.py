"""Trainings that the watch alone can judge: faulty optimizers, rates, schedules and loops, and healthy ones like them.

Written before the watch's rules were changed for them. The networks start well; the fault is in the training.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler

from . import data, healthy, nets
from .program import Case, Optimizer, Schedule, accuracy, adam, fault, r2, sgd, token_accuracy, token_loss
from .program import healthy as well

CE, MSE, BCE = F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits
HIGH = "learning-rate-too-high loss-diverged loss-oscillating loss-rising update-too-large loss-stuck"
HIGH += " exploded-gradients non-finite-values non-finite-gradients trivial-plateau dying-units"
LOW = "learning-rate-too-low update-too-small loss-stuck trivial-plateau"
DECAY = "update-too-large loss-stuck trivial-plateau loss-rising vanished-gradients learning-rate-too-high"


def _with(kind: type[torch.optim.Optimizer], lr: float, **more: object) -> Optimizer:
    return lambda m: kind([p for p in m.parameters() if p.requires_grad], lr=lr, **more)  # type: ignore[call-arg]


def _shape(rate: object) -> Schedule:
    """The rate's factor as a function of the step."""
    return lambda optimizer: lr_scheduler.LambdaLR(optimizer, rate)  # type: ignore[arg-type]


def _small(n: int, *, classes: int = 10) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """A few digits to train on, and 600 to judge by."""
    x, y = data.digits()
    return x[:n], y[:n] % classes, (x[1000:1600], y[1000:1600] % classes)


# Faulty: the rate is too high.


@fault(HIGH, when="training", twin=healthy.mlp_gelu)
def adam_thirty_times_too_high() -> Case:
    return Case(nets.mlp((64, 128, 128, 128, 10), nn.GELU), *data.digits(), CE, optimizer=adam(0.2))


@fault(HIGH, when="training", twin=healthy.lenet_default)
def lenet_with_rmsprop_of_a_tenth() -> Case:
    return Case(nets.lenet(), *data.pictures(), CE, optimizer=_with(torch.optim.RMSprop, 0.1))


@fault(HIGH, when="training", twin=healthy.mlp_default)
def momentum_of_999() -> Case:
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=sgd(0.2, 0.999))


@fault(HIGH, when="training", twin=healthy.gpt)
def gpt_with_adamw_of_a_fifth() -> Case:
    return Case(
        nets.Gpt(), *data.chain(), token_loss, token_accuracy, 0.6, _with(torch.optim.AdamW, 0.2), 200, 32
    )  # fmt: skip


@fault(HIGH, when="training", twin=healthy.rnn_tanh)
def rnn_with_sgd_of_two() -> Case:
    return Case(nets.Recurrent(nn.RNN), *data.rows(), CE, optimizer=sgd(2.0))


@fault(HIGH, when="training", twin=healthy.regression)
def regression_with_sgd_of_one() -> Case:
    return Case(nets.mlp((4, 64, 64, 1)), *data.smooth(), MSE, r2, 0.7, sgd(1.0), 300)


@fault(HIGH, when="training", twin=healthy.autoencoder)
def autoencoder_with_adam_of_a_third() -> Case:
    x, _ = data.digits()
    return Case(nets.Autoencoder(), x, x, MSE, r2, 0.5, adam(0.3))


@fault(HIGH, when="training", twin=healthy.lstm)
def lstm_with_adam_of_one() -> Case:
    return Case(nets.Recurrent(nn.LSTM), *data.rows(), CE, optimizer=adam(1.0))


@fault(HIGH, when="training", twin=healthy.mlp_default)
def loss_times_a_thousand() -> Case:
    """The rate suits the loss as it was."""
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), lambda out, y: 1000 * CE(out, y), optimizer=sgd(0.05))


@fault(HIGH, when="training", twin=healthy.mlp_default_five)
def relus_killed_by_the_rate() -> Case:
    return Case(nets.mlp((64, 64, 64, 64, 64, 10)), *data.digits(), CE, optimizer=adam(0.1))


@fault(HIGH, when="training", twin=healthy.mlp_default)
def restart_at_a_hundred_times_the_rate() -> Case:
    rate = _shape(lambda i: 1.0 if i < 150 else 100.0)
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=sgd(0.05), schedule=rate)


@fault(HIGH, when="training", twin=healthy.cnn_he)
def one_example_a_batch_at_a_high_rate() -> Case:
    return Case(nets.he(nets.cnn()), *data.pictures(), CE, optimizer=sgd(0.1), batch=1, steps=400)


@fault(HIGH, when="training", twin=healthy.regression_linear)
def adagrad_of_twenty() -> Case:
    return Case(nets.mlp((4, 64, 64, 1)), *data.smooth(), MSE, r2, 0.7, _with(torch.optim.Adagrad, 20.0), 200)


@fault(HIGH, when="training", twin=healthy.binary_logits)
def binary_with_sgd_of_thirty() -> Case:
    return Case(nets.mlp((64, 64, 64, 1)), *data.tall(), BCE, optimizer=sgd(30.0), trains=0.9)


@fault(HIGH, when="training", twin=healthy.vit)
def vit_with_momentum_sgd_of_two() -> Case:
    return Case(nets.Vit(), *data.pictures(), CE, optimizer=sgd(2.0), steps=200)


# Faulty: gradients add up, the sign is wrong, a decay that eats the weights, numbers that overflow.


@fault(HIGH, when="training", twin=healthy.mlp_default)
def gradients_never_zeroed() -> Case:
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=sgd(0.05), zeroed=False)


@fault(HIGH, when="training", twin=healthy.gpt)
def gpt_gradients_never_zeroed() -> Case:
    return Case(nets.Gpt(), *data.chain(), token_loss, token_accuracy, 0.6, adam(1e-2), 250, 32, zeroed=False)


@fault(HIGH, when="training", twin=healthy.regression)
def regression_gradients_never_zeroed() -> Case:
    return Case(
        nets.mlp((4, 64, 64, 1)), *data.smooth(), MSE, r2, 0.7, sgd(0.05, 0.0), 300, zeroed=False
    )  # fmt: skip


@fault(HIGH + " flipped-loss", when="training", twin=healthy.mlp_default)
def optimizer_that_maximizes() -> Case:
    optimizer = lambda m: torch.optim.SGD(m.parameters(), 0.05, 0.9, maximize=True)  # noqa: E731
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=optimizer)


@fault(HIGH + " flipped-loss", when="training", twin=healthy.regression)
def regression_uphill_with_adam() -> Case:
    optimizer = _with(torch.optim.Adam, 3e-3, maximize=True)
    return Case(nets.mlp((4, 64, 64, 1)), *data.smooth(), MSE, r2, 0.7, optimizer)


@fault(DECAY, when="training", twin=healthy.mlp_default)
def sgd_with_decay_of_one() -> Case:
    optimizer = _with(torch.optim.SGD, 0.05, momentum=0.9, weight_decay=1.0)
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=optimizer)


@fault(DECAY, when="training", twin=healthy.lenet_default)
def adam_with_penalty_of_two() -> Case:
    return Case(nets.lenet(), *data.pictures(), CE, optimizer=_with(torch.optim.Adam, 3e-3, weight_decay=2.0))


@fault(DECAY, when="training", twin=healthy.gpt)
def gpt_with_decay_of_fifty() -> Case:
    optimizer = _with(torch.optim.AdamW, 3e-3, weight_decay=50.0)
    return Case(nets.Gpt(), *data.chain(), token_loss, token_accuracy, 0.6, optimizer, 250, 32)


@fault("non-finite-values non-finite-gradients loss-diverged", when="training", twin=healthy.regression)
def variance_as_an_exponential() -> Case:
    """A Gaussian likelihood whose variance is exp(10 s), at a rate that sends s away."""

    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ((out[:, :1] - y).square() / (10 * out[:, 1:]).exp() + 10 * out[:, 1:]).mean()

    return Case(nets.mlp((4, 64, 64, 2)), *data.smooth(), loss, lambda o, y: r2(o[:, :1], y), 0.6, sgd(0.5), 300)


@fault(HIGH, when="training", twin=healthy.rnn_tanh)
def linear_recurrence_that_explodes() -> Case:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inputs, self.state, self.head = nn.Linear(4, 32), nn.Linear(32, 32), nn.Linear(32, 2)
            nn.init.orthogonal_(self.state.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = x.new_zeros(len(x), 32)
            for t in range(x.shape[1]):
                h = self.state(h) + self.inputs(x[:, t])
            return self.head(h)

    return Case(Linear(), *data.sums(length=40), CE, optimizer=sgd(0.5), steps=200, trains=0.9)


@fault(
    "loss-oscillating loss-rising loss-stuck trivial-plateau loss-diverged", when="training", twin=healthy.mlp_default
)
def sorted_by_class() -> Case:
    """Batches in the order of their classes: each unlearns the one before."""
    x, y = data.digits()
    order = y.argsort(stable=True)
    return Case(nets.mlp((64, 64, 64, 10)), x[order], y[order], CE, optimizer=sgd(0.1), steps=300, shuffled=False)


# Faulty: the rate is too low, or gets there, or the gradients do.


@fault(LOW, when="training", twin=healthy.cnn_he)
def cnn_with_sgd_thousand_times_too_low() -> Case:
    return Case(nets.he(nets.cnn()), *data.pictures(), CE, optimizer=sgd(5e-5, 0.0))


@fault(LOW, when="training", twin=healthy.mlp_default)
def sgd_thirty_times_too_low() -> Case:
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=sgd(1.5e-3, 0.0))


@fault(LOW, when="training", twin=healthy.gru_two_layers)
def gru_with_adam_of_a_millionth() -> Case:
    return Case(nets.Recurrent(nn.GRU), *data.rows(), CE, optimizer=adam(1e-6))


@fault(LOW, when="training", twin=healthy.gpt)
def gpt_with_adamw_thirty_times_too_low() -> Case:
    return Case(
        nets.Gpt(), *data.chain(), token_loss, token_accuracy, 0.6, _with(torch.optim.AdamW, 3e-5), 250, 32
    )  # fmt: skip


@fault(LOW, when="training", twin=healthy.regression)
def regression_with_rmsprop_of_a_millionth() -> Case:
    return Case(nets.mlp((4, 64, 64, 1)), *data.smooth(), MSE, r2, 0.7, _with(torch.optim.RMSprop, 1e-6), 300)


@fault(LOW, when="training", twin=healthy.mlp_default)
def rate_of_zero() -> Case:
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=sgd(0.0))


@fault(LOW, when="training", twin=healthy.vit)
def warmup_that_never_ends() -> Case:
    return Case(nets.Vit(), *data.pictures(), CE, optimizer=adam(3e-3), schedule=_shape(lambda i: (i + 1) / 1e7))


@fault(LOW, when="training", twin=healthy.cnn_he)
def decay_to_nothing() -> Case:
    rate: Schedule = lambda o: lr_scheduler.ExponentialLR(o, 0.7)  # noqa: E731
    return Case(nets.he(nets.cnn()), *data.pictures(), CE, optimizer=sgd(0.003), schedule=rate, trains=0.8)


@fault(LOW, when="training", twin=healthy.resnet)
def steps_of_decay_counted_in_batches() -> Case:
    """A tenth every ten batches, as was meant for epochs."""
    rate: Schedule = lambda o: lr_scheduler.StepLR(o, 10, 0.1)  # noqa: E731
    return Case(nets.mlp((64, 64, 64, 64, 64, 10)), *data.digits(), CE, optimizer=sgd(0.05), schedule=rate)


@fault(LOW + " vanished-gradients", when="training", twin=healthy.lenet_default)
def clipped_to_nothing() -> Case:
    return Case(nets.lenet(), *data.pictures(), CE, optimizer=sgd(0.05), clip=1e-5)


@fault(LOW + " vanished-gradients", when="training", twin=healthy.mlp_default)
def loss_divided_by_a_million() -> Case:
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), lambda out, y: CE(out, y) / 1e6, optimizer=sgd(0.05))


# Faulty: over-fitting, with the validation loss shown.


@fault("over-fitting", when="training", twin=healthy.mlp_default)
def forty_digits() -> Case:
    x, y, held = _small(40)
    return Case(nets.mlp((64, 256, 256, 10)), x, y, CE, optimizer=adam(3e-3), batch=20, trains=0.9, held_out=held)


@fault("over-fitting", when="training", twin=healthy.mlp_default)
def random_labels_with_validation() -> Case:
    x, _ = data.digits()
    y = torch.randint(10, (len(x),), generator=torch.Generator().manual_seed(0))
    held = (x[1000:], y[1000:])
    return Case(nets.mlp((64, 256, 256, 10)), x[:200], y[:200], CE, optimizer=adam(1e-3), batch=50, held_out=held)


@fault("over-fitting", when="training", twin=healthy.regression)
def regression_on_thirty_points() -> Case:
    x, y = data.smooth()
    noise = torch.randn(len(y), 1, generator=torch.Generator().manual_seed(1))
    y = y + 0.7 * noise
    return Case(
        nets.mlp((4, 128, 128, 1)), x[:30], y[:30], MSE, r2, 0.4, adam(3e-3), 400, 15, held_out=(x[500:], y[500:])
    )  # fmt: skip


@fault("over-fitting", when="training", twin=healthy.gpt)
def gpt_on_sixteen_sentences() -> Case:
    x, y = data.chain()
    return Case(
        nets.Gpt(), x[:16], y[:16], token_loss, token_accuracy, 0.8, adam(5e-3), 300, 8, held_out=(x[500:], y[500:])
    )  # fmt: skip


# Healthy.


@well
def a_third_of_the_labels_wrong() -> Case:
    x, y = data.digits()
    g = torch.Generator().manual_seed(0)
    wrong = torch.rand(len(y), generator=g) < 0.33
    y = torch.where(wrong, torch.randint(10, (len(y),), generator=g), y)
    return Case(nets.mlp((64, 64, 64, 10)), x, y, CE, trains=0.6)


@well
def weak_signal_under_noise() -> Case:
    """A tenth of the variance can be told, as in finance."""
    x, _ = data.smooth(4096)
    y = x @ torch.tensor([[0.25], [-0.2], [0.1], [0.0]])
    y = y + torch.randn(len(y), 1, generator=torch.Generator().manual_seed(2))
    return Case(nets.mlp((4, 16, 1)), x, y, MSE, r2, 0.06, adam(3e-3), 400)


@well
def four_examples_a_batch() -> Case:
    return Case(nets.he(nets.cnn()), *data.pictures(), CE, optimizer=sgd(0.005), batch=4, steps=500)


@well
def one_example_a_batch() -> Case:
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=sgd(0.01, 0.0), batch=1, steps=1500)


@well
def slow_but_sure() -> Case:
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=sgd(0.01, 0.0), steps=800)


@well
def one_cycle() -> Case:
    rate: Schedule = lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=300)  # noqa: E731
    return Case(nets.resnet(2), *data.pictures(), CE, optimizer=sgd(0.1), schedule=rate)


@well
def triangles_of_rates() -> Case:
    rate: Schedule = lambda o: lr_scheduler.CyclicLR(o, 1e-3, 0.1, step_size_up=40)  # noqa: E731
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=sgd(0.05), schedule=rate)


@well
def warm_restarts() -> Case:
    rate: Schedule = lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 75)  # noqa: E731
    return Case(nets.Vit(), *data.pictures(), CE, optimizer=adam(3e-3), schedule=rate, steps=300)


@well
def warmup_and_cosine_with_clipping() -> Case:
    def rate(i: int) -> float:
        return (i + 1) / 40 if i < 40 else 0.5 * (1 + math.cos(math.pi * (i - 40) / 260))

    optimizer = _with(torch.optim.AdamW, 5e-3, weight_decay=0.1)
    return Case(
        nets.Gpt(), *data.chain(), token_loss, token_accuracy, 0.6, optimizer, 300, 32, clip=1.0, schedule=_shape(rate)
    )  # fmt: skip


@well
def tiny_targets() -> Case:
    """Squares of thousandths: the loss is near zero from the start."""
    x, y = data.smooth()
    model = nets.mlp((4, 64, 64, 1))
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    return Case(model, x, 1e-3 * y, MSE, r2, 0.5, adam(3e-4), 600)


@well
def fine_tuned_from_the_optimum() -> Case:
    case = healthy.regression.build()
    case.train()
    case.model.train()
    case.optimizer = adam(1e-4)
    return case


@well
def fine_tuned_with_a_loss_of_its_own() -> Case:
    """Nothing in the graph tells the watch what a constant prediction would reach."""
    case = fine_tuned_from_the_optimum.build()
    case.loss_fn = lambda out, y: (out - y).square().mean()
    return case


@well
def many_tasks() -> Case:
    x, y = data.digits()

    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        parity, size = (y % 2).float(), y.float() / 9
        return CE(out[:, :10], y) + 0.5 * BCE(out[:, 10], parity) + 0.3 * MSE(out[:, 11], size)

    return Case(
        nets.mlp((64, 128, 12)), x, y, loss, lambda o, t: accuracy(o[:, :10], t), optimizer=adam(3e-3)
    )  # fmt: skip


@well
def policy_gradient() -> Case:
    """A bandit: the loss is -log π(a) (r - b), of either sign and no measure of progress."""
    x, y = data.digits()
    torch.manual_seed(0)
    baseline = [0.1]

    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        policy = torch.distributions.Categorical(logits=out)
        action = policy.sample()
        reward = (action == y).float()
        advantage = reward - baseline[0]
        baseline[0] = 0.95 * baseline[0] + 0.05 * float(reward.mean())
        return -(policy.log_prob(action) * advantage).mean()

    return Case(nets.mlp((64, 64, 10)), x, y, loss, accuracy, 0.6, adam(5e-3), 600)


@well
def actor_critic_with_entropy() -> Case:
    x, y = data.digits()

    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        policy = torch.distributions.Categorical(logits=out[:, :10])
        action = policy.sample()
        reward, value = 10 * (action == y).float(), out[:, 10]
        actor = -(policy.log_prob(action) * (reward - value.detach())).mean()
        return actor + 0.05 * MSE(value, reward) - 0.02 * policy.entropy().mean()

    return Case(nets.mlp((64, 64, 11)), x, y, loss, lambda o, t: accuracy(o[:, :10], t), 0.6, adam(3e-3), 600)


@well
def density_of_narrow_data() -> Case:
    """A log-likelihood that goes far below zero, as densities may."""
    x = torch.randn(1024, 8, generator=torch.Generator().manual_seed(0)) * 0.01 + 0.3

    class Gauss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.log_std = nn.Parameter(torch.zeros(8)), nn.Parameter(torch.zeros(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.distributions.Normal(self.mean, self.log_std.exp()).log_prob(x).sum(1)

    score = lambda out, _: float(out.mean())  # noqa: E731
    return Case(Gauss(), x, x, lambda out, _: -out.mean(), score, 10.0, adam(0.03), 500)


@well
def adversaries_in_balance() -> Case:
    """A generator behind a reversed gradient: the loss hovers about 2 log 2 while both learn."""

    class Reverse(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, g: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return -g

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.makes, self.judges = nets.mlp((4, 64, 2)), nets.mlp((2, 64, 1), nn.GELU)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = self.makes(torch.randn(len(x), 4))
            return torch.cat([self.judges(x), self.judges(Reverse.apply(made)), made], 1)

    def loss(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return BCE(out[:, 0], torch.ones(len(out))) + BCE(out[:, 1], torch.zeros(len(out)))

    x = torch.randn(1024, 2, generator=torch.Generator().manual_seed(0)) * 0.5 + torch.tensor([2.0, -1.0])
    score = lambda out, x: 1.0 - float((out[:, 2:].mean(0) - x.mean(0)).norm())  # noqa: E731
    return Case(Both(), x, x, loss, score, 0.5, _with(torch.optim.Adam, 1e-3, betas=(0.5, 0.99)), 1500)


@well
def mixed_pictures() -> Case:
    """Mixup: the loss ends far above zero, and that is the mixture's entropy."""
    x, y = data.pictures()
    g = torch.Generator().manual_seed(0)
    other, share = torch.randperm(len(x), generator=g), torch.rand(len(x), 1, generator=g)
    hot = F.one_hot(y, 10).float()
    mixed = share[:, :, None, None] * x + (1 - share[:, :, None, None]) * x[other]
    targets = share * hot + (1 - share) * hot[other]
    score = lambda o, t: float((o.argmax(1) == t.argmax(1)).float().mean())  # noqa: E731
    return Case(nets.he(nets.cnn()), mixed, targets, CE, score, 0.6, adam(3e-3), 400)


@well
def triplets() -> Case:
    """A margin loss that starts at its margin and ends with most terms at zero."""
    x, y = data.digits()

    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        z = F.normalize(out, dim=1)
        d = torch.cdist(z, z)
        same = y[:, None] == y
        near = d.masked_fill(same, 9.0).amin(1)
        far = d.masked_fill(~same, 0.0).amax(1)
        return F.relu(far - near + 0.3).mean()

    def score(out: torch.Tensor, y: torch.Tensor) -> float:
        z = F.normalize(out, dim=1)
        nearest = (z @ z.T - 2 * torch.eye(len(z))).argmax(1)
        return float((y[nearest] == y).float().mean())

    return Case(nets.mlp((64, 128, 16)), x, y, loss, score, 0.8, adam(1e-3), 300)


@well
def focal() -> Case:
    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        log_p = out.log_softmax(1).gather(1, y[:, None])[:, 0]
        return -((1 - log_p.exp()) ** 2 * log_p).mean()

    return Case(nets.he(nets.cnn()), *data.pictures(), loss, optimizer=adam(3e-3))


@well
def dropout_of_most() -> Case:
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.8), nn.Linear(256, 10))
    return Case(model, *data.digits(), CE, optimizer=adam(3e-3))


@well
def validation_that_settles() -> Case:
    x, y, held = _small(900)
    return Case(nets.mlp((64, 64, 10)), x, y, CE, optimizer=sgd(0.03), steps=400, held_out=held, trains=0.85)


@well
def few_data_well_regularized() -> Case:
    x, y, held = _small(200)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))
    optimizer = _with(torch.optim.AdamW, 2e-3, weight_decay=0.5)
    return Case(model, x, y, CE, optimizer=optimizer, steps=300, batch=32, held_out=held)


@well
def matrix_factors_from_small() -> Case:
    """A saddle at the start, which takes its time to leave."""
    x = torch.randn(1024, 16, generator=torch.Generator().manual_seed(0))
    y = x @ torch.randn(16, 8, generator=torch.Generator().manual_seed(1)) / 4
    model = nets.initialized(nets.mlp((16, 32, 8), nn.Identity), lambda w: nn.init.normal_(w, 0, 0.05), nn.init.zeros_)
    return Case(model, x, y, MSE, r2, 0.8, sgd(0.05), 300)


@well
def noisy_gradients() -> Case:
    """Langevin: noise on each gradient."""
    model = nets.mlp((64, 64, 64, 10))
    g = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.register_hook(lambda grad: grad + 0.01 * torch.randn(grad.shape, generator=g))
    return Case(model, *data.digits(), CE, optimizer=sgd(0.05))


@well
def harder_with_time() -> Case:
    """A curriculum: clean digits first, then ever noisier ones."""
    x, y = data.digits()
    n = 64 * 300
    x, y = x.repeat(11, 1)[:n], y.repeat(11)[:n]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) * torch.linspace(0, 0.8, n)[:, None]
    return Case(nets.mlp((64, 64, 64, 10)), x + noise, y, CE, optimizer=adam(2e-3), shuffled=False)


@well
def quantiles() -> Case:
    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        e = y - out
        return torch.maximum(0.9 * e, -0.1 * e).mean()

    score = lambda out, y: 1 - abs(float((y <= out).float().mean()) - 0.9) * 5  # noqa: E731
    return Case(nets.mlp((4, 64, 64, 1)), *data.smooth(), loss, score, 0.5, adam(3e-3), 400)


@well
def students_of_a_teacher() -> Case:
    """Distillation: the divergence starts small and gets smaller."""
    x, _ = data.digits()
    teacher = nets.mlp((64, 128, 10))
    Case(teacher, *data.digits(), CE, optimizer=adam(3e-3)).train()
    with torch.no_grad():
        soft = (teacher(x) / 4).softmax(1)
    loss = lambda out, t: F.kl_div((out / 4).log_softmax(1), t, reduction="batchmean")  # noqa: E731
    score = lambda o, t: float((o.argmax(1) == t.argmax(1)).float().mean())  # noqa: E731
    return Case(nets.mlp((64, 32, 10)), x, soft, loss, score, 0.8, adam(5e-3), 400)


@well
def layerwise_rates() -> Case:
    """A body that is fine-tuned a thousand times slower than its head."""
    body = nets.cnn()
    Case(body, *data.pictures(), CE, optimizer=adam(3e-3), steps=200).train()
    body.train()
    body[-1] = nn.Linear(256, 10)

    def groups(m: nn.Module) -> torch.optim.Optimizer:
        body, head = {"params": m[:-1].parameters(), "lr": 3e-6}, {"params": m[-1].parameters(), "lr": 3e-3}
        return torch.optim.Adam([body, head])

    return Case(body, *data.pictures(), CE, optimizer=groups)


@well
def second_order() -> Case:
    """Rprop on all data: sizes of steps of their own."""
    x, y = data.digits()
    return Case(
        nets.mlp((64, 32, 10)), x, y, CE, optimizer=_with(torch.optim.Rprop, 1e-3), batch=1797, steps=60, shuffled=False
    )


@well
def lion_of_signs() -> Case:
    """Each step has the same size: the momentum's sign."""

    class Signs(torch.optim.Optimizer):
        def __init__(self, params: object, lr: float) -> None:
            super().__init__(params, {"lr": lr})  # type: ignore[arg-type]

        @torch.no_grad()
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                for p in group["params"]:
                    m = self.state[p].setdefault("m", torch.zeros_like(p))
                    p.add_(torch.sign(0.9 * m + 0.1 * p.grad), alpha=-group["lr"])
                    m.lerp_(p.grad, 0.01)

    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=lambda m: Signs(m.parameters(), 1e-3))

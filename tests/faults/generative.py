"""Programs of an author who has not seen how the library decides: policies, generative models, sound, metrics."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from sklearn.datasets import make_moons
from torch import nn

from . import data, nets
from .program import Case, Optimizer, adam, fault, healthy, mended, r2, sgd

# --- data ---------------------------------------------------------------------------------------------------------


def tones(n: int = 768, length: int = 64, seed: int = 11) -> data.Pair:
    """Noisy tones of four pitches at any phase: (n, 1, length)."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (n,), generator=g)
    pitch = torch.tensor([2.0, 4.0, 7.0, 11.0])[y][:, None]
    phase = 2 * math.pi * torch.rand(n, 1, generator=g)
    t = torch.arange(length)[None] / length
    x = math.sqrt(2) * torch.sin(2 * math.pi * pitch * t + phase) + 0.5 * torch.randn(n, length, generator=g)
    return x[:, None] / x.std(), y


def series(n: int = 768, length: int = 32) -> data.Pair:
    """Two waves of each one's own phase; the next value is to be told: (n, length, 1)."""
    g = torch.Generator().manual_seed(12)
    a, b = 2 * math.pi * torch.rand(2, n, 1, generator=g)
    t = torch.arange(length + 1)[None]
    x = torch.sin(0.35 * t + a) + 0.6 * torch.sin(0.9 * t + b) + 0.05 * torch.randn(n, length + 1, generator=g)
    x = x / x.std()
    return x[:, :-1, None].contiguous(), x[:, -1:].contiguous()


def moons(n: int = 1024) -> torch.Tensor:
    x = torch.tensor(make_moons(n, noise=0.08, random_state=0)[0], dtype=torch.float32)
    return (x - x.mean(0)) / x.std(0)


def transitions(n: int = 1024) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """State (n, 4), action (n,) of three, reward (n,), next state (n, 4)."""
    g = torch.Generator().manual_seed(13)
    s, a = torch.randn(n, 4, generator=g), torch.randint(3, (n,), generator=g)
    push = (a - 1).float()
    turned = torch.stack([s[:, 1], -s[:, 0], torch.sin(2 * s[:, 3]) + push, s[:, 2] * push], 1)
    reward = torch.tanh(s[:, 0]) * push + 0.5 * torch.cos(2 * s[:, 1])
    return s, a, reward, s + 0.5 * turned


def steps_taken() -> data.Pair:
    """State and one-hot action in, change of the state out, standardized."""
    s, a, _, after = transitions()
    change = after - s
    return torch.cat([s, F.one_hot(a, 3).float()], 1), (change - change.mean(0)) / change.std(0)


def returns() -> data.Pair:
    """State and continuous action in, standardized return out."""
    x, y = data.smooth(1024, 6)
    return x, y


def two_halves() -> data.Pair:
    """The upper and the lower half of a digit beside each other: (1797, 2, 32)."""
    x, y = data.digits()
    return x.view(-1, 2, 32).clone(), y


# --- small parts --------------------------------------------------------------------------------------------------


def orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class Twins(nn.Module):
    """Two critics side by side: (n, 2)."""

    def __init__(self, make: Callable[[], nn.Module], *, copied: bool = False) -> None:
        super().__init__()
        self.q1 = make()
        self.q2 = copy.deepcopy(self.q1) if copied else make()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.q1(x), self.q2(x)], 1)


def averaging(lr: float, online: str, target: str, keep: float = 0.98) -> Optimizer:
    """Adam on what is trained; behind each step the target follows the online network slowly."""

    def make(model: nn.Module) -> torch.optim.Optimizer:
        class Following(torch.optim.Adam):
            @torch.no_grad()
            def step(self, closure: None = None) -> None:  # type: ignore[override]
                super().step(closure)
                for p, q in zip(
                    model.get_submodule(online).parameters(), model.get_submodule(target).parameters(), strict=True
                ):
                    q.lerp_(p, 1 - keep)

        return Following([p for p in model.parameters() if p.requires_grad], lr)

    return make


# --- flows --------------------------------------------------------------------------------------------------------


class Coupling(nn.Module):
    def __init__(self, flip: bool, width: int = 32, *, zero: str = "last") -> None:
        super().__init__()
        self.flip = flip
        self.net = nn.Sequential(
            nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)
        )
        for parameter in self.net.parameters() if zero == "all" else self.net[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor, logdet: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = x.chunk(2, 1)
        if self.flip:
            a, b = b, a
        log_scale, shift = self.net(a).chunk(2, 1)
        log_scale = torch.tanh(log_scale)
        b = b * log_scale.exp() + shift
        return torch.cat([b, a] if self.flip else [a, b], 1), logdet + log_scale


class RealNvp(nn.Module):
    """Gives the code with the log-determinant beside it."""

    def __init__(self, depth: int = 6, *, zero: str = "last") -> None:
        super().__init__()
        self.layers = nn.ModuleList([Coupling(i % 2 == 1, zero=zero) for i in range(depth)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logdet = torch.zeros_like(x[:, :1])
        for layer in self.layers:
            x, logdet = layer(x, logdet)
        return torch.cat([x, logdet], 1)


def nll(outputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    z, logdet = outputs[:, :2], outputs[:, 2]
    return (0.5 * z.square().sum(1) + math.log(2 * math.pi) - logdet).mean()


def flow_case(zero: str) -> Case:
    x = moons()
    return Case(RealNvp(zero=zero), x, x.clone(), nll, lambda o, t: -float(nll(o, t)), trains=-2.2,
                optimizer=adam(5e-3), steps=300, batch=128)  # fmt: skip


@healthy
def flow_of_couplings_that_start_as_identity() -> Case:
    return flow_case("last")


@fault(
    "constant-init no-gradient symmetric-units vanishing-forward vanishing-gradient rank-collapse",
    "layers.*",
    twin=flow_of_couplings_that_start_as_identity,
)
def flow_with_whole_couplings_zeroed() -> Case:
    # meant to zero the end of each coupling's network, and zeroes all of it
    return flow_case("all")


# --- critics, values ----------------------------------------------------------------------------------------------


def critic() -> nn.Module:
    return nn.Sequential(
        orthogonal(nn.Linear(6, 64), math.sqrt(2)), nn.ReLU(), orthogonal(nn.Linear(64, 64), math.sqrt(2)), nn.ReLU(),
        orthogonal(nn.Linear(64, 1), 1.0),
    )  # fmt: skip


def both(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(outputs[:, :1], targets) + F.mse_loss(outputs[:, 1:], targets)


def first_r2(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return r2(outputs[:, :1], targets)


def critics_case(model: nn.Module) -> Case:
    x, y = returns()
    return Case(model, x, y, both, first_r2, trains=0.75, optimizer=adam(3e-3), steps=400)


@healthy
def twin_critics() -> Case:
    return critics_case(Twins(critic))


@fault("duplicated-draws symmetric-units", "q1* q2*", twin=twin_critics)
def twin_critics_by_deepcopy() -> Case:
    return critics_case(Twins(critic, copied=True))


@fault("wrong-prior", "q1.4* q2.4* q1 q2", twin=twin_critics)
def critics_with_bias_of_raw_return() -> Case:
    # the returns were standardized later on; the bias still is their mean of old
    model = Twins(critic)
    for q in (model.q1, model.q2):
        nn.init.constant_(q[-1].bias, 340.0)
    return critics_case(model)


def _no_bias(case: Case, code: str) -> bool:
    for q in (case.model.q1, case.model.q2):
        nn.init.zeros_(q[-1].bias)
    return True


critics_with_bias_of_raw_return = mended(critics_with_bias_of_raw_return, _no_bias)


class TargetedQ(nn.Module):
    """Values of the three actions now, and of a slow copy's best action afterwards: (n, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.online = nets.mlp([4, 64, 64, 3])
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            best = self.target(x[:, 4:]).max(1, keepdim=True).values
        return torch.cat([self.online(x[:, :4]), best], 1)


def td_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    action, reward = targets[:, 0].long(), targets[:, 1]
    return F.smooth_l1_loss(outputs[:, :3].gather(1, action[:, None])[:, 0], reward + 0.6 * outputs[:, 3])


def explained(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    q = outputs[:, :3].gather(1, targets[:, :1].long())
    return r2(q, targets[:, 1:] + 0.6 * outputs[:, 3:])


@healthy
def q_network_with_slow_target() -> Case:
    s, a, r, after = transitions()
    return Case(TargetedQ(), torch.cat([s, after], 1), torch.stack([a.float(), r], 1), td_loss, explained, trains=0.7,
                optimizer=averaging(2e-3, "online", "target"), steps=500)  # fmt: skip


# --- policies -----------------------------------------------------------------------------------------------------


class GaussianPolicy(nn.Module):
    """Mean of two actions, from a state, and a log-deviation that is free of it."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            orthogonal(nn.Linear(4, 64), math.sqrt(2)), nn.Tanh(), orthogonal(nn.Linear(64, 64), math.sqrt(2)),
            nn.Tanh(), orthogonal(nn.Linear(64, 2), 0.01),
        )  # fmt: skip
        self.log_std = nn.Parameter(torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = self.mean(x)
        return torch.cat([mean, self.log_std.expand_as(mean)], 1)


def log_prob(outputs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    mean, log_std = outputs.chunk(2, 1)
    return (-0.5 * ((actions - mean) / log_std.exp()).square() - log_std - 0.5 * math.log(2 * math.pi)).sum(1)


def cloning_case(sign: float) -> Case:
    s, _, _, _ = transitions()
    noise = 0.1 * torch.randn(len(s), 2, generator=torch.Generator().manual_seed(14))
    expert = torch.stack([torch.sin(s[:, 0] + s[:, 1]), torch.tanh(2 * s[:, 2] - s[:, 3])], 1) + noise
    return Case(GaussianPolicy(), s, expert, lambda o, a: sign * log_prob(o, a).mean(),
                lambda o, a: r2(o[:, :2], a), trains=0.7, optimizer=adam(2e-3), steps=400)  # fmt: skip


@healthy
def cloned_gaussian_policy() -> Case:
    return cloning_case(-1.0)


@fault("flipped-loss", twin=cloned_gaussian_policy)
def cloned_policy_without_the_minus() -> Case:
    return cloning_case(1.0)


def _minus(case: Case, code: str) -> bool:
    case.loss_fn = lambda o, a: -log_prob(o, a).mean()
    return True


cloned_policy_without_the_minus = mended(cloned_policy_without_the_minus, _minus)


class Teacher(nn.Module):
    def __init__(self, last: nn.Module | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 64), nn.ELU(), nn.Linear(64, 64), nn.ELU())
        self.logits = nn.Linear(64, 5)
        self.last = last if last is not None else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.logits(self.body(x)))


def distilling_case(last: nn.Module | None) -> Case:
    s, _, _, _ = transitions()
    logits = torch.stack([2 * s[:, 0], s[:, 1] * s[:, 2], 2 * torch.sin(2 * s[:, 3]), -s[:, 0], s[:, 2]], 1)
    return Case(Teacher(last), s, (2 * logits).softmax(1), lambda o, p: F.kl_div(o, p, reduction="batchmean"),
                lambda o, p: float((o.argmax(1) == p.argmax(1)).float().mean()), trains=0.85, optimizer=sgd(0.05),
                steps=500)  # fmt: skip


@healthy
def distilled_policy() -> Case:
    return distilling_case(nn.LogSoftmax(1))


@fault("missing-softmax", twin=distilled_policy)
def distilled_policy_of_raw_logits() -> Case:
    return distilling_case(None)


def _log_softmax(case: Case, code: str) -> bool:
    case.model.last = nn.LogSoftmax(1)
    return True


distilled_policy_of_raw_logits = mended(distilled_policy_of_raw_logits, _log_softmax)


class ActorCritic(nn.Module):
    """Ten logits and a value."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(orthogonal(nn.Linear(64, 64), math.sqrt(2)), nn.Tanh())
        self.policy, self.value = orthogonal(nn.Linear(64, 10), 0.01), orthogonal(nn.Linear(64, 1), 1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.trunk(x)
        return torch.cat([self.policy(h), self.value(h)], 1)


def actor_critic_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The logged action was drawn evenly; its reward is whether it names the digit, less the mean."""
    logp, value = outputs[:, :10].log_softmax(1), outputs[:, 10]
    action, reward = targets[:, 0], targets[:, 1].float()
    advantage = (reward - value).detach()
    weight = (10 * logp.detach().gather(1, action[:, None])[:, 0].exp()).clamp(max=5.0)
    chosen = logp.gather(1, action[:, None])[:, 0]
    entropy = -(logp.exp() * logp).sum(1)
    return (-weight * advantage * chosen + 0.5 * (reward - value).square() - 0.003 * entropy).mean()


@healthy
def actor_critic_from_logged_bandit() -> Case:
    x, y = data.digits()
    x, y = x.repeat(4, 1), y.repeat(4)
    action = torch.randint(10, (len(y),), generator=torch.Generator().manual_seed(15))
    targets = torch.stack([action, (action == y).long(), y], 1)
    return Case(ActorCritic(), x, targets, actor_critic_loss,
                lambda o, t: float((o[:, :10].argmax(1) == t[:, 2]).float().mean()), trains=0.8, optimizer=adam(3e-3),
                steps=500, batch=128)  # fmt: skip


def reward_of(state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """A known, smooth reward of at most five."""
    best = 0.8 * torch.stack([torch.sin(state[:, 0] + state[:, 1]), torch.tanh(state[:, 2])], 1)
    return 5 - 4 * (action - best).square().sum(1)


def ddpg_actor() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 2), nn.Tanh())
    nn.init.uniform_(model[4].weight, -3e-3, 3e-3)
    nn.init.uniform_(model[4].bias, -3e-3, 3e-3)
    return model


@healthy
def actor_by_analytic_reward() -> Case:
    s, _, _, _ = transitions()
    return Case(ddpg_actor(), s, s.clone(), lambda a, s: -reward_of(s, a).mean(),
                lambda a, s: float(reward_of(s, a).mean()) / 5, trains=0.95, optimizer=adam(3e-3),
                steps=400)  # fmt: skip


class Distilled(nn.Module):
    """Random network distillation: what a fixed random network says is to be foretold; (n, 2, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.target = nn.Sequential(
            orthogonal(nn.Linear(4, 32), math.sqrt(2)), nn.LeakyReLU(), orthogonal(nn.Linear(32, 16), math.sqrt(2))
        ).requires_grad_(False)
        self.predictor = nn.Sequential(
            orthogonal(nn.Linear(4, 64), math.sqrt(2)), nn.ReLU(), orthogonal(nn.Linear(64, 64), math.sqrt(2)),
            nn.ReLU(), orthogonal(nn.Linear(64, 16), math.sqrt(2)),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = self.target(x)
        return torch.stack([self.predictor(x), wanted], 1)


@healthy
def novelty_by_random_network() -> Case:
    s, _, _, _ = transitions()
    return Case(Distilled(), s, s.clone(), lambda o, _: F.mse_loss(o[:, 0], o[:, 1]),
                lambda o, _: r2(o[:, 0], o[:, 1]), trains=0.9, optimizer=adam(1e-3), steps=400)  # fmt: skip


# --- world models -------------------------------------------------------------------------------------------------


def world_model(last: nn.Module | None = None) -> nn.Sequential:
    return nets.mlp([7, 64, 64, 4], nn.SiLU, last=() if last is None else [last])


def world_case(model: nn.Module) -> Case:
    x, y = steps_taken()
    return Case(model, x, y, F.mse_loss, r2, trains=0.8, optimizer=adam(3e-3), steps=500)


@healthy
def world_model_of_changes() -> Case:
    return world_case(world_model())


@fault("unreachable-targets", twin=world_model_of_changes)
def world_model_that_ends_in_sigmoid() -> Case:
    return world_case(world_model(nn.Sigmoid()))


def _open_end(case: Case, code: str) -> bool:
    case.model[-1] = nn.Identity()
    return True


world_model_that_ends_in_sigmoid = mended(world_model_that_ends_in_sigmoid, _open_end)

BINS = torch.linspace(-6, 6, 41)


def symlog(x: torch.Tensor) -> torch.Tensor:
    return x.sign() * x.abs().log1p()


def two_hot(y: torch.Tensor) -> torch.Tensor:
    place = ((symlog(y).clamp(-6, 6) + 6) / 12 * 40)[:, 0]
    low = place.floor().long().clamp(0, 39)
    share = place - low
    return F.one_hot(low, 41) * (1 - share)[:, None] + F.one_hot(low + 1, 41) * share[:, None]


@healthy
def reward_head_of_two_hot_bins() -> Case:
    # DreamerV3: rewards of any size in symlog bins, the head at zero
    x, y = data.smooth()
    model = nn.Sequential(nn.Linear(4, 64), nn.LayerNorm(64), nn.SiLU(), nn.Linear(64, 64), nn.LayerNorm(64), nn.SiLU(),
                          nn.Linear(64, 41))  # fmt: skip
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    return Case(model, x, 60 * y, lambda o, t: -(two_hot(t) * o.log_softmax(1)).sum(1).mean(),
                lambda o, t: r2(o.softmax(1) @ BINS[:, None], symlog(t)), trains=0.7, optimizer=adam(3e-3),
                steps=500)  # fmt: skip


# --- codes, autoencoders, diffusion, GAN pieces ---------------------------------------------------------------------


class Quantized(nn.Module):
    """A VQ-VAE with four codes for a digit: rebuilt (64), then encoded (32) and quantized (32)."""

    def __init__(self, *, straight: bool = True) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
        self.book = nn.Embedding(32, 8)
        nn.init.uniform_(self.book.weight, -1 / 32, 1 / 32)
        self.decoder = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64))
        self.straight = straight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.encoder(x)
        parts = z.view(-1, 4, 8)
        nearest = torch.cdist(parts.detach().reshape(-1, 8), self.book.weight.detach()).argmin(1)
        q = self.book(nearest).view(-1, 32)
        passed = z + (q - z).detach() if self.straight else q
        return torch.cat([self.decoder(passed), z, q], 1)


def vq_loss(outputs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    rebuilt, z, q = outputs.split([64, 32, 32], 1)
    return F.mse_loss(rebuilt, x) + F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())


def vq_loss_without_commitment(outputs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    rebuilt, z, q = outputs.split([64, 32, 32], 1)
    return F.mse_loss(rebuilt, x) + F.mse_loss(q, z.detach())


def vq_case(model: nn.Module, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Case:
    x, _ = data.digits()
    return Case(model, x, x.clone(), loss, lambda o, x: r2(o[:, :64], x), trains=0.6, optimizer=adam(2e-3), steps=600)


@healthy
def codebook_with_straight_through() -> Case:
    return vq_case(Quantized(), vq_loss)


@fault("no-gradient", "encoder*", twin=codebook_with_straight_through)
def codebook_without_straight_through() -> Case:
    return vq_case(Quantized(straight=False), vq_loss_without_commitment)


def _straight(case: Case, code: str) -> bool:
    case.model.straight = True
    case.loss_fn = vq_loss
    return True


codebook_without_straight_through = mended(codebook_without_straight_through, _straight)


class TiedAutoencoder(nn.Module):
    """The decoder's matrix is the encoder's, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(24, 64) / 8)
        self.code_bias, self.out_bias = nn.Parameter(torch.zeros(24)), nn.Parameter(torch.zeros(64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(F.linear(x, self.weight, self.code_bias), self.weight.t(), self.out_bias)


class TiedLanguage(nn.Module):
    """A recurrent model of sequences of codes (a VQ prior), whose table is its head too."""

    def __init__(self, *, tied: bool = True) -> None:
        super().__init__()
        self.table = nn.Embedding(24, 32)
        nn.init.normal_(self.table.weight, 0.0, 0.1)
        self.rnn, self.head = nn.GRU(32, 32, batch_first=True), nn.Linear(32, 24)
        if tied:
            self.head.weight = self.table.weight
        else:
            self.head.weight.data = self.table.weight.data.clone()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.table(ids))[0])


def prior_case(tied: bool) -> Case:
    x, y = data.chain()
    return Case(TiedLanguage(tied=tied), x, y, lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten()),
                lambda o, y: float((o.argmax(-1) == y).float().mean()), trains=0.7, optimizer=adam(1e-2),
                steps=250)  # fmt: skip


@healthy
def prior_over_codes_with_tied_table() -> Case:
    return prior_case(True)


@fault("untied-weights duplicated-draws", "table* head*", twin=prior_over_codes_with_tied_table)
def prior_tied_by_a_copy_of_the_data() -> Case:
    return prior_case(False)


def _tie(case: Case, code: str) -> bool:
    case.model.head.weight = case.model.table.weight
    return True


prior_tied_by_a_copy_of_the_data = mended(prior_tied_by_a_copy_of_the_data, _tie)


@healthy
def autoencoder_of_one_matrix() -> Case:
    x, _ = data.digits()
    return Case(TiedAutoencoder(), x, x.clone(), F.mse_loss, r2, trains=0.75, optimizer=adam(3e-3), steps=400)


class BernoulliVae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.Softplus())
        self.code = nn.Linear(64, 16)
        self.decoder = nn.Sequential(nn.Linear(8, 64), nn.Softplus(), nn.Linear(64, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, logvar = self.code(self.body(x)).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (0.5 * logvar).exp() if self.training else mean
        return torch.cat([self.decoder(z), mean, logvar], 1)


def elbo(outputs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    logits, mean, logvar = outputs.split([64, 8, 8], 1)
    rebuilt = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    divergence = -0.5 * (1 + logvar - mean.square() - logvar.exp()).sum(1)
    return (rebuilt + divergence).mean()


@healthy
def bernoulli_vae_in_nats() -> Case:
    # the sum over pixels, as the evidence bound has it, and the mean over samples
    x = data.pixels()[0] / 255
    return Case(BernoulliVae(), x, x.clone(), elbo, lambda o, x: r2(o[:, :64].sigmoid(), x), trains=0.42,
                optimizer=adam(3e-3), steps=600, batch=128)  # fmt: skip


class Modulated(nn.Module):
    """A residual block whose shift, scale and gate come of the time, and are zero at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.net = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.modulation = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        shift, scale, gate = self.modulation(t).chunk(3, 1)
        return x + gate * self.net(self.norm(x) * (1 + scale) + shift)


class Denoiser(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.into = nn.Linear(2, width)
        self.time = nn.Sequential(nn.Linear(16, width), nn.SiLU())
        self.blocks = nn.ModuleList([Modulated(width) for _ in range(3)])
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angle = x[:, 2:] * (2 ** torch.arange(8)) * math.pi / 2
        t = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        h = self.into(x[:, :2])
        for block in self.blocks:
            h = block(h, t)
        return self.out(self.norm(h))


def noised(n: int = 4096) -> data.Pair:
    """Noised points with their time beside them, and the noise."""
    g = torch.Generator().manual_seed(17)
    x = moons().repeat(4, 1)
    t, noise = 0.05 + 0.95 * torch.rand(n, 1, generator=g), torch.randn(n, 2, generator=g)
    return torch.cat([(math.pi / 2 * t).cos() * x + (math.pi / 2 * t).sin() * noise, t], 1), noise


@healthy
def denoiser_that_starts_at_zero() -> Case:
    x, y = noised()
    return Case(Denoiser(), x, y, F.mse_loss, r2, trains=0.5, optimizer=adam(2e-3), steps=400, batch=128)


def energy_distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    def between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return ((a[:, None] - b[None]).square().sum(-1) + 1e-6).sqrt().mean()

    return 2 * between(x, y) - between(x, x) - between(y, y)


@healthy
def generator_by_energy_distance() -> Case:
    # noise and data are no pairs: the loss compares their clouds
    y = moons()
    z = torch.randn(1024, 4, generator=torch.Generator().manual_seed(18))
    return Case(nets.mlp([4, 64, 64, 2], nn.LeakyReLU), z, y, energy_distance,
                lambda o, y: 1 - float(energy_distance(o, y)), trains=0.98, optimizer=adam(3e-3), steps=400,
                batch=128)  # fmt: skip


@healthy
def hinge_critic_of_bounded_slope() -> Case:
    real = moons()
    fake = torch.randn(1024, 2, generator=torch.Generator().manual_seed(19)) * 0.3 + torch.tensor([1.5, 1.5])
    order = torch.randperm(2048, generator=torch.Generator().manual_seed(20))
    x = torch.cat([real, fake])[order]
    y = torch.cat([torch.ones(1024, 1), -torch.ones(1024, 1)])[order]
    norm = nn.utils.parametrizations.spectral_norm
    model = nn.Sequential(norm(nn.Linear(2, 64)), nn.LeakyReLU(0.2), norm(nn.Linear(64, 64)), nn.LeakyReLU(0.2),
                          norm(nn.Linear(64, 1)))  # fmt: skip
    return Case(model, x, y, lambda o, y: F.relu(1 - y * o).mean(), lambda o, y: float((o * y > 0).float().mean()),
                trains=0.93, optimizer=adam(3e-3), steps=300)  # fmt: skip


# --- sound and series ---------------------------------------------------------------------------------------------


class Separable(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, 5, padding=2, groups=channels)
        self.pointwise = nn.Conv1d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.pointwise(self.depthwise(x)))


class Listener(nn.Module):
    """A strided front over the waveform, separable convolutions, a mean over time."""

    def __init__(self, *, groups: bool = True, channels: int = 32) -> None:
        super().__init__()
        self.front = nn.Conv1d(1, channels, 9, stride=2, padding=4)
        self.blocks = nn.Sequential(*[Separable(channels) for _ in range(4)])
        self.head = nn.Linear(channels, 4)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                fan = module.in_channels * module.kernel_size[0] // (module.groups if groups else 1)
                gain = 1.0 if module.groups > 1 else 2.0
                nn.init.normal_(module.weight, 0.0, math.sqrt(gain / fan))
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(F.relu(self.front(x))).mean(-1))


def listening_case(model: nn.Module, scale: float = 1.0) -> Case:
    x, y = tones()
    return Case(model, x * scale, y, F.cross_entropy, trains=0.9, optimizer=sgd(0.03), steps=250)


@healthy
def separable_convolutions_over_sound() -> Case:
    return listening_case(Listener())


@fault("unnormalized-inputs", twin=separable_convolutions_over_sound)
def sound_as_sixteen_bit_integers() -> Case:
    return listening_case(Listener(), 9000.0)


def _to_unit(case: Case, code: str) -> bool:
    case.inputs = case.inputs / 9000
    return True


sound_as_sixteen_bit_integers = mended(sound_as_sixteen_bit_integers, _to_unit)


@fault("wrong-fan wrong-gain vanishing-forward vanishing-gradient", "blocks*", twin=separable_convolutions_over_sound)
def separable_convolutions_scaled_as_full_ones() -> Case:
    # the fan is in_channels × kernel, as if there were no groups
    return listening_case(Listener(groups=False))


class Dilated(nn.Module):
    """A causal residual block; the second norm's scale is zero, so that it starts as identity."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.pad = nn.ConstantPad1d((2 * dilation, 0), 0.0)
        self.conv1, self.norm1 = nn.Conv1d(channels, channels, 3, dilation=dilation), nn.BatchNorm1d(channels)
        self.conv2, self.norm2 = nn.Conv1d(channels, channels, 3, dilation=dilation), nn.BatchNorm1d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.norm1(self.conv1(self.pad(x))))
        return F.relu(x + self.norm2(self.conv2(self.pad(h))))


class Tcn(nn.Module):
    def __init__(self, *, zero: str = "norm2", channels: int = 24) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(1, channels, 3, padding=1), nn.BatchNorm1d(channels), nn.ReLU())
        self.blocks = nn.Sequential(*[Dilated(channels, 2**i) for i in range(3)])
        self.head = nn.Linear(channels, 4)
        for name, module in self.named_modules():
            if isinstance(module, nn.BatchNorm1d) and (zero == "all" or name.endswith(zero)):
                nn.init.zeros_(module.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean(-1))


def tcn_case(zero: str) -> Case:
    x, y = tones(512)
    return Case(Tcn(zero=zero), x, y, F.cross_entropy, trains=0.9, optimizer=sgd(0.05), steps=150, batch=48)


@healthy
def dilated_convolutions_that_start_as_identity() -> Case:
    return tcn_case("norm2")


@fault(
    "zero-norm-scale constant-init vanishing-forward rank-collapse no-gradient dead-units vanishing-gradient",
    "stem* blocks*",
    twin=dilated_convolutions_that_start_as_identity,
)
def dilated_convolutions_with_every_norm_zeroed() -> Case:
    # isinstance alone: the stem's norm and the first of each block are zeroed too
    return tcn_case("all")


class Reader(nn.Module):
    """Two LSTM layers over a series, read out at the end."""

    def __init__(self, features: int, outputs: int, *, width: int = 48) -> None:
        super().__init__()
        self.rnn = nn.LSTM(features, width, 2, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def forget_bias(model: Reader) -> Reader:
    for name, p in model.rnn.named_parameters():
        if "weight_hh" in name:
            for gate in p.data.chunk(4):
                nn.init.orthogonal_(gate)
        elif "weight_ih" in name:
            for gate in p.data.chunk(4):
                nn.init.xavier_uniform_(gate)
        else:
            nn.init.zeros_(p)
            if "bias_ih" in name:
                p.data.chunk(4)[1].fill_(1.0)
    return model


def lstm_case(model: nn.Module) -> Case:
    x, y = series()
    return Case(model, x, y, F.mse_loss, r2, trains=0.9, optimizer=sgd(0.1), steps=250, batch=64, clip=1.0)


@healthy
def lstm_of_orthogonal_gates() -> Case:
    return lstm_case(forget_bias(Reader(1, 1)))


class Handwritten(nn.Module):
    """A tanh recurrence from raw matrices, read out at every step; ``scaled`` is whether they are divided by √fan."""

    def __init__(self, width: int = 64, *, scaled: bool = True) -> None:
        super().__init__()
        self.into = nn.Parameter(torch.randn(1, width) * (0.5 if scaled else 1.0))
        self.between = nn.Parameter(torch.randn(width, width) / (math.sqrt(width) if scaled else 1.0))
        self.bias, self.head = nn.Parameter(torch.zeros(width)), nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), len(self.bias))
        for t in range(x.shape[1]):
            h = torch.tanh(x[:, t] @ self.into + h @ self.between + self.bias)
        return self.head(h)


def handwritten_case(scaled: bool) -> Case:
    x, y = series()
    return Case(Handwritten(scaled=scaled), x, y, F.mse_loss, r2, trains=0.9, optimizer=adam(3e-3), steps=300, clip=1.0)


@healthy
def handwritten_recurrence() -> Case:
    return handwritten_case(True)


@fault("saturation exploding-gradient wrong-gain exploding-forward", twin=handwritten_recurrence)
def handwritten_recurrence_of_unit_normals() -> Case:
    # torch.randn as it comes, with no division by the root of the width
    return handwritten_case(False)


class Irnn(nn.Module):
    """Le et al. 2015: rectified units, the identity between steps, small inputs' weights."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(4, width, nonlinearity="relu", batch_first=True), nn.Linear(width, 2)
        nn.init.eye_(self.rnn.weight_hh_l0)
        nn.init.normal_(self.rnn.weight_ih_l0, 0.0, 0.1)
        nn.init.zeros_(self.rnn.bias_ih_l0)
        nn.init.zeros_(self.rnn.bias_hh_l0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@healthy
def rectified_recurrence_of_identity() -> Case:
    x, y = data.sums()
    return Case(Irnn(), x, y, F.cross_entropy, trains=0.85, optimizer=adam(2e-3), steps=400, clip=1.0)


class Diagonal(nn.Module):
    """S4D's kernel: diagonal complex states of S4D-Lin, applied by FFT, with a skip from input to output."""

    def __init__(self, width: int, states: int = 8) -> None:
        super().__init__()
        self.log_step = nn.Parameter(torch.rand(width) * math.log(100) + math.log(1e-3))
        self.log_decay = nn.Parameter(torch.full((width, states), math.log(0.5)))
        self.frequency = nn.Parameter((math.pi * torch.arange(states)).float().repeat(width, 1))
        self.readout = nn.Parameter(torch.randn(width, states, 2) * math.sqrt(0.5))
        self.skip = nn.Parameter(torch.randn(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (n, width, length)
        length = x.shape[-1]
        step = self.log_step.exp()[:, None]
        a = torch.complex(-self.log_decay.exp(), self.frequency)
        c = torch.view_as_complex(self.readout) * (torch.exp(a * step) - 1) / a
        kernel = 2 * (c[..., None] * torch.exp((a * step)[..., None] * torch.arange(length))).sum(1).real
        spectrum = torch.fft.rfft(x, 2 * length) * torch.fft.rfft(kernel, 2 * length)
        return torch.fft.irfft(spectrum, 2 * length)[..., :length] + x * self.skip[:, None]


class StateSpace(nn.Module):
    def __init__(self, width: int = 16, depth: int = 2) -> None:
        super().__init__()
        self.into = nn.Linear(1, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(depth)])
        self.kernels = nn.ModuleList([Diagonal(width) for _ in range(depth)])
        self.mixers = nn.ModuleList([nn.Linear(width, 2 * width) for _ in range(depth)])
        self.head = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.into(x.transpose(1, 2))
        for norm, kernel, mixer in zip(self.norms, self.kernels, self.mixers, strict=True):
            y = F.gelu(kernel(norm(h).transpose(1, 2)).transpose(1, 2))
            h = h + F.glu(mixer(y))
        return self.head(h.mean(1))


@healthy
def diagonal_state_space() -> Case:
    x, y = tones(512)
    return Case(StateSpace(), x, y, F.cross_entropy, trains=0.9, optimizer=adam(1e-2), steps=200)


class Gated(nn.Module):
    """WaveNet's layer: tanh times sigmoid, a residual and a skip; the last layer has only the skip."""

    def __init__(self, channels: int, dilation: int, last: bool) -> None:
        super().__init__()
        self.pad = nn.ConstantPad1d((dilation, 0), 0.0)
        self.conv = nn.Conv1d(channels, 2 * channels, 2, dilation=dilation)
        self.skip = nn.Conv1d(channels, channels, 1)
        self.residual = None if last else nn.Conv1d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = self.conv(self.pad(x)).chunk(2, 1)
        h = a.tanh() * b.sigmoid()
        return x if self.residual is None else x + self.residual(h), self.skip(h)


class WaveNet(nn.Module):
    def __init__(self, channels: int = 24, levels: int = 16) -> None:
        super().__init__()
        self.table = nn.Embedding(levels, channels)
        self.layers = nn.ModuleList([Gated(channels, 2**i, i == 3) for i in range(4)])
        self.out1, self.out2 = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, levels, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids).transpose(1, 2)
        skips = torch.zeros_like(x)
        for layer in self.layers:
            x, skip = layer(x)
            skips = skips + skip
        return self.out2(F.relu(self.out1(F.relu(skips))))


@healthy
def wavenet_over_companded_sound() -> Case:
    x, _ = series(512)
    wave = (x[..., 0] / x.abs().max()).clamp(-1, 1)
    companded = wave.sign() * (1 + 15 * wave.abs()).log() / math.log(16)
    ids = ((companded + 1) / 2 * 15).round().long()
    return Case(WaveNet(), ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), F.cross_entropy,
                lambda o, y: float((o.argmax(1) == y).float().mean()), trains=0.5, optimizer=adam(5e-3), steps=200,
                batch=32)  # fmt: skip


class Pooled(nn.Module):
    """Attention among the steps of a series, then their mean."""

    def __init__(self, *, divided: bool = True, width: int = 32) -> None:
        super().__init__()
        self.into, self.norm = nn.Linear(4, width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.head = nn.Linear(width, 2)
        for layer in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.divided, self.root = divided, math.sqrt(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.into(x))
        logits = self.query(h) @ self.key(h).transpose(1, 2)
        logits = logits / self.root if self.divided else logits * self.root
        return self.head((logits.softmax(-1) @ self.value(h)).mean(1))


def pooled_case(divided: bool) -> Case:
    x, y = data.sums(2048, 24)
    return Case(Pooled(divided=divided), x, y, F.cross_entropy, trains=0.9, optimizer=adam(3e-3), steps=300)


@healthy
def attention_over_a_series() -> Case:
    return pooled_case(True)


@fault("attention-collapse", twin=attention_over_a_series)
def attention_times_the_root() -> Case:
    return pooled_case(False)


def _divide(case: Case, code: str) -> bool:
    case.model.divided = True
    return True


attention_times_the_root = mended(attention_times_the_root, _divide)


# --- contrast and metrics -----------------------------------------------------------------------------------------


def distances(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    return ((x[:, None] - x[None]).square().sum(-1) + epsilon).sqrt()


def hardest_triplets(epsilon: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Hermans et al. 2017: the farthest of one's class against the nearest of another."""

    def loss(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        d = distances(z, epsilon)
        same = y[:, None] == y[None]
        farthest = (d * same).amax(1)
        nearest = d.masked_fill(same, float("inf")).amin(1)
        return F.softplus(farthest - nearest).mean()

    return loss


def neighbour(z: torch.Tensor, y: torch.Tensor) -> float:
    """How often the nearest class mean is the right one."""
    means = torch.stack([z[y == c].mean(0) for c in range(10)])
    return float((torch.cdist(z, means).argmin(1) == y).float().mean())


def embedding_case(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Case:
    x, y = data.digits()
    return Case(nets.he(nets.mlp([64, 64, 16])), x, y, loss, neighbour, trains=0.95, optimizer=adam(2e-3), steps=200)


@healthy
def embedding_by_hardest_triplets() -> Case:
    return embedding_case(hardest_triplets(1e-8))


@fault("non-finite-gradients non-finite-values", twin=embedding_by_hardest_triplets)
def embedding_with_root_of_the_zero_diagonal() -> Case:
    return embedding_case(hardest_triplets(0.0))


def _epsilon(case: Case, code: str) -> bool:
    case.loss_fn = hardest_triplets(1e-8)
    return True


embedding_with_root_of_the_zero_diagonal = mended(embedding_with_root_of_the_zero_diagonal, _epsilon)


class Halves(nn.Module):
    """CLIP's form: two encoders, a learned inverse temperature; gives unit vectors (n, 33): the last is the log."""

    def __init__(self) -> None:
        super().__init__()
        self.upper, self.lower = nets.mlp([32, 64, 16]), nets.mlp([32, 64, 16])
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = F.normalize(self.upper(x[:, 0]), dim=1), F.normalize(self.lower(x[:, 1]), dim=1)
        return torch.cat([a, b, self.log_scale.expand(len(x), 1)], 1)


def clip_loss(outputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    a, b, log_scale = outputs.split([16, 16, 1], 1)
    logits = log_scale[0].clamp(max=math.log(100)).exp() * a @ b.t()
    own = torch.arange(len(logits))
    return 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own))


def matched(outputs: torch.Tensor, y: torch.Tensor) -> float:
    """How often the nearest lower half is one of the same digit."""
    a, b, _ = outputs.split([16, 16, 1], 1)
    return float((y[(a @ b.t()).argmax(1)] == y).float().mean())


@healthy
def halves_of_digits_matched() -> Case:
    x, y = two_halves()
    return Case(Halves(), x, y, clip_loss, matched, trains=0.75, optimizer=adam(3e-3), steps=300, batch=128)


class Cosines(nn.Module):
    """ArcFace's form: the cosine of unit features and unit class vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.PReLU(), nn.Linear(64, 16))
        self.classes = nn.Parameter(nn.init.xavier_uniform_(torch.empty(10, 16)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(F.normalize(self.body(x), dim=1), F.normalize(self.classes, dim=1))


def arc_loss(cosines: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    own = F.one_hot(y, 10).bool()
    angle = cosines.clamp(-1 + 1e-6, 1 - 1e-6).acos()
    return F.cross_entropy(16 * torch.where(own, (angle + 0.3).cos(), cosines), y)


@healthy
def angular_margin_over_cosines() -> Case:
    x, y = data.digits()
    return Case(Cosines(), x, y, arc_loss, trains=0.95, optimizer=sgd(0.05), steps=200)


class Byol(nn.Module):
    """An online encoder with a predictor, and the slow teacher that it follows: (n, 2, 2, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.online = nn.Sequential(nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 16))
        self.predictor = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 16))
        self.teacher = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.unbind(1)
        with torch.no_grad():
            wanted = torch.stack([self.teacher(b), self.teacher(a)], 1)
        told = torch.stack([self.predictor(self.online(a)), self.predictor(self.online(b))], 1)
        return torch.stack([F.normalize(told, dim=-1), F.normalize(wanted, dim=-1)], 1)


@healthy
def student_of_a_slow_teacher() -> Case:
    x, y = data.digits()
    g = torch.Generator().manual_seed(21)
    views = torch.stack([x * (torch.rand(x.shape, generator=g) > 0.3) for _ in range(2)], 1)
    return Case(Byol(), views, y, lambda o, _: 2 - 2 * (o[:, 0] * o[:, 1]).sum(-1).mean(),
                lambda o, y: neighbour(o[:, 0, 0], y), trains=0.7,
                optimizer=averaging(2e-3, "online", "teacher", 0.98), steps=400, batch=128)  # fmt: skip


# --- what only training shows -------------------------------------------------------------------------------------


@fault("update-too-small learning-rate-too-low loss-stuck", when="training", twin=diagonal_state_space)
def state_space_whose_warmup_counts_samples() -> Case:
    # the length of the warmup is in samples, a million, and it is stepped once a batch
    case = diagonal_state_space.build()
    case.schedule = lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, (i + 1) / 1e6))
    return case


def _no_schedule(case: Case, code: str) -> bool:
    case.schedule = None
    return True


state_space_whose_warmup_counts_samples = mended(state_space_whose_warmup_counts_samples, _no_schedule)


@fault(
    "learning-rate-too-high update-too-large dying-units loss-stuck trivial-plateau loss-oscillating gradient-spike "
    "vanished-gradients loss-rising loss-diverged exploded-gradients non-finite-values non-finite-gradients",
    when="training",
    twin=actor_by_analytic_reward,
)
def actor_at_a_hundred_times_the_rate() -> Case:
    case = actor_by_analytic_reward.build()
    case.optimizer = adam(0.3)
    return case


def _slower(case: Case, code: str) -> bool:
    case.optimizer = adam(3e-3)
    return True


actor_at_a_hundred_times_the_rate = mended(actor_at_a_hundred_times_the_rate, _slower)


@fault(
    "update-too-large learning-rate-too-high loss-oscillating loss-rising loss-diverged exploded-gradients "
    "gradient-spike loss-stuck trivial-plateau non-finite-values non-finite-gradients dying-units",
    when="training",
    twin=separable_convolutions_over_sound,
)
def sound_without_zero_grad() -> Case:
    case = separable_convolutions_over_sound.build()
    case.zeroed = False
    return case


def _zeroed(case: Case, code: str) -> bool:
    case.zeroed = True
    return True


sound_without_zero_grad = mended(sound_without_zero_grad, _zeroed)


@fault("over-fitting", when="training", twin=twin_critics)
def critics_of_few_noisy_returns() -> Case:
    case = twin_critics.build()
    noise = 0.6 * torch.randn(len(case.targets), 1, generator=torch.Generator().manual_seed(22))
    x, y = case.inputs, (case.targets + noise) / math.sqrt(1.36)
    case.inputs, case.targets, case.held_out = x[:64], y[:64], (x[768:], y[768:])
    case.batch, case.trains = 32, 0.4
    return case


def _more_returns_stopped_early(case: Case, code: str) -> bool:
    x, y = data.smooth(1024, 6)
    noise = 0.6 * torch.randn(len(y), 1, generator=torch.Generator().manual_seed(22))
    case.inputs, case.targets = x[:768], ((y + noise) / math.sqrt(1.36))[:768]
    case.batch, case.steps = 64, 120
    return True


critics_of_few_noisy_returns = mended(critics_of_few_noisy_returns, _more_returns_stopped_early)


@fault(
    "update-too-small learning-rate-too-low loss-stuck trivial-plateau",
    when="training",
    twin=lstm_of_orthogonal_gates,
)
def lstm_clipped_to_nothing() -> Case:
    # clip_grad_norm_ was given the learning rate's small number for the norm
    case = lstm_of_orthogonal_gates.build()
    case.clip = 1e-4
    return case


def _clip_at_one(case: Case, code: str) -> bool:
    case.clip = 1.0
    return True


lstm_clipped_to_nothing = mended(lstm_clipped_to_nothing, _clip_at_one)

"""Programs of an author who has not seen how the library decides: pictures and sound again."""

from __future__ import annotations

import copy
import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from . import data, nets
from .program import Case, adam, fault, healthy, mended, r2, sgd

# Data


@cache
def _sounds() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(11)
    n, t = 768, torch.arange(128) / 128
    y = torch.randint(4, (n,), generator=g)
    low, high = 5 + 5 * torch.rand(n, 1, generator=g), 20 + 8 * torch.rand(n, 1, generator=g)
    start = torch.where((y % 2 == 0)[:, None], low, high)
    end = torch.where(((y == 0) | (y == 3))[:, None], low, high)
    phase = 2 * math.pi * torch.rand(n, 1, generator=g)
    clean = torch.sin(phase + 2 * math.pi * (start * t + 0.5 * (end - start) * t.square()))
    clean = clean * (0.5 + 0.4 * torch.rand(n, 1, generator=g))
    noisy = clean + 0.2 * torch.randn(n, 128, generator=g)
    return noisy[:, None], clean[:, None], y


def sounds() -> data.Pair:
    noisy, _, y = _sounds()
    return noisy / noisy.std(), y.clone()


def magnitude(wave: torch.Tensor, size: int = 32, eps: float = 1e-7) -> torch.Tensor:
    z = torch.stft(wave, size, size // 4, window=torch.hann_window(size), return_complex=True)
    return torch.sqrt(z.real.square() + z.imag.square() + eps)


def spectra() -> data.Pair:
    x = torch.log(magnitude(_sounds()[0][:, 0]) + 1e-3)[:, None, :16, :16]
    return (x - x.mean()) / x.std(), _sounds()[2].clone()


def silhouettes() -> data.Pair:
    """Noisy pictures and the mask of the ink."""
    x, _ = data.pictures()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(12))
    return x + 0.3 * noise, (x > 0).float()


def blobs(n: int = 512) -> data.Pair:
    """Pictures of 12 × 12 with one ring each among noise, and where its middle is."""
    g = torch.Generator().manual_seed(13)
    x = 0.3 * torch.randn(n, 1, 12, 12, generator=g)
    y = torch.zeros(n, 1, 12, 12)
    for i, (r, c) in enumerate(torch.randint(1, 11, (n, 2), generator=g).tolist()):
        x[i, 0, r - 1 : r + 2, c - 1 : c + 2] += 2.0
        x[i, 0, r, c] -= 3.0
        y[i, 0, r, c] = 1.0
    return x, y


def noised(n: int = 2048) -> data.Pair:
    """Pictures with noise added in a channel, the time in another; the noise is the target."""
    g = torch.Generator().manual_seed(14)
    x = data.pictures()[0][torch.randint(1797, (n,), generator=g)]
    t, eps = torch.rand(n, 1, 1, 1, generator=g), torch.randn(n, 1, 8, 8, generator=g)
    noisy = torch.cos(t * math.pi / 2) * x + torch.sin(t * math.pi / 2) * eps
    return torch.cat([noisy, t.expand(-1, 1, 8, 8)], 1), eps


def views() -> data.Pair:
    """Two augmented views of each digit as channels."""
    x, y = data.pictures()
    g = torch.Generator().manual_seed(15)
    a = x * (0.8 + 0.4 * torch.rand(len(x), 1, 1, 1, generator=g)) + 0.3 * torch.randn(x.shape, generator=g)
    b = x * (0.8 + 0.4 * torch.rand(len(x), 1, 1, 1, generator=g)) + 0.3 * torch.randn(x.shape, generator=g)
    return torch.cat([a, b], 1), y


def photograph() -> data.Pair:
    """One picture of 32 × 32 by its coordinates."""
    line = torch.linspace(-1, 1, 32)
    xy = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    r = xy.norm(dim=1, keepdim=True)
    return xy, 0.5 + 0.4 * torch.sin(12 * r) * torch.cos(5 * xy[:, :1])


# Classifiers of sound


def wave_net() -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv1d(1, 16, 16, 4, 6), nn.ReLU(), nn.Conv1d(16, 24, 5, 2, 2), nn.ReLU(),
        nn.Conv1d(24, 24, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 8, 4),
    )  # fmt: skip
    nets.he(model[:-1])
    return model


@healthy
def strided_net_on_raw_waves() -> Case:
    return Case(wave_net(), *sounds(), F.cross_entropy, steps=200, trains=0.9)


def fix_pcm(case: Case, code: str) -> bool:
    if code != "unnormalized-inputs":
        return False
    case.inputs = (case.inputs - case.inputs.mean()) / case.inputs.std()
    return True


@fault("unnormalized-inputs", twin=strided_net_on_raw_waves)
def pcm_as_read_from_the_file() -> Case:
    x, y = sounds()
    return Case(wave_net(), (x * 6000).round(), y, F.cross_entropy, steps=200, trains=0.9)


pcm_as_read_from_the_file = mended(pcm_as_read_from_the_file, fix_pcm)


class FourierFront(nn.Module):
    """A spectrogram by convolutions whose kernels are sines and stay so."""

    def __init__(self) -> None:
        super().__init__()
        self.real, self.imag = (nn.Conv1d(1, 16, 32, 8, bias=False) for _ in range(2))
        angle = 2 * math.pi * torch.arange(1, 17)[:, None] * torch.arange(32) / 32
        with torch.no_grad():
            self.real.weight.copy_((torch.cos(angle) * torch.hann_window(32))[:, None])
            self.imag.weight.copy_((torch.sin(angle) * torch.hann_window(32))[:, None])
        for p in self.parameters():
            p.requires_grad = False
        self.bn = nn.BatchNorm1d(16)
        self.net = nn.Sequential(nn.Conv1d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv1d(32, 32, 3, 2, 1), nn.ReLU())
        self.out = nn.Linear(32 * 7, 4)

    def forward(self, x):
        power = self.real(x).square() + self.imag(x).square()
        return self.out(self.net(self.bn(10 * torch.log10(power.clamp(min=1e-10)))).flatten(1))


@healthy
def frozen_fourier_kernels_in_decibels() -> Case:
    return Case(FourierFront(), *sounds(), F.cross_entropy, optimizer=adam(2e-3), steps=150, trains=0.9)


class SincBank(nn.Module):
    """Band-pass kernels from two learned cut-offs each, in hertz of a rate of 128."""

    def __init__(self, count: int = 12, taps: int = 33) -> None:
        super().__init__()
        edges = torch.linspace(2, 40, count + 1)
        self.low, self.band = nn.Parameter(edges[:-1].clone()), nn.Parameter(edges.diff())
        self.register_buffer("n", (torch.arange(taps) - taps // 2) / 128)
        self.register_buffer("window", torch.hamming_window(taps))

    def forward(self, x):
        low = self.low.abs()[:, None]
        high = low + self.band.abs()[:, None]
        kernel = (2 * high * torch.sinc(2 * high * self.n) - 2 * low * torch.sinc(2 * low * self.n)) * self.window / 64
        return F.conv1d(x, kernel[:, None], padding=16)


@healthy
def learned_sinc_cutoffs_in_hertz() -> Case:
    model = nn.Sequential(
        SincBank(), nn.MaxPool1d(4), nn.BatchNorm1d(12), nn.LeakyReLU(0.2), nn.Conv1d(12, 24, 5, 2, 2),
        nn.BatchNorm1d(24), nn.LeakyReLU(0.2), nn.Conv1d(24, 24, 3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(),
        nn.Linear(24 * 8, 4),
    )  # fmt: skip
    return Case(model, *sounds(), F.cross_entropy, optimizer=adam(2e-3), steps=150, trains=0.9)


class Speaker(nn.Module):
    """An embedding on the sphere, compared by cosines with the classes'."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.Conv1d(16, 32, 3, padding=1)
        self.frames2 = nn.Conv1d(32, 32, 3, padding=2, dilation=2)
        self.embed = nn.Sequential(nn.Linear(64, 24), nn.BatchNorm1d(24))
        self.classes = nn.Parameter(torch.randn(4, 24))

    def forward(self, x):
        h = F.relu(self.frames2(F.relu(self.frames(x[:, 0]))))
        e = self.embed(torch.cat([h.mean(2), h.var(2).clamp(min=1e-5).sqrt()], 1))
        return F.linear(F.normalize(e), F.normalize(self.classes))


def margin_loss(cosines: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(12 * (cosines - 0.2 * F.one_hot(y, 4)), y)


@healthy
def cosine_speaker_classes_with_margin() -> Case:
    return Case(Speaker(), *spectra(), margin_loss, optimizer=adam(3e-3), steps=250, trains=0.8)


@fault("frozen", "frames frames.* frames2 frames2.*", twin=cosine_speaker_classes_with_margin)
def speaker_net_whose_checkpoint_was_not_loaded() -> Case:
    model = Speaker()
    for layer in (model.frames, model.frames2):
        layer.requires_grad_(False)
    return Case(model, *spectra(), margin_loss, optimizer=adam(3e-3), steps=250, trains=0.8)


def thaw(case: Case, code: str) -> bool:
    if code != "frozen":
        return False
    case.model.requires_grad_(True)
    return True


speaker_net_whose_checkpoint_was_not_loaded = mended(speaker_net_whose_checkpoint_was_not_loaded, thaw)


class Branches(nn.Module):
    def __init__(self, same: bool = False) -> None:
        super().__init__()
        first = self.branch()
        self.branches = nn.ModuleList([first] + [copy.deepcopy(first) if same else self.branch() for _ in range(3)])

    def branch(self) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(192, 4)
        )

    def forward(self, x):
        return sum(b(x) for b in self.branches) / len(self.branches)


@healthy
def ensemble_of_four_ears() -> Case:
    return Case(Branches(), *spectra(), F.cross_entropy, optimizer=sgd(0.1), steps=150, trains=0.85)


@fault("duplicated-draws symmetric-units", "branches branches.*", twin=ensemble_of_four_ears)
def ensemble_by_deepcopy() -> Case:
    return Case(Branches(same=True), *spectra(), F.cross_entropy, optimizer=sgd(0.1), steps=150, trains=0.85)


def draw_again(case: Case, code: str) -> bool:
    if code not in ("duplicated-draws", "symmetric-units"):
        return False
    for branch in case.model.branches[1:]:
        for m in branch:
            if hasattr(m, "reset_parameters"):
                m.reset_parameters()
    return True


ensemble_by_deepcopy = mended(ensemble_by_deepcopy, draw_again)


class DepthwiseRaw(nn.Module):
    """Depthwise kernels as raw parameters, He's scale by hand; no norms."""

    def __init__(self, width: int = 32, depth: int = 4, *, keras: bool = False) -> None:
        super().__init__()
        self.lift = nn.Conv2d(1, width, 3, 2, 1)
        self.kernels = nn.ParameterList()
        for _ in range(depth):
            shape = (width, 1, 3, 3)
            fan = math.prod(shape[:-1]) if keras else math.prod(shape[1:])
            self.kernels.append(nn.Parameter(torch.randn(shape) * math.sqrt(2 / fan)))
        self.mix = nn.Conv2d(width, width, 1)
        self.out = nn.Linear(width * 16, 4)
        nets.he(self)

    def forward(self, x):
        h = F.relu(self.lift(x))
        for k in self.kernels:
            h = F.relu(F.conv2d(h, k, padding=1, groups=len(k)))
        return self.out(F.avg_pool2d(F.relu(self.mix(h)), 2).flatten(1))


@healthy
def raw_depthwise_kernels() -> Case:
    return Case(DepthwiseRaw(), *spectra(), F.cross_entropy, optimizer=sgd(0.03), steps=150, trains=0.85)


@fault("wrong-fan vanishing-forward vanishing-gradient wrong-gain", "kernels kernels.*", twin=raw_depthwise_kernels)
def fan_of_the_keras_layout() -> Case:
    return Case(DepthwiseRaw(keras=True), *spectra(), F.cross_entropy, optimizer=sgd(0.03), steps=150, trains=0.85)


# Generators of sound


class Gated(nn.Module):
    """WaveNet: dilated causal convolutions behind gates; classes of amplitude for the next sample."""

    def __init__(self, width: int = 16, classes: int = 16) -> None:
        super().__init__()
        self.enter = nn.Conv1d(1, width, 1)
        self.dilated = nn.ModuleList([nn.Conv1d(width, 2 * width, 2, dilation=2**i) for i in range(5)])
        self.residual = nn.ModuleList([nn.Conv1d(width, width, 1) for _ in range(4)])
        self.skip = nn.ModuleList([nn.Conv1d(width, 32, 1) for _ in range(5)])
        self.leave = nn.Sequential(nn.ReLU(), nn.Conv1d(32, 32, 1), nn.ReLU(), nn.Conv1d(32, classes, 1))

    def forward(self, x):
        h, out = self.enter(x), 0
        for i, conv in enumerate(self.dilated):
            a, b = conv(F.pad(h, (2**i, 0))).chunk(2, 1)
            z = torch.tanh(a) * torch.sigmoid(b)
            out = out + self.skip[i](z)
            if i < 4:
                h = h + self.residual[i](z)
        return self.leave(out)


def next_samples() -> data.Pair:
    wave = _sounds()[1]
    law = torch.sign(wave) * torch.log1p(15 * wave.abs()) / math.log(16)
    return law[:, :, :64] / law.std(), ((law[:, 0, 1:65] + 1) / 2 * 15.999).long().clamp(0, 15)


@healthy
def gated_waves_in_mu_law() -> Case:
    return Case(Gated(), *next_samples(), F.cross_entropy, optimizer=adam(4e-3), steps=220, batch=32, trains=0.7)


@fault("saturation exploding-forward wrong-gain vanishing-gradient", "dilated dilated.*", twin=gated_waves_in_mu_law)
def gates_multiplied_by_the_root_of_the_fan() -> Case:
    model = Gated()
    for conv in model.dilated:  # multiplied by the root of the fan, which should divide
        nn.init.normal_(conv.weight, std=math.sqrt(conv.weight[0].numel()))
        nn.init.zeros_(conv.bias)
    return Case(model, *next_samples(), F.cross_entropy, optimizer=adam(4e-3), steps=220, batch=32, trains=0.7)


class Enhancer(nn.Module):
    """A gain of each sample from its surroundings and a smooth filter: silence stays silence."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(1, 16, 9, padding=4), nn.ReLU(), nn.Conv1d(16, 16, 9, padding=4), nn.ReLU(),
            nn.Conv1d(16, 1, 9, padding=4),
        )  # fmt: skip

    def forward(self, x):
        return x * (1 + torch.tanh(self.net(x)))


def padded() -> data.Pair:
    noisy, clean, _ = (a.clone() for a in _sounds())
    noisy[::2, :, 72:] = clean[::2, :, 72:] = 0.0
    return noisy, clean


def spectral_loss(eps: float):
    def loss(outputs, targets):
        return sum(
            F.l1_loss(magnitude(outputs[:, 0], size, eps), magnitude(targets[:, 0], size, eps)) for size in (16, 32)
        )

    return loss


@healthy
def enhancer_under_spectra_of_padded_clips() -> Case:
    return Case(Enhancer(), *padded(), spectral_loss(1e-6), r2, 0.8, adam(3e-3), steps=150, batch=32)


def with_eps(case: Case, code: str) -> bool:
    if code != "non-finite-gradients":
        return False
    case.loss_fn = spectral_loss(1e-6)
    return True


@fault("non-finite-gradients", twin=enhancer_under_spectra_of_padded_clips)
def root_of_silence() -> Case:
    return Case(Enhancer(), *padded(), spectral_loss(0.0), r2, 0.8, adam(3e-3), steps=150, batch=32)


root_of_silence = mended(root_of_silence, with_eps)


class Vocoder(nn.Module):
    """Frames to samples by transposed convolutions with weight norm, as HiFi-GAN's generator."""

    def __init__(self) -> None:
        super().__init__()
        self.pre = weight_norm(nn.Conv1d(16, 32, 5, padding=2))
        self.ups = nn.ModuleList([
            weight_norm(nn.ConvTranspose1d(32, 16, 8, 4, 2)), weight_norm(nn.ConvTranspose1d(16, 8, 4, 2, 1)),
        ])  # fmt: skip
        self.res = nn.ModuleList([weight_norm(nn.Conv1d(c, c, 3, padding=d, dilation=d)) for c, d in ((16, 1), (8, 3))])
        self.post = weight_norm(nn.Conv1d(8, 1, 7, padding=3))

    def forward(self, x):
        x = self.pre(x[:, 0])
        for up, res in zip(self.ups, self.res, strict=False):
            x = up(F.leaky_relu(x, 0.1))
            x = x + res(F.leaky_relu(x, 0.1))
        return torch.tanh(self.post(F.leaky_relu(x)))


def spectral_score(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return r2(magnitude(outputs[:, 0]).flatten(1), magnitude(targets[:, 0]).flatten(1))


@healthy
def vocoder_with_weight_norm() -> Case:
    x, _ = spectra()
    return Case(Vocoder(), x, _sounds()[1], spectral_loss(1e-5), spectral_score, 0.55, adam(5e-3), steps=250, batch=32)


# Classifiers of pictures


class ConvNext(nn.Module):
    def __init__(self, width: int = 24, depth: int = 2) -> None:
        super().__init__()
        self.stem, self.depth = nn.Conv2d(1, width, 2, 2), depth
        for i in range(depth):
            setattr(self, f"dw{i}", nn.Conv2d(width, width, 3, padding=1, groups=width))
            setattr(self, f"norm{i}", nn.LayerNorm(width))
            setattr(self, f"mlp{i}", nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)))
            setattr(self, f"gamma{i}", nn.Parameter(1e-6 * torch.ones(width)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)
        for m in self.modules():
            if isinstance(m, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(m.weight, std=0.02)
                nn.init.zeros_(m.bias)

    def forward(self, x):
        x = self.stem(x).permute(0, 2, 3, 1)
        for i in range(self.depth):
            h = getattr(self, f"dw{i}")(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            x = x + getattr(self, f"gamma{i}") * getattr(self, f"mlp{i}")(getattr(self, f"norm{i}")(h))
        return self.head(self.norm(x.mean((1, 2))))


@healthy
def convnext_with_tiny_layer_scale() -> Case:
    return Case(ConvNext(), *data.pictures(), F.cross_entropy, optimizer=adam(5e-3), steps=300)


class ZeroGamma(nn.Module):
    def __init__(self, width: int = 16, depth: int = 3, *, all_norms: bool = False) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.GroupNorm(4, width)
        self.blocks = nn.ModuleList([
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(4, width), nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(4, width),
            ) for _ in range(depth)
        ])  # fmt: skip
        self.fc = nn.Linear(4 * width, 10)
        if all_norms:
            for m in self.modules():
                if isinstance(m, nn.GroupNorm):
                    nn.init.zeros_(m.weight)
        else:
            for block in self.blocks:
                nn.init.zeros_(block[-1].weight)

    def forward(self, x):
        x = F.relu(self.stem_norm(self.stem(x)))
        for block in self.blocks:
            x = F.relu(x + block(x))
        return self.fc(F.adaptive_avg_pool2d(x, 2).flatten(1))


@healthy
def zero_gamma_last_in_the_branch() -> Case:
    return Case(ZeroGamma(), *data.pictures(), F.cross_entropy, optimizer=sgd(0.05), steps=150)


@fault(
    "zero-norm-scale dead-units rank-collapse vanishing-forward vanishing-gradient no-gradient",
    "stem stem.* stem_norm stem_norm.* blocks blocks.*",
    twin=zero_gamma_last_in_the_branch,
)
def zero_gamma_in_every_norm() -> Case:
    return Case(ZeroGamma(all_norms=True), *data.pictures(), F.cross_entropy, optimizer=sgd(0.05), steps=150)


def ones(case: Case, code: str) -> bool:
    if code != "zero-norm-scale":
        return False
    nn.init.ones_(case.model.stem_norm.weight)
    for block in case.model.blocks:
        nn.init.ones_(block[1].weight)
    return True


zero_gamma_in_every_norm = mended(zero_gamma_in_every_norm, ones)


class FromKeras(nn.Module):
    """Pictures with the channel last, Glorot's kernels, valid borders, probabilities out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3)
        self.dense1, self.dense2 = nn.Linear(128, 48), nn.Linear(48, 10)
        nets.glorot(self)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x.permute(0, 3, 1, 2)))))
        x = F.max_pool2d(x, 2).permute(0, 2, 3, 1).flatten(1)
        return torch.softmax(self.dense2(F.relu(self.dense1(x))), -1)


def categorical_crossentropy(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return -torch.log(p.gather(1, y[:, None]).clamp(1e-7, 1 - 1e-7)).mean()


@healthy
def keras_probabilities_channels_last() -> Case:
    x, y = data.pictures()
    x = x.permute(0, 2, 3, 1).contiguous()
    return Case(FromKeras(), x, y, categorical_crossentropy, optimizer=adam(2e-3), steps=200)


# Dense prediction


class Pyramid(nn.Module):
    """Two scales with lateral convolutions, and a mask out of their sum."""

    def __init__(self, *, listed: bool = False, sigmoid: bool = False) -> None:
        super().__init__()
        self.c1 = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU())
        self.c2 = nn.Sequential(nn.Conv2d(12, 24, 3, 2, 1), nn.ReLU())
        laterals = [nn.Conv2d(12, 12, 1), nn.Conv2d(24, 12, 1)]
        self.laterals = laterals if listed else nn.ModuleList(laterals)
        self.mask = nn.Conv2d(12, 1, 3, padding=1)
        self.act = nn.Sigmoid() if sigmoid else nn.Identity()

    def forward(self, x):
        a = self.c1(x)
        b = self.c2(a)
        p = self.laterals[0](a) + F.interpolate(self.laterals[1](b), scale_factor=2)
        return self.act(self.mask(F.relu(p)))


@healthy
def pyramid_of_two_scales() -> Case:
    return Case(
        Pyramid(), *silhouettes(), F.binary_cross_entropy_with_logits, optimizer=adam(3e-3), steps=150, trains=0.9
    )


@fault("unregistered-layer not-in-optimizer", twin=pyramid_of_two_scales)
def laterals_in_a_python_list() -> Case:
    return Case(
        Pyramid(listed=True), *silhouettes(), F.binary_cross_entropy_with_logits, optimizer=adam(3e-3), steps=150,
        trains=0.9,
    )  # fmt: skip


def register(case: Case, code: str) -> bool:
    if code not in ("unregistered-layer", "not-in-optimizer"):
        return False
    laterals = case.model.laterals
    del case.model.laterals
    case.model.laterals = nn.ModuleList(laterals)
    return True


laterals_in_a_python_list = mended(laterals_in_a_python_list, register)


@fault("double-softmax", twin=pyramid_of_two_scales)
def mask_through_two_sigmoids() -> Case:
    return Case(
        Pyramid(sigmoid=True), *silhouettes(), F.binary_cross_entropy_with_logits, optimizer=adam(3e-3), steps=150,
        trains=0.9,
    )  # fmt: skip


def one_sigmoid(case: Case, code: str) -> bool:
    if code != "double-softmax":
        return False
    case.model.act = nn.Identity()
    return True


mask_through_two_sigmoids = mended(mask_through_two_sigmoids, one_sigmoid)


def focal(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    p = torch.sigmoid(logits)
    right = torch.where(y > 0, p, 1 - p)
    alpha = torch.where(y > 0, 0.75, 0.25)
    ce = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    return (alpha * (1 - right).square() * ce).sum() / y.sum()


def found(logits: torch.Tensor, y: torch.Tensor) -> float:
    return float((logits.flatten(1).argmax(1) == y.flatten(1).argmax(1)).float().mean())


class Points(nn.Module):
    def __init__(self, bias: float) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
        )
        self.heat = nn.Conv2d(16, 1, 1)
        nn.init.normal_(self.heat.weight, std=0.01)
        nn.init.constant_(self.heat.bias, bias)

    def forward(self, x):
        return self.heat(self.trunk(x))


PRIOR = 0.01


@healthy
def heat_of_points_with_focal_prior() -> Case:
    return Case(Points(-math.log((1 - PRIOR) / PRIOR)), *blobs(), focal, found, 0.9, adam(3e-3), steps=100, batch=32)


@fault("wrong-prior", "heat heat.bias heat.weight", twin=heat_of_points_with_focal_prior)
def focal_prior_of_the_other_sign() -> Case:
    return Case(Points(-math.log(PRIOR / (1 - PRIOR))), *blobs(), focal, found, 0.9, adam(3e-3), steps=100, batch=32)


def right_prior(case: Case, code: str) -> bool:
    if code != "wrong-prior":
        return False
    nn.init.constant_(case.model.heat.bias, -math.log((1 - PRIOR) / PRIOR))
    return True


focal_prior_of_the_other_sign = mended(focal_prior_of_the_other_sign, right_prior)


class SuperResolution(nn.Module):
    """EDSR: many blocks without norms; the branches' scale is what keeps it calm."""

    def __init__(self, scale: float, depth: int = 16, width: int = 12, last: nn.Module | None = None) -> None:
        super().__init__()
        self.head, self.scale = nn.Conv2d(1, width, 3, padding=1), scale
        self.body = nn.ModuleList([
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(depth)
        ])  # fmt: skip
        self.tail = nn.Sequential(nn.Conv2d(width, 4, 3, padding=1), nn.PixelShuffle(2), last or nn.Identity())
        nets.he(self)
        nn.init.xavier_uniform_(self.tail[0].weight)

    def forward(self, x):
        x = self.head(x)
        for block in self.body:
            x = x + self.scale * block(x)
        return self.tail(x)


@healthy
def super_resolution_with_scaled_branches() -> Case:
    x, _ = data.pictures()
    return Case(SuperResolution(0.1), F.avg_pool2d(x, 2), x, F.l1_loss, r2, 0.5, adam(2e-3), steps=150, batch=32)


@fault(
    "residual-growth exploding-forward exploding-gradient large-head", "body body.* tail tail.*",
    twin=super_resolution_with_scaled_branches,
)  # fmt: skip
def super_resolution_without_the_scale() -> Case:
    x, _ = data.pictures()
    return Case(SuperResolution(1.0), F.avg_pool2d(x, 2), x, F.l1_loss, r2, 0.5, adam(2e-3), steps=150, batch=32)


def scaled_branches(case: Case, code: str) -> bool:
    if code not in ("residual-growth", "exploding-forward"):
        return False
    case.model.scale = 0.1
    return True


super_resolution_without_the_scale = mended(super_resolution_without_the_scale, scaled_branches)


@fault("unreachable-targets", twin=super_resolution_with_scaled_branches)
def sigmoid_over_standardized_pixels() -> Case:
    x, _ = data.pictures()
    model = SuperResolution(0.1, last=nn.Sigmoid())
    return Case(model, F.avg_pool2d(x, 2), x, F.l1_loss, r2, 0.5, adam(2e-3), steps=150, batch=32)


def no_sigmoid(case: Case, code: str) -> bool:
    if code != "unreachable-targets":
        return False
    case.model.tail[-1] = nn.Identity()
    return True


sigmoid_over_standardized_pixels = mended(sigmoid_over_standardized_pixels, no_sigmoid)


# Diffusion, codes, pre-training


class Denoise(nn.Module):
    """Predicts noise; each block's last and the output's convolution start at zero, as in guided diffusion."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 4 * width))
        self.enter = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.ModuleList()
        for _ in range(2):
            block = nn.Module()
            block.n1, block.n2 = nn.GroupNorm(4, width), nn.GroupNorm(4, width)
            block.c1, block.c2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
            nn.init.zeros_(block.c2.weight)
            nn.init.zeros_(block.c2.bias)
            self.blocks.append(block)
        self.norm, self.out = nn.GroupNorm(4, width), nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x):
        angle = 1000 * x[:, 1, 0, :1] * torch.exp(-math.log(10000) * torch.arange(8) / 8)
        film = self.time(torch.cat([angle.sin(), angle.cos()], 1))[:, :, None, None].chunk(4, 1)
        h = self.enter(x[:, :1])
        for i, b in enumerate(self.blocks):
            z = b.n2(b.c1(F.silu(b.n1(h)))) * (1 + film[2 * i]) + film[2 * i + 1]
            h = h + b.c2(F.silu(z))
        return self.out(F.silu(self.norm(h)))


@healthy
def diffusion_with_zero_convolutions() -> Case:
    return Case(Denoise(), *noised(), F.mse_loss, r2, 0.7, adam(3e-3), steps=250, batch=32)


@fault("large-head wrong-gain exploding-forward", "out out.weight out.bias", twin=diffusion_with_zero_convolutions)
def output_convolution_of_the_unit_normal() -> Case:
    model = Denoise()
    nn.init.normal_(model.out.weight)
    return Case(model, *noised(), F.mse_loss, r2, 0.7, adam(3e-3), steps=250, batch=32)


class Quantized(nn.Module):
    """VQ-VAE; gives the picture with the code's loss in a last column."""

    def __init__(self, codes: int = 32, width: int = 8, *, copies: bool = True) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 24, 4, 2, 1), nn.ReLU(), nn.Conv2d(24, width, 3, padding=1))
        self.codebook = nn.Embedding(codes, width)
        nn.init.uniform_(self.codebook.weight, -1 / codes, 1 / codes)
        self.decoder = nn.Sequential(nn.Conv2d(width, 24, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(24, 1, 4, 2, 1))
        self.copies = copies

    def forward(self, x):
        z = self.encoder(x).permute(0, 2, 3, 1)
        q = self.codebook(torch.cdist(z.reshape(-1, z.shape[-1]), self.codebook.weight).argmin(1)).view_as(z)
        if self.copies:
            loss = (q - z.detach()).square() + 0.25 * (z - q.detach()).square()
            q = z + (q - z).detach()
        else:
            loss = 1.25 * (q - z.detach()).square()
        return torch.cat([self.decoder(q.permute(0, 3, 1, 2)).flatten(1), loss.mean((1, 2, 3))[:, None]], 1)


def vq_loss(out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(out[:, :-1], x) + out[:, -1].mean()


def rebuilt(out: torch.Tensor, x: torch.Tensor) -> float:
    return r2(out[:, :64], x)


@healthy
def quantized_codes_straight_through() -> Case:
    x = data.pictures()[0]
    return Case(Quantized(), x, x.flatten(1), vq_loss, rebuilt, 0.68, adam(5e-3), steps=250)


@fault("no-gradient", "encoder encoder.*", twin=quantized_codes_straight_through)
def codes_without_the_straight_through() -> Case:
    x = data.pictures()[0]
    return Case(Quantized(copies=False), x, x.flatten(1), vq_loss, rebuilt, 0.68, adam(5e-3), steps=250)


def copy_gradients(case: Case, code: str) -> bool:
    if code != "no-gradient":
        return False
    case.model.copies = True
    return True


codes_without_the_straight_through = mended(codes_without_the_straight_through, copy_gradients)


class Siamese(nn.Module):
    """SimSiam: predictions of two views beside the other's projections, which give no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
            nn.Linear(256, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32, bias=False),
            nn.BatchNorm1d(32, affine=False),
        )  # fmt: skip
        self.predictor = nn.Sequential(nn.Linear(32, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 32))

    def forward(self, x):
        a, b = self.encoder(x[:, :1]), self.encoder(x[:, 1:])
        return torch.stack([self.predictor(a), self.predictor(b), b.detach(), a.detach()], 1)


def alike(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return -F.cosine_similarity(out[:, :2], out[:, 2:], dim=-1).mean()


def alike_but_spread(out: torch.Tensor, y: torch.Tensor) -> float:
    spread = F.normalize(out[:, 2], dim=-1).std(0).mean() * math.sqrt(out.shape[-1])
    return float(-alike(out, y)) if spread > 0.4 else 0.0


@healthy
def siamese_pair_with_stopped_gradient() -> Case:
    return Case(Siamese(), *views(), alike, alike_but_spread, 0.6, sgd(0.1), steps=200)


class Contrast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 64), nn.ReLU())
        self.project = nn.Linear(64, 24)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, x):
        a, b = (F.normalize(self.project(self.body(v))) for v in (x[:, :1], x[:, 1:]))
        return self.log_temperature.exp() * a @ b.T


def both_ways(logits: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


@healthy
def contrast_of_views_with_learned_temperature() -> Case:
    score = lambda logits, _: float((logits.argmax(1) == torch.arange(len(logits))).float().mean())  # noqa: E731
    return Case(Contrast(), *views(), both_ways, score, 0.6, adam(3e-3), steps=150)


class Masked(nn.Module):
    """MAE on patches of 2 × 2: six of sixteen are hidden; sine positions stay as they are."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed, self.mask = nn.Linear(4, width), nn.Parameter(torch.zeros(1, 1, width))
        angle = torch.arange(16)[:, None] * torch.exp(-math.log(100) * torch.arange(width // 2) / (width // 2))
        self.positions = nn.Parameter(torch.cat([angle.sin(), angle.cos()], 1)[None], requires_grad=False)
        self.blocks = nn.Sequential(*[nets.Block(width, 4, causal=False) for _ in range(2)])
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 4)
        nn.init.normal_(self.mask, std=0.02)

    def forward(self, x):
        h = self.embed(F.unfold(x, 2, stride=2).transpose(1, 2))
        hidden = torch.rand(h.shape[:2]).argsort(1)[..., None] < 6
        h = torch.where(hidden, self.mask, h) + self.positions
        return torch.cat([self.out(self.norm(self.blocks(h))), hidden.float()], -1)


def masked_loss(out: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    error = (out[..., :4] - patches).square().mean(-1)
    return (error * out[..., 4]).sum() / out[..., 4].sum()


@healthy
def masked_patches_with_fixed_positions() -> Case:
    x, _ = data.pictures()
    patches = F.unfold(x, 2, stride=2).transpose(1, 2).contiguous()
    score = lambda out, p: 1 - float(masked_loss(out, p) / (p - p.mean(0)).square().mean())  # noqa: E731
    return Case(Masked(), x, patches, masked_loss, score, 0.2, adam(4e-3), steps=300, batch=48)


# Only training shows these


@fault("learning-rate-too-low update-too-small loss-stuck", when="training", twin=diffusion_with_zero_convolutions)
def diffusion_warmed_up_by_epochs() -> Case:
    """A warmup of 5,000 epochs, where steps were meant, of 64 steps each."""
    return Case(
        Denoise(), *noised(), F.mse_loss, r2, 0.7, adam(3e-3), steps=250, batch=32,
        schedule=lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: min(1.0, (step + 1) / (5000 * 64))),
    )  # fmt: skip


@fault("learning-rate-too-low update-too-small loss-stuck", when="training", twin=zero_gamma_last_in_the_branch)
def clipped_to_a_millionth() -> Case:
    return Case(ZeroGamma(), *data.pictures(), F.cross_entropy, optimizer=sgd(0.05), steps=150, clip=1e-6)


@fault(
    "update-too-large learning-rate-too-high loss-oscillating loss-rising loss-diverged exploded-gradients "
    "gradient-spike non-finite-values non-finite-gradients dying-units loss-stuck trivial-plateau",
    when="training", twin=strided_net_on_raw_waves,
)  # fmt: skip
def waves_without_zero_grad() -> Case:
    return Case(wave_net(), *sounds(), F.cross_entropy, steps=200, trains=0.9, zeroed=False)


def no_schedule(case: Case, code: str) -> bool:
    case.schedule = case.clip = None
    return True


diffusion_warmed_up_by_epochs = mended(diffusion_warmed_up_by_epochs, no_schedule)
clipped_to_a_millionth = mended(clipped_to_a_millionth, no_schedule)


def zeroing(case: Case, code: str) -> bool:
    case.zeroed = True
    return True


waves_without_zero_grad = mended(waves_without_zero_grad, zeroing)


@fault(
    "learning-rate-too-high loss-diverged loss-oscillating loss-rising loss-stuck trivial-plateau update-too-large "
    "gradient-spike exploded-gradients dying-units non-finite-values non-finite-gradients vanished-gradients",
    when="training", twin=convnext_with_tiny_layer_scale,
)  # fmt: skip
def convnext_at_a_rate_of_one() -> Case:
    return Case(ConvNext(), *data.pictures(), F.cross_entropy, optimizer=adam(1.0), steps=150)


def calmer(case: Case, code: str) -> bool:
    case.optimizer = adam(5e-3)
    return True


convnext_at_a_rate_of_one = mended(convnext_at_a_rate_of_one, calmer)


@fault("over-fitting", when="training", twin=keras_probabilities_channels_last)
def forty_eight_pictures_by_heart() -> Case:
    """Forty-eight pictures, a third of their labels wrong, learned by heart."""
    x, y = data.pictures()
    x, few = x.permute(0, 2, 3, 1).contiguous(), y[:48].clone()
    few[::3] = (few[::3] + 3) % 10
    return Case(
        FromKeras(), x[:48], few, categorical_crossentropy, optimizer=adam(2e-3), steps=300, batch=32,
        held_out=(x[1000:], y[1000:]),
    )  # fmt: skip

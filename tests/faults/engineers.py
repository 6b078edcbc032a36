"""Programs of an author who has not seen how the library decides: everyday networks, ports, transfer."""

from __future__ import annotations

import copy
import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from . import data
from .program import Case, adam, fault, healthy, mended, r2, sgd, token_accuracy, token_loss

Pair = tuple[torch.Tensor, torch.Tensor]


# --- data


@cache
def _reviews() -> Pair:
    g = torch.Generator().manual_seed(21)
    n, length, words = 2048, 16, 40
    ids = torch.randint(1, words, (n, length), generator=g)
    lengths = torch.randint(1, length + 1, (n,), generator=g)
    ids[torch.arange(length)[None] >= lengths[:, None]] = 0
    good, bad = ((ids >= 1) & (ids < 14)).sum(1), ((ids >= 14) & (ids < 27)).sum(1)
    return ids, (good > bad).long()


def reviews(empty: bool = False) -> Pair:
    """Words by number, 0 the padding behind; the class is whether good words outnumber bad. Some may be empty."""
    ids, y = (t.clone() for t in _reviews())
    if empty:
        ids[3::50], y[3::50] = 0, 0
    return ids, y


@cache
def _sales() -> Pair:
    g = torch.Generator().manual_seed(22)
    n, past, ahead = 1024, 32, 8
    t = torch.arange(past + ahead)[None].float()
    phase = 2 * math.pi * torch.rand(n, 2, generator=g)
    level = torch.randn(n, 1, generator=g)
    slope = 0.02 * torch.randn(n, 1, generator=g)
    series = level + slope * t + torch.sin(2 * math.pi * t / 8 + phase[:, :1])
    series = series + 0.5 * torch.sin(2 * math.pi * t / 20 + phase[:, 1:]) + 0.1 * torch.randn(n, 40, generator=g)
    series = (series - series.mean()) / series.std()
    return series[:, :past].contiguous(), series[:, past:].contiguous()


def sales() -> Pair:
    """Windows of standardized series with a level, a slope and two seasons: 32 past, 8 ahead."""
    x, y = _sales()
    return x.clone(), y.clone()


@cache
def _table() -> Pair:
    g = torch.Generator().manual_seed(23)
    n = 2048
    numbers = torch.randn(n, 6, generator=g)
    kinds = torch.stack([torch.randint(k, (n,), generator=g) for k in (7, 12, 30)], 1)
    effects = [torch.randn(k, generator=g) for k in (7, 12, 30)]
    y = torch.sin(numbers[:, 0]) + 0.7 * numbers[:, 1] * numbers[:, 2] + 0.5 * numbers[:, 5]
    y = y + sum(e[kinds[:, i]] for i, e in enumerate(effects))
    y = (y - y.mean()) / y.std()
    return torch.cat([numbers, kinds.float()], 1), y[:, None]


def table(timestamp: bool = False) -> Pair:
    """Six numbers (the last the time of the sale), three categories; a standardized price."""
    x, y = (t.clone() for t in _table())
    if timestamp:
        x[:, 5] = 1.6e9 + 1e7 * x[:, 5]
    return x, y


@cache
def _ratings() -> Pair:
    g = torch.Generator().manual_seed(24)
    users, items = torch.randn(80, 4, generator=g), torch.randn(60, 4, generator=g)
    n = 4096
    pairs = torch.stack([torch.randint(80, (n,), generator=g), torch.randint(60, (n,), generator=g)], 1)
    y = (users[pairs[:, 0]] * items[pairs[:, 1]]).sum(1) + 0.5 * torch.randn(60, generator=g)[pairs[:, 1]]
    return pairs, (y / y.std())[:, None]


def rare() -> Pair:
    """Clicks: one to two in a hundred, by a rule over ten features."""
    g = torch.Generator().manual_seed(25)
    x = torch.randn(4096, 10, generator=g)
    logit = 1.5 * x[:, 0] + x[:, 1] * x[:, 2] + x[:, 3] - 6.2
    return x, (torch.rand(4096, generator=g) < logit.sigmoid()).float()[:, None]


# --- text: a transformer over padded reviews; some reviews are empty


class ReviewTransformer(nn.Module):
    """A small transformer; ``cls`` puts a token in front that is never masked."""

    def __init__(self, cls: bool, width: int = 32) -> None:
        super().__init__()
        self.cls = cls
        self.embed = nn.Embedding(42, width, padding_idx=0)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 17, width))
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
        self.head = nn.Linear(width, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if self.cls:
            ids = torch.cat([torch.full_like(ids[:, :1], 41), ids], 1)
        padding = ids == 0
        x = self.embed(ids) + self.positions[:, : ids.shape[1]]
        h = self.norm1(x)
        x = x + self.attention(h, h, h, key_padding_mask=padding)[0]
        x = self.norm3(x + self.mlp(self.norm2(x)))
        kept = (~padding).float()[..., None]
        return self.head((x * kept).sum(1) / kept.sum(1).clamp(min=1))


def _review_transformer(cls: bool) -> Case:
    x, y = reviews(empty=True)
    return Case(ReviewTransformer(cls), x, y, nn.CrossEntropyLoss(), trains=0.85, optimizer=adam(3e-3), steps=140)


@healthy
def padded_reviews_with_a_class_token() -> Case:
    return _review_transformer(True)


@fault("non-finite-values non-finite-gradients", "attention attention.*", twin=padded_reviews_with_a_class_token)
def build_empty_reviews_all_keys_masked() -> Case:
    """A review of padding only: every key is masked, and the softmax of minus infinities is NaN."""
    return _review_transformer(False)


def _show_class_token(case: Case, code: str) -> bool:
    case.model.cls = True
    return True


empty_reviews_all_keys_masked = mended(build_empty_reviews_all_keys_masked, _show_class_token)
del build_empty_reviews_all_keys_masked


# --- text: pooling by mean and standard deviation over words


class Statistics(nn.Module):
    """Mean and standard deviation over the words that are there."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        n = kept.sum(1)
        mean = (x * kept).sum(1) / n
        variance = ((x - mean[:, None]).square() * kept).sum(1) / n
        return torch.cat([mean, torch.sqrt(variance + self.eps)], 1)


class PooledGru(nn.Module):
    def __init__(self, eps: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(41, 16, padding_idx=0)
        self.gru = nn.GRU(16, 24, batch_first=True)
        self.pool = Statistics(eps)
        self.head = nn.Linear(48, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.gru(self.embed(ids))[0], (ids > 0).float()[..., None]))


def _pooled_gru(eps: float) -> Case:
    x, y = reviews()
    return Case(PooledGru(eps), x, y, nn.CrossEntropyLoss(), trains=0.82, optimizer=adam(5e-3), steps=250)


@healthy
def gru_pooled_by_mean_and_deviation() -> Case:
    return _pooled_gru(1e-5)


@fault("non-finite-gradients", "pool gru gru.* embed embed.*", twin=gru_pooled_by_mean_and_deviation)
def build_deviation_of_one_word() -> Case:
    """A review of one word has variance 0: √0 is finite, its slope is not."""
    return _pooled_gru(0.0)


def _add_eps(case: Case, code: str) -> bool:
    case.model.pool.eps = 1e-5
    return True


deviation_of_one_word = mended(build_deviation_of_one_word, _add_eps)
del build_deviation_of_one_word


# --- transfer: an adapter behind a frozen, trained backbone


@cache
def _backbone() -> dict[str, torch.Tensor]:
    """A small convolutional backbone, trained to tell odd from even digits."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        body = _bare_backbone()
        model = nn.Sequential(body, nn.Linear(128, 2))
        x, y = data.pictures()
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for i in range(100):
            chosen = torch.arange(i * 64, (i + 1) * 64) % len(x)
            optimizer.zero_grad()
            F.cross_entropy(model(x[chosen]), y[chosen] % 2).backward()
            optimizer.step()
        return {name: value.detach().clone() for name, value in body.state_dict().items()}


def _bare_backbone() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(),
    )  # fmt: skip


class Transfer(nn.Module):
    """A frozen backbone, a new adapter, a new head; ``within`` has the adapter inside the block without gradients."""

    def __init__(self, within: bool) -> None:
        super().__init__()
        self.within = within
        self.backbone = _bare_backbone()
        self.backbone.load_state_dict(_backbone())
        self.backbone.requires_grad_(False)
        self.adapter = nn.Sequential(nn.Linear(128, 32), nn.ReLU(), nn.LayerNorm(32))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            features = self.backbone(x)
            if self.within:
                features = self.adapter(features)
        return self.head(features if self.within else self.adapter(features))


def _transfer(within: bool) -> Case:
    x, y = data.pictures()
    return Case(Transfer(within), x, y, nn.CrossEntropyLoss(), trains=0.9, optimizer=adam(3e-3), steps=250)


@healthy
def adapter_behind_a_frozen_backbone() -> Case:
    return _transfer(False)


@fault("no-gradient", "adapter adapter.*", twin=adapter_behind_a_frozen_backbone)
def build_adapter_inside_no_grad() -> Case:
    return _transfer(True)


def _move_out(case: Case, code: str) -> bool:
    case.model.within = False
    return True


adapter_inside_no_grad = mended(build_adapter_inside_no_grad, _move_out)
del build_adapter_inside_no_grad


# --- text: word vectors from counts, frozen; a projection behind


@cache
def _word_vectors(width: int = 16) -> torch.Tensor:
    """The singular vectors of the log counts of neighbours, as vectors of words were made before word2vec."""
    ids, following = data.chain()
    counts = torch.zeros(24, 24)
    counts.index_put_((ids.flatten(), following.flatten()), torch.ones(ids.numel()), accumulate=True)
    u, s, _ = torch.linalg.svd((counts + 1).log() - (counts + 1).log().mean())
    vectors = u[:, :width] * s[:width].sqrt()
    return vectors / vectors.std()


class VectorLstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding.from_pretrained(_word_vectors().clone(), freeze=False)
        self.embed_proj = nn.Linear(16, 32)
        self.lstm = nn.LSTM(32, 32, batch_first=True)
        self.head = nn.Linear(32, 24)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(torch.tanh(self.embed_proj(self.embed(ids))))[0])


def _vector_lstm(pattern: str) -> Case:
    model = VectorLstm()
    for name, parameter in model.named_parameters():
        if pattern in name:
            parameter.requires_grad = False
    x, y = data.chain()
    return Case(model, x, y, token_loss, token_accuracy, 0.75, adam(1e-2), 200, 32)


@healthy
def frozen_word_vectors_of_counts() -> Case:
    return _vector_lstm("embed.")


@fault("frozen", "embed_proj embed_proj.*", twin=frozen_word_vectors_of_counts)
def build_freezing_by_too_short_a_name() -> Case:
    """`"embed" in name` was meant for the table of vectors, and freezes the new projection too."""
    return _vector_lstm("embed")


def _unfreeze(case: Case, code: str) -> bool:
    case.model.embed_proj.requires_grad_(True)
    return True


freezing_by_too_short_a_name = mended(build_freezing_by_too_short_a_name, _unfreeze)
del build_freezing_by_too_short_a_name


# --- tables: entity embeddings


class EntityNet(nn.Module):
    """Embeddings of three categories beside six numbers; ``listed`` keeps them in a Python list."""

    def __init__(self, listed: bool = False) -> None:
        super().__init__()
        tables = [nn.Embedding(k, min(8, (k + 1) // 2)) for k in (7, 12, 30)]
        for one in tables:
            nn.init.normal_(one.weight, 0.0, 0.05)
        self.embeddings = tables if listed else nn.ModuleList(tables)
        width = 6 + sum(t.embedding_dim for t in tables)
        self.body = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.out = nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        numbers, kinds = x[:, :6], x[:, 6:].long()
        found = [table(kinds[:, i]) for i, table in enumerate(self.embeddings)]
        return self.out(self.body(torch.cat([numbers, *found], 1)))


def _entities(listed: bool = False, timestamp: bool = False) -> Case:
    x, y = table(timestamp)
    return Case(EntityNet(listed), x, y, nn.MSELoss(), r2, 0.9, adam(5e-3), 300)


@healthy
def entity_embeddings_of_a_table() -> Case:
    return _entities()


@fault("unregistered-layer not-in-optimizer", twin=entity_embeddings_of_a_table)
def build_entity_embeddings_in_a_list() -> Case:
    return _entities(listed=True)


def _register(case: Case, code: str) -> bool:
    tables = list(case.model.embeddings)
    del case.model.embeddings
    case.model.embeddings = nn.ModuleList(tables)
    return True


entity_embeddings_in_a_list = mended(build_entity_embeddings_in_a_list, _register)
del build_entity_embeddings_in_a_list


@fault("unnormalized-inputs", twin=entity_embeddings_of_a_table)
def build_unix_time_as_a_column() -> Case:
    """Five columns are standardized; the time of the sale stayed in seconds since 1970."""
    return _entities(timestamp=True)


def _standardize(case: Case, code: str) -> bool:
    x = case.inputs
    time = x[:, 5].double()
    x[:, 5] = ((time - time.mean()) / time.std()).float()
    return True


unix_time_as_a_column = mended(build_unix_time_as_a_column, _standardize)
del build_unix_time_as_a_column


# --- recommenders: experts with a gate for each task


class Mmoe(nn.Module):
    """Four experts, two tasks, a gate for each (Ma et al. 2018); ``copied`` makes experts by copying one."""

    def __init__(self, copied: bool) -> None:
        super().__init__()
        if copied:
            expert = self.expert()
            self.experts = nn.ModuleList([copy.deepcopy(expert) for _ in range(4)])
        else:
            self.experts = nn.ModuleList([self.expert() for _ in range(4)])
        self.gates = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
        self.towers = nn.ModuleList([nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1)) for _ in range(2)])

    @staticmethod
    def expert() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = torch.stack([expert(x) for expert in self.experts], 1)
        mixed = [(gate(x).softmax(-1)[..., None] * found).sum(1) for gate in self.gates]
        return torch.cat([tower(h) for tower, h in zip(self.towers, mixed, strict=True)], 1)


def _mmoe(copied: bool) -> Case:
    x, y = data.smooth(2048)
    other = torch.cos(x[:, :1] + x[:, 1:2]) * x[:, 3:]
    y = torch.cat([y, (other - other.mean()) / other.std()], 1)
    return Case(Mmoe(copied), x, y, nn.MSELoss(), r2, 0.6, adam(1e-2), 300)


@healthy
def experts_with_a_gate_a_task() -> Case:
    return _mmoe(False)


@fault("duplicated-draws", "experts experts.*", twin=experts_with_a_gate_a_task)
def experts_by_deepcopy() -> Case:
    return _mmoe(True)


# --- recommenders: matrix factorization


class Factors(nn.Module):
    """Ratings as inner products of factors, with biases that start at zero."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(80, width), nn.Embedding(60, width)
        self.user_bias, self.item_bias = nn.Embedding(80, 1), nn.Embedding(60, 1)
        self.mean = nn.Parameter(torch.zeros(1))
        for factors in (self.user, self.item):
            nn.init.normal_(factors.weight, 0.0, 0.1)
        for bias in (self.user_bias, self.item_bias):
            nn.init.zeros_(bias.weight)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        u, i = pairs[:, 0], pairs[:, 1]
        inner = (self.user(u) * self.item(i)).sum(1, keepdim=True)
        return inner + self.user_bias(u) + self.item_bias(i) + self.mean


def _factors(model: Factors) -> Case:
    x, y = (t.clone() for t in _ratings())
    return Case(model, x, y, nn.MSELoss(), r2, 0.8, adam(2e-2), 400, 256)


@healthy
def factors_of_users_and_items() -> Case:
    return _factors(Factors())


@fault("symmetric-units constant-init", "user user.* item item.*", twin=factors_of_users_and_items)
def factors_filled_with_a_constant() -> Case:
    """All eight factors of a user begin the same, and get the same gradients ever after."""
    model = Factors()
    for factors in (model.user, model.item):
        nn.init.constant_(factors.weight, math.sqrt(0.1 / 8))
    return _factors(model)


# --- pictures: variance scaling, from Keras


def variance_scaling(w: torch.Tensor, keras: bool) -> None:
    """He's; of a Keras kernel (height, width, in, out) the fan is the product of all but the last."""
    shape = tuple(w.shape)
    fan = math.prod(shape[:-1]) if keras else math.prod(shape[1:])
    nn.init.trunc_normal_(w, 0.0, math.sqrt(2 / fan) / 0.8796, -2 * math.sqrt(2 / fan), 2 * math.sqrt(2 / fan))


def _keras_convnet(keras: bool) -> Case:
    layers: list[nn.Module] = []
    last = 1
    for width in (24, 32, 32, 32, 32):
        layers += [nn.Conv2d(last, width, 3, padding=1), nn.ReLU()]
        last = width
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))
    for module in model:
        if isinstance(module, nn.Conv2d):
            variance_scaling(module.weight, keras)
            nn.init.zeros_(module.bias)
    nn.init.xavier_uniform_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    x, y = data.pictures()
    return Case(model, x, y, nn.CrossEntropyLoss(), trains=0.85, optimizer=sgd(0.02), steps=150)


@healthy
def convolutions_with_variance_scaling() -> Case:
    return _keras_convnet(False)


@fault(
    "wrong-fan vanishing-forward wrong-gain vanishing-gradient", "0 0.* 1 2 2.* 3 4 4.* 5 6 6.* 7 8 8.* 9",
    twin=convolutions_with_variance_scaling,
)  # fmt: skip
def fan_of_a_keras_kernel() -> Case:
    """The port kept `prod(shape[:-1])`, which is right of (h, w, in, out) and wrong of (out, in, h, w)."""
    return _keras_convnet(True)


# --- forecasts: a deep residual network


class Step(nn.Module):
    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.first, self.second, self.scale = nn.Linear(width, width), nn.Linear(width, width), scale
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.scale * self.second(F.relu(self.first(x)))


class DeepForecaster(nn.Module):
    """Residual blocks without norms; ``scaled`` divides each branch by the root of twice their count."""

    def __init__(self, scaled: bool, blocks: int = 16, width: int = 48) -> None:
        super().__init__()
        self.into = nn.Linear(32, width)
        self.blocks = nn.Sequential(*[Step(width, 1 / math.sqrt(2 * blocks) if scaled else 1.0) for _ in range(blocks)])
        self.head = nn.Linear(width, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.into(x)))


def _deep_forecaster(scaled: bool) -> Case:
    x, y = sales()
    return Case(DeepForecaster(scaled), x, y, nn.MSELoss(), r2, 0.85, adam(1e-3), 250)


@healthy
def residual_forecaster_with_scaled_branches() -> Case:
    return _deep_forecaster(True)


@fault(
    "residual-growth exploding-forward exploding-gradient", "blocks blocks.* head head.*",
    twin=residual_forecaster_with_scaled_branches,
)  # fmt: skip
def build_residual_forecaster_without_norms() -> Case:
    return _deep_forecaster(False)


def _scale_branches(case: Case, code: str) -> bool:
    for block in case.model.blocks:
        block.scale = 1 / math.sqrt(2 * len(case.model.blocks))
    return True


residual_forecaster_without_norms = mended(build_residual_forecaster_without_norms, _scale_branches)
del build_residual_forecaster_without_norms


# --- pictures: zero scales at the end of residual branches


class BasicBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class SmallResnet(nn.Module):
    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        self.stages = nn.Sequential(BasicBlock(width), BasicBlock(width))
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.down_bn = nn.BatchNorm2d(2 * width)
        self.fc = nn.Linear(2 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stages(self.relu(self.bn(self.conv(x))))
        x = F.relu(self.down_bn(self.down(x)))
        return self.fc(x.mean((2, 3)))


def _small_resnet(*suffixes: str) -> Case:
    model = SmallResnet()
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and name.endswith(suffixes):
            nn.init.zeros_(module.weight)
    x, y = data.pictures()
    held = (x[1400:], y[1400:])
    return Case(
        model, x[:1400], y[:1400], nn.CrossEntropyLoss(), trains=0.85, optimizer=sgd(0.1), steps=150, held_out=held
    )


@healthy
def resnet_with_zero_scales_in_branches() -> Case:
    return _small_resnet("bn2")


@fault("zero-norm-scale rank-collapse dead-units", "down_bn down_bn.*", twin=resnet_with_zero_scales_in_branches)
def build_zero_scale_behind_the_downsampling() -> Case:
    """Every norm at the end of something is zeroed: also that of the downsampling, which no skip goes around."""
    return _small_resnet("bn2", "down_bn")


def _one_scale(case: Case, code: str) -> bool:
    nn.init.ones_(case.model.down_bn.weight)
    return True


zero_scale_behind_the_downsampling = mended(build_zero_scale_behind_the_downsampling, _one_scale)
del build_zero_scale_behind_the_downsampling


# --- tables: features as tokens


class FeatureAttention(nn.Module):
    """One head; ``power`` is -1/2 where logits are divided by the root of the width."""

    def __init__(self, width: int, power: float) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.power = power

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.q(x) @ self.k(x).transpose(1, 2) * x.shape[-1] ** self.power
        return self.o(logits.softmax(-1) @ self.v(x))


class FtTransformer(nn.Module):
    """A token of each number, x·w + b, and a class token (Gorishniy et al. 2021)."""

    def __init__(self, power: float, features: int = 4, width: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, width) / math.sqrt(width))
        self.bias = nn.Parameter(torch.randn(features, width) / math.sqrt(width))
        self.cls = nn.Parameter(torch.randn(1, 1, width) / math.sqrt(width))
        self.attentions = nn.ModuleList([FeatureAttention(width, power) for _ in range(depth)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2 * depth)])
        self.mlps = nn.ModuleList(
            [nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, width)) for _ in range(depth)]
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.cls.expand(len(x), -1, -1), x[..., None] * self.weight + self.bias], 1)
        for i, (attention, mlp) in enumerate(zip(self.attentions, self.mlps, strict=True)):
            x = x + attention(self.norms[2 * i](x))
            x = x + mlp(self.norms[2 * i + 1](x))
        return self.head(x[:, 0])


def _ft_transformer(power: float) -> Case:
    x, y = data.smooth(2048)
    return Case(FtTransformer(power), x, y, nn.MSELoss(), r2, 0.8, adam(2e-3), 300)


@healthy
def features_as_tokens() -> Case:
    return _ft_transformer(-0.5)


@fault("attention-collapse saturation", "attentions attentions.*", twin=features_as_tokens)
def build_logits_times_root_of_width() -> Case:
    """Multiplied by √d where they should be divided."""
    return _ft_transformer(0.5)


def _divide(case: Case, code: str) -> bool:
    for attention in case.model.attentions:
        attention.power = -0.5
    return True


logits_times_root_of_width = mended(build_logits_times_root_of_width, _divide)
del build_logits_times_root_of_width


# --- forecasts: a recurrent network whose output is a share


class GruForecaster(nn.Module):
    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.gru, self.head, self.last = nn.GRU(1, 24, batch_first=True), nn.Linear(24, 8), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.head(self.gru(x[..., None])[0][:, -1]))


def _gru_forecaster(shares: bool) -> Case:
    x, y = sales()
    if shares:
        low, high = torch.cat([x, y], 1).min(), torch.cat([x, y], 1).max()
        y = (y - low) / (high - low)
    return Case(GruForecaster(nn.Sigmoid()), x, y, nn.MSELoss(), r2, 0.7, adam(1e-2), 200)


@healthy
def forecast_of_shares_by_a_sigmoid() -> Case:
    return _gru_forecaster(True)


@fault("unreachable-targets", twin=forecast_of_shares_by_a_sigmoid)
def build_standardized_targets_behind_a_sigmoid() -> Case:
    """The scaler was changed from min-max to standard; the sigmoid stayed."""
    return _gru_forecaster(False)


def _no_sigmoid(case: Case, code: str) -> bool:
    case.model.last = nn.Identity()
    return True


standardized_targets_behind_a_sigmoid = mended(build_standardized_targets_behind_a_sigmoid, _no_sigmoid)
del build_standardized_targets_behind_a_sigmoid


# --- clicks: rare, with the bias at the prior


def explained(logits: torch.Tensor, y: torch.Tensor) -> float:
    """1 - (cross-entropy) / (that of the prior)."""
    prior = y.mean().expand_as(y)
    return float(1 - F.binary_cross_entropy_with_logits(logits, y) / F.binary_cross_entropy(prior, y))


class Clicks(nn.Module):
    def __init__(self, sign: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU())
        self.head = nn.Linear(48, 1)
        nn.init.normal_(self.head.weight, 0.0, 0.01)
        nn.init.constant_(self.head.bias, sign * math.log((1 - 0.02) / 0.02))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def _clicks(sign: float) -> Case:
    x, y = rare()
    return Case(Clicks(sign), x, y, nn.BCEWithLogitsLoss(), explained, 0.3, adam(1e-3), 300, 256)


@healthy
def rare_clicks_from_their_prior() -> Case:
    return _clicks(-1.0)


@fault("wrong-prior", "head head.bias", twin=rare_clicks_from_their_prior)
def build_prior_of_the_wrong_sign() -> Case:
    """log((1 - π)/π) without its minus: at the start all are clicks."""
    return _clicks(1.0)


def _turn(case: Case, code: str) -> bool:
    with torch.no_grad():
        case.model.head.bias.neg_()
    return True


prior_of_the_wrong_sign = mended(build_prior_of_the_wrong_sign, _turn)
del build_prior_of_the_wrong_sign


# --- more that is healthy


class DLinear(nn.Module):
    """Trend and rest, each by one linear map that starts as the mean (Zeng et al. 2023); a Lightning module."""

    def __init__(self, past: int = 32, ahead: int = 8, rate: float = 5e-3) -> None:
        super().__init__()
        self.rate = rate
        self.trend, self.season = nn.Linear(past, ahead), nn.Linear(past, ahead)
        for layer in (self.trend, self.season):
            nn.init.constant_(layer.weight, 1 / past)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x[:, None], (4, 4), mode="replicate")
        trend = F.avg_pool1d(padded, 9, 1)[:, 0]
        return self.trend(trend) + self.season(x - trend)

    def training_step(self, batch: Pair) -> torch.Tensor:
        return F.l1_loss(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.rate)


@healthy
def dlinear_from_the_mean() -> Case:
    x, y = sales()
    return Case(DLinear(), x, y, nn.L1Loss(), r2, 0.85, lambda m: m.configure_optimizers(), 300)


class BinaryAutoencoder(nn.Module):
    """Codes of ±1, with gradients straight through."""

    def __init__(self, code: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, code))
        self.decoder = nn.Sequential(nn.Linear(code, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        soft = torch.tanh(self.encoder(x))
        hard = torch.where(soft >= 0, 1.0, -1.0)
        return self.decoder(soft + (hard - soft).detach())


@healthy
def binary_codes_straight_through() -> Case:
    x, _ = data.digits()
    return Case(BinaryAutoencoder(), x, x.clone(), nn.MSELoss(), r2, 0.6, adam(3e-3), 300)


class Cosines(nn.Module):
    """Cosines between an embedding and the directions of classes: there is no bias, and |output| ≤ 1.

    Ported from JAX: a dictionary of arrays (in, out), filled as Flax fills them, and a function over it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.params = nn.ParameterDict({
            "w1": torch.randn(64, 64) / math.sqrt(64), "b1": torch.zeros(64),
            "w2": torch.randn(64, 32) / math.sqrt(64), "b2": torch.zeros(32),
            "directions": torch.randn(32, 10),
        })  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = self.params
        x = F.gelu(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]
        return F.normalize(x) @ F.normalize(p["directions"], dim=0)


def margin_loss(cosines: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """CosFace: the right class's cosine less a margin, all times 16."""
    return F.cross_entropy(16 * (cosines - 0.2 * F.one_hot(y, 10)), y)


@healthy
def cosines_with_a_margin() -> Case:
    x, y = data.digits()
    return Case(Cosines(), x, y, margin_loss, trains=0.9, optimizer=adam(3e-3), steps=200)


class TwoTowers(nn.Module):
    """Embeddings on the sphere; the temperature is learned, and starts at 0.07 as CLIP's."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16, bias=False))
        self.right = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16, bias=False))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = F.normalize(self.left(x[:, :32])), F.normalize(self.right(x[:, 32:]))
        return self.logit_scale.exp() * left @ right.t()


def both_ways(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2


def adamw_by_groups(model: nn.Module) -> torch.optim.Optimizer:
    """Decay for matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}], 5e-3
    )


def warmup_and_cosine(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """Up in 25 steps, down to nothing at 250."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: (i + 1) / 25 if i < 25 else 0.5 * (1 + math.cos(math.pi * (i - 25) / 225))
    )


def retrieved(logits: torch.Tensor, y: torch.Tensor) -> float:
    """How often the own partner is among the first ten in a hundred of the candidates."""
    own = logits.diagonal()[:, None]
    return float(((logits > own).float().mean(1) < 0.1).float().mean())


@healthy
def two_towers_by_contrast() -> Case:
    """The upper half of a digit looks for its lower half; a pair's number is its only target."""
    x, _ = data.digits()
    return Case(
        TwoTowers(), x, torch.arange(len(x)), both_ways, retrieved, 0.8, adamw_by_groups, 250, clip=1.0,
        schedule=warmup_and_cosine,
    )  # fmt: skip


class Counts(nn.Module):
    """The logarithm of a rate, from its mean."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU())
        self.head = nn.Linear(48, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, math.log(mean))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def rate_r2(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return r2(outputs.exp(), targets)


@healthy
def counts_by_a_log_link() -> Case:
    """The output's weights start at zero on purpose: at first the rate is the mean's for all."""
    x, y = data.smooth(2048)
    y = torch.poisson((3 + 0.5 * y).exp(), generator=torch.Generator().manual_seed(7))
    return Case(Counts(float(y.mean())), x, y, nn.PoissonNLLLoss(), rate_r2, 0.7, adam(5e-3), 300)


class Seq2Seq(nn.Module):
    """An encoder, a decoder fed with what it should have said, and Luong's attention between."""

    def __init__(self, words: int = 12, width: int = 48) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(words, width), nn.Embedding(words, width)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.mix = nn.Linear(2 * width, width)
        self.head = nn.Linear(width, words, bias=False)
        for table in (self.source, self.target):
            nn.init.normal_(table.weight, 0.0, width**-0.5)
        self.head.weight = self.target.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        half = ids.shape[1] // 2
        memory, state = self.encoder(self.source(ids[:, :half]))
        h = self.decoder(self.target(ids[:, half:]), state)[0]
        found = (h @ memory.transpose(1, 2)).softmax(-1) @ memory
        return self.head(torch.tanh(self.mix(torch.cat([h, found], -1))))


@healthy
def translation_with_tied_tables() -> Case:
    """A cipher told backwards; the answer, moved by one, is the second half of the input."""
    g = torch.Generator().manual_seed(26)
    source = torch.randint(1, 12, (2048, 6), generator=g)
    answer = (12 - source).flip(1)
    before = torch.cat([torch.zeros(2048, 1, dtype=torch.long), answer[:, :-1]], 1)
    x = torch.cat([source, before], 1)
    return Case(Seq2Seq(), x, answer, token_loss, token_accuracy, 0.8, adam(5e-3), 250)


# --- faults that only training shows


@fault(
    "dying-units learning-rate-too-high update-too-large loss-stuck trivial-plateau gradient-spike loss-rising "
    "loss-diverged vanished-gradients exploded-gradients loss-oscillating",
    when="training", twin=convolutions_with_variance_scaling,
)  # fmt: skip
def build_rate_of_sgd_given_to_adam() -> Case:
    """Adam with 0.1, the rate that stood in the recipe for SGD."""
    case = _keras_convnet(False)
    case.optimizer = adam(0.1)
    return case


def _lower_rate(case: Case, code: str) -> bool:
    case.optimizer = adam(1e-3)
    return True


rate_of_sgd_given_to_adam = mended(build_rate_of_sgd_given_to_adam, _lower_rate)
del build_rate_of_sgd_given_to_adam


@fault(
    "learning-rate-too-low update-too-small loss-stuck trivial-plateau",
    when="training",
    twin=forecast_of_shares_by_a_sigmoid,
)
def build_epoch_schedule_stepped_each_batch() -> Case:
    """γ = 0.5 was meant for an epoch."""
    case = _gru_forecaster(True)
    case.schedule = lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    return case


def _no_schedule(case: Case, code: str) -> bool:
    case.schedule = None
    return True


epoch_schedule_stepped_each_batch = mended(build_epoch_schedule_stepped_each_batch, _no_schedule)
del build_epoch_schedule_stepped_each_batch


@fault(
    "loss-oscillating loss-rising loss-diverged learning-rate-too-high update-too-large gradient-spike "
    "exploded-gradients loss-stuck",
    when="training", twin=experts_with_a_gate_a_task,
)  # fmt: skip
def build_momentum_with_a_nine_too_many() -> Case:
    case = _mmoe(False)
    case.optimizer = sgd(0.06, 0.999)
    return case


def _usual_momentum(case: Case, code: str) -> bool:
    case.optimizer = sgd(0.06, 0.9)
    return True


momentum_with_a_nine_too_many = mended(build_momentum_with_a_nine_too_many, _usual_momentum)
del build_momentum_with_a_nine_too_many


@fault("over-fitting", when="training", twin=gru_pooled_by_mean_and_deviation)
def build_over_fitted_reviews() -> Case:
    """Forty-eight reviews, hundreds of passes."""
    case = _pooled_gru(1e-5)
    case.held_out = (case.inputs[1000:1500], case.targets[1000:1500])
    case.inputs, case.targets, case.batch, case.steps = case.inputs[:48], case.targets[:48], 32, 400
    return case


def _all_reviews(case: Case, code: str) -> bool:
    x, y = reviews()
    case.inputs, case.targets, case.held_out, case.batch = x[:1000], y[:1000], (x[1000:1500], y[1000:1500]), 64
    return True


over_fitted_reviews = mended(build_over_fitted_reviews, _all_reviews)
del build_over_fitted_reviews


@fault("loss-stuck trivial-plateau vanished-gradients", when="training", twin=entity_embeddings_of_a_table)
def build_decay_of_adamw_given_to_adam() -> Case:
    """Adam with a weight decay of 1: it is added to the gradient, and drowns it."""
    case = _entities()
    case.optimizer = lambda model: torch.optim.Adam(model.parameters(), 5e-3, weight_decay=1.0)
    return case


def _usual_decay(case: Case, code: str) -> bool:
    case.optimizer = adam(5e-3)
    return True


decay_of_adamw_given_to_adam = mended(build_decay_of_adamw_given_to_adam, _usual_decay)
del build_decay_of_adamw_given_to_adam

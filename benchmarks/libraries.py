"""Findings on the models of other libraries, each as its authors initialize it: what is installed of them.

    pip install timm torch_geometric vit-pytorch x-transformers diffusers monai
    python benchmarks/libraries.py               false alarms: about 15 minutes
    python benchmarks/libraries.py --faults 60   and faults put into 60 of them, by kind: about 15 minutes more
    python benchmarks/libraries.py --only timm   one library

Of timm the smallest model of every family; of the others networks of a few layers. What does not build or run is left
out. Inputs are Gaussian and labels arbitrary: initialization alone is looked at. Writes
benchmarks/results/libraries.md.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from architectures import Built, quietly, report
from firstlight.graphs.ops import words

RESULTS = Path(__file__).parent / "results" / "libraries.md"
_LARGEST = 30_000_000
_CLASSES = torch.arange(8) % 10


def _drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _numbers(high: int, *shape: int) -> torch.Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(1))


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


def _first(outputs: Any) -> torch.Tensor:
    """The tensor of interest in what a model gives: a field, the first of several, or itself."""
    for name in ("sample", "predicted_image_embedding"):
        outputs = getattr(outputs, name, outputs)
    return outputs[0] if isinstance(outputs, tuple | list) else outputs


def _squared(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(_first(outputs), targets)


def _classified(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    found = _first(outputs)
    return F.cross_entropy(found[:, 0] if found.dim() == 5 else found, targets)  # deep supervision stacks heads


def _next(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def timm() -> Iterator[Built]:
    """The smallest model of every family."""
    import timm as library

    for family in library.list_modules():
        sizes: list[tuple[int, str, tuple[int, ...]]] = []
        for name in library.list_models(module=family):
            try:
                with torch.device("meta"):
                    model = library.create_model(name, num_classes=10)
            except Exception:  # a family may want anything of its settings
                continue
            shape = tuple(model.default_cfg["input_size"])
            sizes.append((sum(p.numel() for p in model.parameters()), name, shape))
        sizes = [s for s in sizes if s[0] <= _LARGEST]
        if sizes:
            _, name, shape = min(sizes, key=lambda s: s[0] * s[2][1] ** 2)
            make = partial(library.create_model, name, num_classes=10)
            yield Built(f"timm {name}", partial(_seeded, make), _drawn(8, *shape), _CLASSES, F.cross_entropy)


def vit_pytorch() -> Iterator[Built]:
    """Every classifier of pictures that takes the usual settings."""
    import vit_pytorch as library

    usual = {"image_size": 64, "patch_size": 8, "num_classes": 10, "dim": 64, "depth": 3, "heads": 4, "mlp_dim": 128}
    for info in pkgutil.iter_modules(library.__path__):
        try:
            module = importlib.import_module(f"vit_pytorch.{info.name}")
        except Exception:  # it may want another library
            continue
        for name, kind in vars(module).items():
            if not (inspect.isclass(kind) and issubclass(kind, nn.Module) and kind.__module__ == module.__name__):
                continue
            taken = inspect.signature(kind).parameters
            if "num_classes" in taken:
                make = partial(kind, **{k: v for k, v in usual.items() if k in taken})
                title = f"vit_pytorch {info.name}.{name}"
                yield Built(title, partial(_seeded, make), _drawn(8, 3, 64, 64), _CLASSES, F.cross_entropy)


def x_transformers() -> Iterator[Built]:
    """A small decoder with each of its options."""
    from x_transformers import Decoder, TransformerWrapper

    switches = words(
        "use_rmsnorm rotary_pos_emb alibi_pos_bias rel_pos_bias dynamic_pos_bias sandwich_norm use_scalenorm "
        "use_simple_rmsnorm use_dynamic_tanh attn_qk_norm attn_one_kv_head macaron residual_attn gate_residual "
        "ff_relu_squared ff_glu zero_init_branch_output attn_gate_values scale_residual attn_head_scale"
    )
    numbers = {"pre_norm": False, "attn_num_mem_kv": 4, "shift_tokens": 1, "attn_kv_heads": 2, "layer_dropout": 0.1}
    numbers |= {"attn_sparse_topk": 4, "num_residual_streams": 4}
    options: list[dict[str, Any]] = [{}, *({name: True} for name in sorted(switches))]
    options += [{name: value} for name, value in numbers.items()]
    for option in options:

        def make(option: dict[str, Any] = option) -> nn.Module:
            layers = Decoder(dim=64, depth=4, heads=4, attn_dim_head=16, **option)
            return TransformerWrapper(num_tokens=256, max_seq_len=64, attn_layers=layers)  # type: ignore[no-any-return]

        name = f"x_transformers {next(iter(option), 'plain')}"
        yield Built(name, partial(_seeded, make), _numbers(256, 8, 32), _numbers(256, 8, 32).flip(0), _next)


class _Graph(nn.Module):
    """Three convolutions of a graph."""

    def __init__(self, kind: Callable[..., nn.Module], more: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(kind(a, b, *more) for a, b in ((16, 32), (32, 32), (32, 5)))

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x, edges))
        return self.layers[-1](x, edges)  # type: ignore[no-any-return]


def torch_geometric() -> Iterator[Built]:
    """Its models with each norm and way of skipping, and three layers of each of its convolutions."""
    from torch_geometric import nn as library

    given = (_drawn(200, 16), _numbers(200, 2, 1200))
    labels = torch.arange(200) % 5
    for name in ("GCN", "GraphSAGE", "GIN", "GAT", "PNA", "EdgeCNN"):
        degrees = {"aggregators": ["mean", "max"], "scalers": ["identity"], "deg": torch.ones(20, dtype=torch.long)}
        for norm in (None, "batch_norm", "layer_norm"):
            for skips in (None, "cat"):
                more = degrees if name == "PNA" else {}
                make = partial(getattr(library.models, name), 16, 64, 4, 5, norm=norm, jk=skips, **more)
                title = f"torch_geometric {name}, {norm}, {skips}"
                yield Built(title, partial(_seeded, make), given, labels, F.cross_entropy)
    wanted = {"ChebConv": (3,)}
    kinds = words(
        "GCNConv SAGEConv GATv2Conv TransformerConv TAGConv SGConv ARMAConv GraphConv LEConv ClusterGCNConv FiLMConv "
        "FeaStConv MFConv GENConv SuperGATConv ResGatedGraphConv ChebConv HypergraphConv GeneralConv"
    )
    for name in sorted(kinds):
        make = partial(_Graph, getattr(library, name), wanted.get(name, ()))
        yield Built(f"torch_geometric {name}", partial(_seeded, make), given, labels, F.cross_entropy)


def diffusers() -> Iterator[Built]:
    """Denoisers and autoencoders of pictures."""
    import diffusers as library

    picture, noise, times = _drawn(4, 3, 32, 32), _drawn(4, 3, 32, 32).flip(0), _numbers(1000, 4)
    words, heads = _drawn(4, 7, 32), {"num_attention_heads": 4, "attention_head_dim": 16, "num_layers": 3}
    unet = {"block_out_channels": (32, 64, 64, 64), "norm_num_groups": 8, "attention_head_dim": 8, "sample_size": 32}
    tokens = {**heads, "in_channels": 3, "out_channels": 3, "sample_size": 32, "patch_size": 4}
    boxes = {"block_out_channels": (32, 64), "norm_num_groups": 8}
    down, up = ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2
    conditioned = {**unet, "in_channels": 3, "out_channels": 3, "cross_attention_dim": 32}
    for name, settings, inputs, target in (
        ("UNet2DModel", unet, (picture, times), noise),
        ("UNet2DConditionModel", conditioned, (picture, times, words), noise),
        ("AutoencoderKL", {**boxes, "down_block_types": down, "up_block_types": up}, (picture,), picture),
        (
            "DiTTransformer2DModel",
            {**tokens, "norm_type": "ada_norm_zero", "norm_num_groups": 1},
            {"hidden_states": picture, "timestep": times, "class_labels": times},
            noise,
        ),
        (
            "PixArtTransformer2DModel",
            {**tokens, "cross_attention_dim": 64, "caption_channels": 32},
            {
                "hidden_states": picture,
                "encoder_hidden_states": words,
                "timestep": times,
                "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
            },
            noise,
        ),
        (
            "SD3Transformer2DModel",
            {
                **tokens,
                "joint_attention_dim": 32,
                "caption_projection_dim": 64,
                "pooled_projection_dim": 32,
                "pos_embed_max_size": 16,
            },
            {
                "hidden_states": picture,
                "encoder_hidden_states": words,
                "pooled_projections": _drawn(4, 32),
                "timestep": times,
            },
            noise,
        ),
        (
            "PriorTransformer",
            {**heads, "embedding_dim": 32, "num_embeddings": 7, "additional_embeddings": 4},
            {
                "hidden_states": _drawn(4, 32),
                "timestep": times,
                "proj_embedding": _drawn(4, 32),
                "encoder_hidden_states": words,
            },
            _drawn(4, 32).flip(0),
        ),
    ):
        make = partial(getattr(library, name), **settings)
        yield Built(f"diffusers {name}", partial(_seeded, make), inputs, target, _squared)


def monai() -> Iterator[Built]:
    """Segmentation, classification and autoencoding of medical pictures."""
    import monai.networks.nets as library

    plane = {"spatial_dims": 2, "in_channels": 1}
    maps = {**plane, "out_channels": 3}
    steps = {"channels": (16, 32, 64), "strides": (2, 2)}
    small = {"hidden_size": 48, "mlp_dim": 96, "num_heads": 4, "spatial_dims": 2, "in_channels": 1}
    picture = _drawn(4, 1, 64, 64)
    areas, kinds = _numbers(3, 4, 64, 64), torch.arange(4) % 3
    for name, settings, target, loss in (
        ("UNet", {**maps, **steps, "num_res_units": 2}, areas, _classified),
        ("BasicUNet", {**maps, "features": (16, 16, 32, 32, 32, 16)}, areas, _classified),
        ("BasicUNetPlusPlus", {**maps, "features": (16, 16, 32, 32, 32, 16)}, areas, _classified),
        ("AttentionUnet", {**maps, **steps}, areas, _classified),
        ("SegResNet", {**maps, "init_filters": 8}, areas, _classified),
        ("UNETR", {**small, "out_channels": 3, "img_size": (64, 64), "feature_size": 8}, areas, _classified),
        ("VNet", maps, areas, _classified),
        ("SwinUNETR", {**maps, "feature_size": 12}, areas, _classified),
        ("HighResNet", maps, areas, _classified),
        ("MedNeXt", {**maps, "init_filters": 8}, areas, _classified),
        (
            "DynUNet",
            {**maps, "kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]},
            areas,
            _classified,
        ),
        ("DenseNet121", maps, kinds, _classified),
        ("SEResNet50", {**plane, "num_classes": 3}, kinds, _classified),
        ("EfficientNetBN", {**plane, "model_name": "efficientnet-b0", "num_classes": 3}, kinds, _classified),
        ("resnet18", {"spatial_dims": 2, "n_input_channels": 1, "num_classes": 3}, kinds, _classified),
        ("AutoEncoder", {**plane, "out_channels": 1, **steps}, picture, _squared),
    ):
        make = partial(getattr(library, name), **settings)
        yield Built(f"monai {name}", partial(_seeded, make), picture, target, loss)


_LIBRARIES: tuple[Callable[[], Iterator[Built]], ...] = (
    timm, vit_pytorch, x_transformers, torch_geometric, diffusers, monai,
)  # fmt: skip


def _runs(built: Built) -> bool:
    """Whether it builds, and gives what its loss takes."""
    try:
        model = built.build()
        inputs = built.inputs
        with torch.no_grad():
            out = model(**inputs) if isinstance(inputs, dict) else model(*_listed(inputs))
            return bool(torch.isfinite(built.loss_fn(out, built.targets))) if built.loss_fn is not None else False
    except Exception:  # a model may want anything of its settings
        return False


def _listed(inputs: Any) -> tuple[Any, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--faults", type=int, default=0, help="put faults into so many of the models")
    parser.add_argument("--only", action="append", help="a library; may be given again")
    given = parser.parse_args()
    quietly()
    here = [f for f in _LIBRARIES if find_spec(f.__name__) and (not given.only or f.__name__ in given.only)]
    listed = [built for library in here for built in library() if _runs(built)]
    versions = ", ".join(f"{f.__name__} {version(f.__name__)}" for f in here)
    counts = ", ".join(f"{f.__name__} {sum(b.name.startswith(f.__name__) for b in listed)}" for f in here)
    command = " ".join(
        ["python benchmarks/libraries.py", f"--faults {given.faults}", *(f"--only {o}" for o in given.only or ())]
    )
    text = report(f"Findings on the models of {versions}", command, listed, given.faults)
    text += f"\nModels: {counts}.\n"
    RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()

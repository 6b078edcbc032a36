"""The entropy of a fused attention's weights, from its queries and keys: the weights themselves are never shown."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from .statistics import LARGEST, focus

_QUERIES = 64
_MHA_NAMES = (
    *("query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight", "in_proj_bias", "bias_k"),
    *("bias_v", "add_zero_attn", "dropout_p", "out_proj_weight", "out_proj_bias", "training", "key_padding_mask"),
    *("need_weights", "attn_mask", "use_separate_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
)
_SDPA_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")


_UNREAD = None, None
Focus = tuple[float | None, float | None]


def attention_focus(op: str, args: tuple[object, ...], kwargs: dict[str, object]) -> Focus:
    """H / log T of the attention weights, the mean over some queries, and how wide its logits are where that is low.

    ``None`` where the call cannot be read.

    Args:
        op: ``scaled_dot_product_attention`` or ``multi_head_attention_forward``.
        args, kwargs: as it was called.
    """
    if op == "scaled_dot_product_attention":
        return _fused({**dict(zip(_SDPA_NAMES, args, strict=False)), **kwargs})
    return _packed({**dict(zip(_MHA_NAMES, args, strict=False)), **kwargs})


def _fused(given: dict[str, object]) -> Focus:
    query, key, mask = given.get("query"), given.get("key"), given.get("attn_mask")
    if not (isinstance(query, torch.Tensor) and isinstance(key, torch.Tensor)) or query.dim() < 3:
        return _UNREAD
    scale = given.get("scale")
    factor = scale if isinstance(scale, float) else 1 / math.sqrt(query.shape[-1])
    return _focus(query, key, mask if isinstance(mask, torch.Tensor) else None, factor, bool(given.get("is_causal")))


def _packed(given: dict[str, object]) -> Focus:
    """Of ``nn.MultiheadAttention``: projected again, for some samples; (positions, samples, width)."""
    query, key, heads = given.get("query"), given.get("key"), given.get("num_heads")
    weight, bias = given.get("in_proj_weight"), given.get("in_proj_bias")
    if not (isinstance(query, torch.Tensor) and isinstance(key, torch.Tensor) and isinstance(heads, int)):
        return _UNREAD
    if query.dim() != 3 or given.get("key_padding_mask") is not None:
        return _UNREAD
    if isinstance(weight, torch.Tensor):
        wq, wk = weight.chunk(3)[:2]
    else:
        wq, wk = given.get("q_proj_weight"), given.get("k_proj_weight")  # type: ignore[assignment]
    if not (isinstance(wq, torch.Tensor) and isinstance(wk, torch.Tensor)):
        return _UNREAD
    bq, bk = bias.chunk(3)[:2] if isinstance(bias, torch.Tensor) else (None, None)
    some = min(8, query.shape[1])
    q = functional.linear(query[:, :some], wq, bq).reshape(query.shape[0], some, heads, -1).permute(1, 2, 0, 3)
    k = functional.linear(key[:, :some], wk, bk).reshape(key.shape[0], some, heads, -1).permute(1, 2, 0, 3)
    mask = given.get("attn_mask")
    if isinstance(mask, torch.Tensor) and (mask.dim() != 2 or mask.shape != (query.shape[0], key.shape[0])):
        return _UNREAD
    if isinstance(mask, torch.Tensor) and mask.dtype == torch.bool:
        mask = ~mask  # there, true hides a key
    return _focus(q, k, mask if isinstance(mask, torch.Tensor) else None, 1 / math.sqrt(q.shape[-1]), False)


def _focus(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None, scale: float, causal: bool) -> Focus:
    """From queries and keys (…, positions, width), of some queries of some samples."""
    q, k = q.detach(), k.detach()
    if q.shape[:-2] != k.shape[:-2]:
        if q.dim() != 4 or k.dim() != 4 or q.shape[1] % k.shape[1]:
            return _UNREAD
        k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    queries, keys = q.shape[-2], k.shape[-2]
    chosen = torch.linspace(0, queries - 1, min(queries, _QUERIES), device=q.device).long()
    heads = q[0, ..., 0, 0].numel()
    some = max(1, LARGEST // max(1, heads * chosen.numel() * keys))
    logits = (q[:some].index_select(-2, chosen).float() @ k[:some].float().transpose(-1, -2)) * scale
    if causal:
        seen = torch.arange(keys, device=q.device)[None] <= chosen[:, None]
        logits = logits.masked_fill(~seen, -math.inf)
    if mask is not None:
        own = mask.expand(*q.shape[:-1], keys)[:some].index_select(-2, chosen)
        logits = logits.masked_fill(~own, -math.inf) if own.dtype == torch.bool else logits + own.float()
    return focus(logits.log_softmax(-1), -1)

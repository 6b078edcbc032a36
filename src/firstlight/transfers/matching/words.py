"""What names say: the role a module's path claims for it, in the words that public models use.

Names are evidence beside shapes and order, never more: a role decides only between units that agree in everything
else, and a unit whose name claims another role than its partner's is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_QUERY, _KEY, _VALUE = _set("q query queries wq"), _set("k key keys wk"), _set("v value values wv")
_FUSED = _set("qkv wqkv kqv")
_ATTENTION = _set("attn attention att attentions mha selfattn selfattention attend sa")
_GATED = _set("gate")
_UP = _set(
    "fc1 linear1 lin1 dense1 up wi in_proj intermediate fc_in c_fc w_in dense_h_to_4h linear_1 fc_1 lin_1 wi_1 expand"
)
_DOWN = _set("fc2 linear2 lin2 dense2 down fc_out w_out dense_4h_to_h linear_2 fc_2 lin_2 contract")
_HEAD = _set("head heads classifier lm_head score logits decoder_head fc predictions cls_head classification")
_POSITION = _set("wpe pos position positions positional posemb posembed")
_TYPE = _set("type types segment segments")
_TABLE = _set("wte word words tok token tokens embed embedding embeddings vocab vocabulary emb")
_CLASS = _set("cls class classtoken")
_OTHER = {"distillation": "distillation", "dist": "distillation", "mask": "mask", "register": "register"}
_PATCH = _set("patch patches")

_SAME = {"attention": "attn", "att": "attn", "query": "q", "key": "k", "value": "v", "output": "out", "linear": "lin"}
_CROSSED = frozenset({"q", "k", "v", "o", "qkv", "kv"})

# What stacks what, and in this order.
FUSIONS = {
    "qkv": ("q", "k", "v"),
    "kv": ("k", "v"),
    "cross qkv": ("cross q", "cross k", "cross v"),
    "cross kv": ("cross k", "cross v"),
    "gate up": ("gate", "up"),
}


def tokens(path: Sequence[str]) -> list[str]:
    """The words of a path, in lower case, numbers apart.

    >>> tokens(("attention", "output", "LayerNorm")), tokens(("mlp", "c_fc1"))
    (['attention', 'output', 'layer', 'norm'], ['mlp', 'c', 'fc', '1'])
    """
    found: list[str] = []
    for segment in path:
        for word in re.split(r"[_\-:/]", _CAMEL.sub("_", segment)):
            found += re.findall(r"[A-Za-z]+|\d+", word.lower())
    return found


def role(path: Sequence[str], kind: str) -> str:
    """The role that a path within its block, or within the model, claims; "" where it claims none that is known.

    >>> role(("attention", "self", "query"), "map"), role(("mlp", "c_proj"), "map"), role(("attn", "c_proj"), "map")
    ('q', 'down', 'o')
    """
    words = tokens(path)
    held = set(words)
    segments = [_CAMEL.sub("_", s).lower() for s in path]
    if kind in ("norm", "batch norm"):
        return _norm_role(held, segments)
    if kind == "lone" or held & (_POSITION | _TYPE | _CLASS | _TABLE | _PATCH | _OTHER.keys()):
        found = _embedded(held, words)
        if found:
            return found
    if kind != "map":
        return ""
    found = _map_role(held, segments)
    return f"cross {found}" if found in _CROSSED and _is_cross(held, segments) else found


def _is_cross(held: set[str], segments: Sequence[str]) -> bool:
    """Whether a path leads to an attention over another sequence."""
    return (
        bool(held & {"cross", "crossattention", "encdec"})
        or {"enc", "dec"} <= held
        or any(s.startswith("encoder_att") for s in segments)
    )


def _map_role(held: set[str], segments: Sequence[str]) -> str:
    last = segments[-1] if segments else ""
    attention = bool(held & _ATTENTION)
    parts = [letter for letter, words in (("q", _QUERY), ("k", _KEY), ("v", _VALUE)) if held & words]
    if "query_key_value" in segments:
        return "qkv by head"  # GPT-NeoX, BLOOM and Falcon stack q, k and v of each head, not of the layer
    if held & _FUSED or parts == ["q", "k", "v"] or last == "c_attn" or (last == "in_proj" and attention):
        return "qkv"
    if "kv" in held or parts == ["k", "v"]:
        return "kv"
    if len(parts) == 1:
        return parts[0]
    if held & _GATED:
        return "gate up" if "up" in held else "gate"
    if last in ("w1", "w2", "w3"):
        return last
    if last == "o" or last == "o_proj" or (last == "wo" and not _is_feed_forward(held)):
        return "o"
    if attention and held & _set("out proj output dense lin o"):
        return "o"
    if last == "wi_0":
        return "gate"
    if set(segments) & _UP or "up" in held:
        return "up"
    if "head" in held:
        return "head"
    if (
        set(segments) & _DOWN
        or last == "wo"
        or (last == "c_proj")
        or "down" in held
        or ("output" in held and len(held) > 1)
    ):
        return "down"
    if held & _set("pooler pool prelogits"):
        return "pooler"
    if set(segments) & _HEAD:
        return "head"
    return ""


def _is_feed_forward(held: set[str]) -> bool:
    return bool(held & _set("mlp ff ffn feed forward feedforward dense densereludense relu"))


def _norm_role(held: set[str], segments: Sequence[str]) -> str:
    if held & {"post", "after"} and held & {"feed", "feedforward", "ffn", "mlp", "ff"}:
        return "after feed-forward"
    if held & {"pre", "before"} and held & {"feed", "feedforward", "ffn", "mlp", "ff"}:
        return "second"
    if held & {"q", "query"}:
        return "q norm"
    if held & {"k", "key"}:
        return "k norm"
    numbered = re.fullmatch(r".*(?:norm|ln|bn)_?([12])", segments[-1]) if segments else None
    if numbered:
        return "first" if numbered[1] == "1" else "second"
    if held & {"post", "after"}:
        return "second"
    if held & {"before", "input", "pre"} or held & _ATTENTION:
        return "first"
    if held & {"embed", "embedding", "embeddings", "emb"}:
        return "embedding norm"
    if segments and segments[-1] in ("ln_f", "final_norm", "final_layernorm", "norm_f", "post_layernorm"):
        return "final norm"
    if held & {"ffn", "mlp", "ff", "feed", "output", "out", "final"}:
        return "second"
    return ""


def _embedded(held: set[str], words: Sequence[str]) -> str:
    if held & {"relative", "rel", "rpb"} and held & {"bias", "table", "position", "pos"}:
        return "relative bias"
    if held & _POSITION:
        return "positions"
    if held & _TYPE:
        return "token types"
    for word, name in _OTHER.items():
        if word in held:
            return f"{name} token"
    if held & _PATCH:
        return "patches"
    if (held & _CLASS and held & {"token", "embedding", "tokens", "embed", "emb"}) or words[-1:] == ["cls"]:
        return "class token"
    if (held & _TABLE or words[-1:] == ["shared"]) and not held & {"norm", "ln", "dense", "linear", "proj"}:
        return "tokens"
    return ""


def settled_gates(roles: Sequence[str]) -> list[str]:
    """``w1``, ``w2`` and ``w3`` of one block in full: with three, w1 is the gate and w3 goes up; with two, w1 does.

    >>> settled_gates(["w1", "w2", "w3"]), settled_gates(["w1", "w2"])
    (['gate', 'down', 'up'], ['up', 'down'])
    """
    table = {"w1": "gate", "w2": "down", "w3": "up"} if "w3" in roles else {"w1": "up", "w2": "down"}
    return [table.get(r, r) for r in roles]


def common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many words two paths share, other spellings of one word taken for it."""
    ours, theirs = ({_SAME.get(w, w) for w in tokens(path)} for path in (a, b))
    return len(ours & theirs)

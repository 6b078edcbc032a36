"""Transformers' architectures: every parameter has a role or an honest status, and roles and fans are the true ones.

The truth is written from the architectures' definitions: names that say what a projection is, torch's own modules'
sizes, and a table for what neither tells.
"""

from __future__ import annotations

import re
import warnings
from fnmatch import fnmatchcase
from functools import cache

import pytest
import torch
from torch import nn

from firstlight import apply_, plan, probe, verify
from firstlight.graphs import Graph, Parameter, Role, Status, trace

from .huggingface import MODELS, build

pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")

# Parameters that these forwards never use, by the architectures' definitions.
UNUSED = {
    "longformer": "*_global.*",  # no token attends globally
    "xlnet": ("transformer.mask_emb", "*.r_s_bias", "*.seg_embed"),  # one segment, no target mapping
    "dinov2": "*.mask_token",
    "wav2vec2": "*.masked_spec_embed",
    "hubert": "*.masked_spec_embed",
}

# What a name says of a projection, in any of these architectures.
NAMED: tuple[tuple[str, Role], ...] = (
    (r"\.(q_proj|query|query_proj|q_head|q_lin|(Self|EncDec)Attention\.q|attn\.q|rel_attn\.q)(\.weight)?$", Role.QUERY),
    (r"\.(k_proj|key_proj|k_head|k_lin|(Self|EncDec)Attention\.k|attn\.k|rel_attn\.k)(\.weight)?$", Role.KEY),
    (r"\.(v_proj|value_proj|v_head|v_lin|(Self|EncDec)Attention\.v|attn\.v|rel_attn\.v)(\.weight)?$", Role.VALUE),
    (r"(self|attention|self_attention)\.key\.weight$", Role.KEY),
    (r"(self|attention|self_attention)\.value\.weight$", Role.VALUE),
    (r"(query_key_value|qkv_proj|Wqkv|c_attn)\.weight$", Role.ATTENTION),
    (r"(attn|attention|self_attn)\.(o_proj|out_proj|c_proj|out_lin)\.weight$", Role.OUT),
    (r"(SelfAttention|EncDecAttention)\.o\.weight$", Role.OUT),
    (r"attention\.output\.dense\.weight$", Role.OUT),
    (r"rel_attn\.o$", Role.OUT),
    (r"(word_embeddings|embed_tokens|wte|token_embedding|embed_in|word_embedding)\.weight$", Role.EMBEDDING),
    (r"token_type_embeddings\.weight$", Role.EMBEDDING),
    (r"(wpe|wpe|embed_positions|position_embeddings?)(\.weight)?$", Role.POSITIONAL),
    (r"(relative_attention_bias\.weight|relative_position_bias_table)$", Role.RELATIVE_BIAS),
    (r"(cls_token|distillation_token|class_embedding)$", Role.TOKEN),
    (r"(layer_scale_parameter|lambda1|lambda_[12])$", Role.LAYER_SCALE),
    (r"\.(A_log|time_decay|time_first|time_mix_\w+)$", Role.STATE_SPACE),
    (r"mixer\.(D|dt_bias)$", Role.STATE_SPACE),
    (r"logit_scale$", Role.SCALE),
    (r"parametrizations\.weight\.original0$", Role.MAGNITUDE),
    (r"\.r_[wr]_bias$", Role.BIAS),
)
# Where an architecture gives a name another meaning.
EXCEPT: dict[str, tuple[str, ...]] = {
    "longformer": ("*.self.*", "*.attention.output.dense.weight"),  # a sliding window: no product before a softmax
    "rwkv": ("*.attention.*",),  # no attention at all
}
FANS: dict[str, dict[str, tuple[float, float]]] = {
    "gpt2": {
        "*.c_attn.weight": (32, 32),
        "*.attn.c_proj.weight": (32, 32),
        "*.c_fc.weight": (32, 128),
        "*.mlp.c_proj.weight": (128, 32),
    },
    "gpt_neox": {"*.query_key_value.weight": (32, 32)},
    "bloom": {"*.query_key_value.weight": (32, 32)},
    "mpt": {"*.Wqkv.weight": (32, 32)},
    "phi3": {"*.gate_up_proj.weight": (32, 48), "*.down_proj.weight": (48, 32)},
    "mixtral": {"*.gate_up_proj": (32, 48), "*.down_proj": (48, 32), "*.mlp.gate.weight": (32, 4)},
    "qwen2_moe": {"*.experts.gate_up_proj": (32, 24), "*.experts.down_proj": (24, 32)},
    "xlnet": {"*.rel_attn.[qkvr]": (32, 32), "*.rel_attn.o": (32, 32)},
    "funnel": {"*.r_kernel": (32, 32)},
    "wav2vec2": {"*.parametrizations.weight.original1": (16 * 4, 16 * 4)},
    "mamba": {"*.conv1d.weight": (4, 4)},
}


@cache
def traced(name: str) -> tuple[nn.Module, Graph]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, inputs = build(name)
        return model, trace(model, inputs)


def is_unused(name: str, parameter: Parameter) -> bool:
    given = UNUSED.get(name, ())
    return any(fnmatchcase(parameter.name, g) for g in ([given] if isinstance(given, str) else given))


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_a_role_or_an_honest_status(name: str) -> None:
    _, graph = traced(name)
    assert graph.tape is not None
    assert graph.tape.guesses == ()
    for parameter in graph.parameters:
        if is_unused(name, parameter):
            assert parameter.status is Status.UNUSED, parameter.name
        else:
            assert parameter.status is Status.TRACED, parameter.name
            assert parameter.role is not Role.UNKNOWN, parameter.name


@pytest.mark.parametrize("name", MODELS)
def test_roles_are_those_that_the_names_say(name: str) -> None:
    _, graph = traced(name)
    for parameter in graph.parameters:
        if is_unused(name, parameter) or any(fnmatchcase(parameter.name, p) for p in EXCEPT.get(name, ())):
            continue
        roles = {role for n in parameter.names for pattern, role in NAMED if re.search(pattern, n)}
        # A table tied to an output layer has the head's name, too.
        if roles:
            assert parameter.role in roles, f"{parameter.name} is {parameter.role}, should be {roles}"


@pytest.mark.parametrize("name", MODELS)
def test_fans_are_those_of_the_modules(name: str) -> None:
    model, graph = traced(name)
    modules = dict(model.named_modules())
    table = FANS.get(name, {})
    used = set()
    for parameter in graph.parameters:
        pattern = next((p for p in table if fnmatchcase(parameter.name, p)), None)
        module = modules.get(parameter.module)
        fans = (parameter.layout.fan_in, parameter.layout.fan_out)
        if pattern is not None:
            used.add(pattern)
            assert fans == table[pattern], parameter.name
        elif parameter.local_name != "weight":
            continue
        elif isinstance(module, nn.Linear) and parameter.role is not Role.EMBEDDING:
            assert fans[0] == module.in_features, parameter.name
            assert fans[1] in (module.out_features, module.out_features / parameter.layout.blocks), parameter.name
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            size = torch.Size(module.kernel_size).numel()
            assert fans[0] == module.in_channels / module.groups * size, parameter.name
            step = torch.Size(module.stride).numel()
            assert fans[1] == module.out_channels / module.groups * size / step, parameter.name
        elif isinstance(module, nn.Embedding):
            assert fans == (1, module.embedding_dim), parameter.name
    assert used == set(table)


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "vit", "resnet", "mixtral", "mamba", "gemma2"])
def test_a_plan_is_written_and_holds(name: str) -> None:
    model, inputs = build(name)
    made = plan(model, inputs)
    unknown = [p.name for p in made.uncovered]
    assert not unknown
    receipt = apply_(model, made, seed=3)
    assert verify(model, receipt).ok
    assert type(made).from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("name", "total"),
    [("gpt2", 4), ("llama", 4), ("gptj", 2), ("phi", 2), ("cohere", 2), ("falcon", 2), ("bert", 1), ("vit", 4)],
)
def test_streams_have_as_many_branches_as_the_architecture(name: str, total: int) -> None:
    """Two blocks: four branches; two where attention and MLP run beside each other; one at a time behind a norm."""
    _, graph = traced(name)
    totals = {u.branch.total for p in graph.parameters for u in p.uses if u.branch is not None}
    assert totals == {total}


@pytest.mark.parametrize("name", ["gemma", "gemma2"])
def test_a_norm_that_adds_one_starts_from_zero(name: str) -> None:
    _, graph = traced(name)
    norms = [p for p in graph.parameters if p.role is Role.NORM_SCALE]
    assert norms
    assert all(p.declared.neutral == 0 for p in norms)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS))
def test_nothing_is_found_in_a_healthy_architecture(name):
    """But for layers that Longformer calls only where a token attends globally."""
    model, inputs = build(name)
    found = [(f.code, f.severity) for f in probe(model, inputs).findings if f.severity != "note"]
    assert found == ([("unused-parameter", "warning")] if name == "longformer" else [])

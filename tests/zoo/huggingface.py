"""Small random configurations of architectures from transformers, with example inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Built = tuple[nn.Module, dict[str, Any]]

_TEXT = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
_GQA = {**_TEXT, "num_key_value_heads": 2}
_NAMED = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}


def _ids(length: int = 12) -> torch.Tensor:
    return torch.randint(2, 50, (4, length), generator=torch.Generator().manual_seed(0))


def _pixels(size: int = 32) -> torch.Tensor:
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))


def _text(**more: Any) -> dict[str, Any]:
    return {"input_ids": _ids(), **more}


def _causal(**more: Any) -> dict[str, Any]:
    return _text(use_cache=False, **more)


def _seq2seq() -> dict[str, Any]:
    return {"input_ids": _ids(), "decoder_input_ids": _ids(10), "use_cache": False}


# name: model class, config class, configuration, inputs
MODELS: dict[str, tuple[str, str, dict[str, Any], Callable[[], dict[str, Any]]]] = {
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": 50, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 4, **_NAMED},
        _causal,
    ),
    "gpt_neo": (
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        {
            "vocab_size": 50,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 32,
            **_NAMED,
        },
        _causal,
    ),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", {**_TEXT, **_NAMED}, _causal),
    "gptj": (
        "GPTJForCausalLM",
        "GPTJConfig",
        {"vocab_size": 50, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, **_NAMED},
        _causal,
    ),
    "codegen": (
        "CodeGenForCausalLM",
        "CodeGenConfig",
        {"vocab_size": 50, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, **_NAMED},
        _causal,
    ),
    "bloom": (
        "BloomForCausalLM",
        "BloomConfig",
        {"vocab_size": 50, "hidden_size": 32, "n_layer": 2, "n_head": 4, **_NAMED},
        _causal,
    ),
    "opt": (
        "OPTForCausalLM",
        "OPTConfig",
        {
            "vocab_size": 50,
            "hidden_size": 32,
            "ffn_dim": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
            "word_embed_proj_dim": 32,
            **_NAMED,
        },
        _causal,
    ),
    "mpt": (
        "MptForCausalLM",
        "MptConfig",
        {"vocab_size": 50, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 32, **_NAMED},
        _causal,
    ),
    "falcon": (
        "FalconForCausalLM",
        "FalconConfig",
        {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, **_NAMED},
        _causal,
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {**_GQA, **_NAMED}, _causal),
    "mistral": ("MistralForCausalLM", "MistralConfig", {**_GQA, **_NAMED}, _causal),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {**_GQA, **_NAMED}, _causal),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**_GQA, "head_dim": 8, **_NAMED}, _causal),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", {**_GQA, "head_dim": 8, **_NAMED}, _causal),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**_GQA, "head_dim": 8, **_NAMED}, _causal),
    "phi": ("PhiForCausalLM", "PhiConfig", {**_TEXT, **_NAMED}, _causal),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", {**_GQA, **_NAMED}, _causal),
    "olmo": ("OlmoForCausalLM", "OlmoConfig", {**_GQA, **_NAMED}, _causal),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", {**_GQA, **_NAMED}, _causal),
    "cohere": ("CohereForCausalLM", "CohereConfig", {**_GQA, **_NAMED}, _causal),
    "stablelm": ("StableLmForCausalLM", "StableLmConfig", {**_GQA, **_NAMED}, _causal),
    "starcoder2": ("Starcoder2ForCausalLM", "Starcoder2Config", {**_GQA, **_NAMED}, _causal),
    "granite": ("GraniteForCausalLM", "GraniteConfig", {**_GQA, **_NAMED}, _causal),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**_GQA, "num_local_experts": 4, **_NAMED}, _causal),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        {
            **_GQA,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 40,
            **_NAMED,
        },
        _causal,
    ),
    "mamba": (
        "MambaForCausalLM",
        "MambaConfig",
        {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, **_NAMED},
        _causal,
    ),
    "mamba2": (
        "Mamba2ForCausalLM",
        "Mamba2Config",
        {
            "vocab_size": 50,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 4,
            "head_dim": 8,
            "num_heads": 8,
            "n_groups": 1,
            "chunk_size": 4,
            **_NAMED,
        },
        _causal,
    ),
    "rwkv": (
        "RwkvForCausalLM",
        "RwkvConfig",
        {
            "vocab_size": 50,
            "hidden_size": 32,
            "attention_hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "context_length": 32,
            **_NAMED,
        },
        _causal,
    ),
    "bert": ("BertForSequenceClassification", "BertConfig", {**_TEXT, **_NAMED}, _text),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", {**_TEXT, **_NAMED}, _text),
    "albert": ("AlbertForMaskedLM", "AlbertConfig", {**_TEXT, "embedding_size": 16, **_NAMED}, _text),
    "distilbert": (
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        {
            "vocab_size": 50,
            "dim": 32,
            "hidden_dim": 48,
            "n_layers": 2,
            "n_heads": 4,
            "max_position_embeddings": 32,
            **_NAMED,
        },
        _text,
    ),
    "electra": ("ElectraForPreTraining", "ElectraConfig", {**_TEXT, "embedding_size": 16, **_NAMED}, _text),
    "mpnet": ("MPNetForMaskedLM", "MPNetConfig", {**_TEXT, **_NAMED}, _text),
    "deberta_v2": (
        "DebertaV2ForMaskedLM",
        "DebertaV2Config",
        {
            **_TEXT,
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_buckets": 8,
            "max_relative_positions": 16,
            **_NAMED,
        },
        _text,
    ),
    "longformer": (
        "LongformerForMaskedLM",
        "LongformerConfig",
        {**_TEXT, "attention_window": 4, "max_position_embeddings": 64, **_NAMED},
        _text,
    ),
    "funnel": (
        "FunnelForMaskedLM",
        "FunnelConfig",
        {
            "vocab_size": 50,
            "d_model": 32,
            "n_head": 4,
            "d_head": 8,
            "d_inner": 48,
            "block_sizes": [1, 1],
            "num_decoder_layers": 1,
        },
        _text,
    ),
    "xlnet": (
        "XLNetLMHeadModel",
        "XLNetConfig",
        {"vocab_size": 50, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48, **_NAMED},
        _text,
    ),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {
            "vocab_size": 50,
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 2,
            "num_heads": 4,
            "decoder_start_token_id": 0,
            **_NAMED,
        },
        _seq2seq,
    ),
    "bart": (
        "BartForConditionalGeneration",
        "BartConfig",
        {
            "vocab_size": 50,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_position_embeddings": 32,
            "decoder_start_token_id": 0,
            "forced_eos_token_id": None,
            **_NAMED,
        },
        _seq2seq,
    ),
    "pegasus": (
        "PegasusForConditionalGeneration",
        "PegasusConfig",
        {
            "vocab_size": 50,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_position_embeddings": 32,
            "decoder_start_token_id": 0,
            "forced_eos_token_id": None,
            **_NAMED,
        },
        _seq2seq,
    ),
    "vit": (
        "ViTForImageClassification",
        "ViTConfig",
        {
            "image_size": 32,
            "patch_size": 8,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
        lambda: {"pixel_values": _pixels()},
    ),
    "deit": (
        "DeiTForImageClassification",
        "DeiTConfig",
        {
            "image_size": 32,
            "patch_size": 8,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
        lambda: {"pixel_values": _pixels()},
    ),
    "beit": (
        "BeitForImageClassification",
        "BeitConfig",
        {
            "image_size": 32,
            "patch_size": 8,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "use_relative_position_bias": True,
        },
        lambda: {"pixel_values": _pixels()},
    ),
    "dinov2": (
        "Dinov2ForImageClassification",
        "Dinov2Config",
        {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
        lambda: {"pixel_values": _pixels()},
    ),
    "swin": (
        "SwinForImageClassification",
        "SwinConfig",
        {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
        lambda: {"pixel_values": _pixels()},
    ),
    "swinv2": (
        "Swinv2ForImageClassification",
        "Swinv2Config",
        {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
        lambda: {"pixel_values": _pixels()},
    ),
    "convnext": (
        "ConvNextForImageClassification",
        "ConvNextConfig",
        {"hidden_sizes": [16, 32], "depths": [2, 2], "num_stages": 2},
        lambda: {"pixel_values": _pixels()},
    ),
    "convnextv2": (
        "ConvNextV2ForImageClassification",
        "ConvNextV2Config",
        {"hidden_sizes": [16, 32], "depths": [2, 2], "num_stages": 2},
        lambda: {"pixel_values": _pixels()},
    ),
    "resnet": (
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [2, 2], "layer_type": "bottleneck"},
        lambda: {"pixel_values": _pixels()},
    ),
    "regnet": (
        "RegNetForImageClassification",
        "RegNetConfig",
        {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 2], "groups_width": 8},
        lambda: {"pixel_values": _pixels()},
    ),
    "mobilenet_v2": (
        "MobileNetV2ForImageClassification",
        "MobileNetV2Config",
        {"depth_multiplier": 0.25},
        lambda: {"pixel_values": _pixels(64)},
    ),
    "segformer": (
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {
            "hidden_sizes": [8, 16],
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sr_ratios": [2, 1],
            "patch_sizes": [3, 3],
            "strides": [2, 2],
            "num_attention_heads": [1, 2],
            "mlp_ratios": [2, 2],
            "decoder_hidden_size": 16,
        },
        lambda: {"pixel_values": _pixels()},
    ),
    "clip": (
        "CLIPModel",
        "CLIPConfig",
        {
            "text_config": {**_TEXT, "max_position_embeddings": 16, **_NAMED},
            "vision_config": {
                "image_size": 32,
                "patch_size": 8,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
            },
            "projection_dim": 16,
        },
        lambda: {"input_ids": _ids(), "pixel_values": _pixels()},
    ),
    "whisper": (
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {
            "vocab_size": 50,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "num_mel_bins": 8,
            "max_source_positions": 16,
            "max_target_positions": 32,
            "decoder_start_token_id": 0,
            "begin_suppress_tokens": None,
            **_NAMED,
        },
        lambda: {
            "input_features": torch.randn(4, 8, 32, generator=torch.Generator().manual_seed(0)),
            "decoder_input_ids": _ids(6),
            "use_cache": False,
        },
    ),
    "wav2vec2": (
        "Wav2Vec2ForCTC",
        "Wav2Vec2Config",
        {
            **_TEXT,
            "conv_dim": (8, 8),
            "conv_stride": (4, 2),
            "conv_kernel": (8, 3),
            "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2,
            **_NAMED,
        },
        lambda: {"input_values": torch.randn(2, 400, generator=torch.Generator().manual_seed(0))},
    ),
    "hubert": (
        "HubertForCTC",
        "HubertConfig",
        {
            **_TEXT,
            "conv_dim": (8, 8),
            "conv_stride": (4, 2),
            "conv_kernel": (8, 3),
            "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2,
            **_NAMED,
        },
        lambda: {"input_values": torch.randn(2, 400, generator=torch.Generator().manual_seed(0))},
    ),
    "time_series": (
        "PatchTSTForPrediction",
        "PatchTSTConfig",
        {
            "num_input_channels": 2,
            "context_length": 16,
            "patch_length": 4,
            "patch_stride": 4,
            "d_model": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 24,
            "prediction_length": 4,
        },
        lambda: {"past_values": torch.randn(4, 16, 2, generator=torch.Generator().manual_seed(0))},
    ),
}


def build(name: str) -> Built:
    """The model of this name, random, and inputs for it."""
    import transformers

    model, config, settings, inputs = MODELS[name]
    torch.manual_seed(0)
    return getattr(transformers, model)(getattr(transformers, config)(**settings)), inputs()

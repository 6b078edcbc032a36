"""Which file of a folder holds the weights: as ``save_pretrained`` names them, or the only one there is.

Looks at names alone; ``opening`` then opens what was found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ...errors import TransferError

# In this order: a format without code before one with, one file before several (as transformers has it).
_USUAL: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_SUFFIXES: Final = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
# What a trainer writes beside the weights.
_NOT_WEIGHTS: Final = ("training_args", "optimizer", "scheduler", "rng_state", "scaler", "tokenizer")


def weights_in(folder: Path) -> tuple[Path, str]:
    """The file with the weights in ``folder``, or its index, and a note where there was a choice.

    Raises:
        TransferError: there is none, or several that could be meant.
    """
    usual = [folder / name for name in _USUAL if (folder / name).is_file()]
    if usual:
        others = [p.name for p in usual[1:]]
        note = f"{usual[0].name} was taken; the folder also holds {', '.join(others)}" if others else ""
        return usual[0], note
    indices = sorted(folder.glob("*.index.json"))
    files = sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES and not p.name.startswith(_NOT_WEIGHTS))
    found = indices or files
    if len(found) == 1:
        return found[0], ""
    if not found:
        raise TransferError(f"the folder {str(folder)!r} holds no weights: {_missing(folder)}")
    names = ", ".join(p.name for p in found[:8]) + (", …" if len(found) > 8 else "")
    shards = " They look like shards without their index: download it too." if "-of-" in found[0].name else ""
    raise TransferError(
        f"the folder {str(folder)!r} holds {len(found)} files that could be the weights: {names}. "
        f"Give the path of one.{shards}"
    )


def _missing(folder: Path) -> str:
    if (folder / ".metadata").is_file():
        return (
            "it is a torch.distributed.checkpoint, whose metadata is a pickle that torch opens without protection. "
            "Where you trust it, convert it: "
            "torch.distributed.checkpoint.format_utils.dcp_to_torch_save(folder, 'weights.pt')"
        )
    if any(folder.glob("*.h5")) or any(folder.glob("*.msgpack")):
        return (
            "only those of TensorFlow or Flax. Convert them: from_pretrained(..., from_tf=True), then save_pretrained"
        )
    return f"looked for {', '.join(_USUAL)}, or a single file with one of the suffixes {', '.join(_SUFFIXES)}"

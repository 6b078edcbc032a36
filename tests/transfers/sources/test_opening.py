"""Every kind of source gives the same tensors, whole and in parts, and reads no value before it is asked to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.parallel import DataParallel

from firstlight.errors import ArgumentError, TransferError
from firstlight.transfers.sources import Source, Stored, open_source
from models import Tied

STATE = {
    "a.weight": torch.arange(24.0).view(4, 6),
    "a.bias": torch.randn(4, generator=torch.Generator().manual_seed(1)),
    "half": torch.linspace(-2, 2, 5).bfloat16(),
    "steps": torch.tensor(7),
    "none": torch.empty(0, 3),
    "mask": torch.tensor([True, False]),
}


def halves() -> list[dict[str, torch.Tensor]]:
    names = list(STATE)
    return [{n: STATE[n] for n in names[:3]}, {n: STATE[n] for n in names[3:]}]


def write_index(path: Path, files: list[str]) -> None:
    table = {n: f for f, tensors in zip(files, halves(), strict=True) for n in tensors}
    lines = ",".join(f'"{n}": "{f}"' for n, f in table.items())
    path.write_text(f'{{"metadata": {{}}, "weight_map": {{{lines}}}}}')


def safetensors_file(folder: Path) -> Path:
    save_file(STATE, folder / "model.safetensors", metadata={"format": "pt"})
    return folder / "model.safetensors"


def checkpoint(folder: Path) -> Path:
    torch.save(STATE, folder / "w.pt")
    return folder / "w.pt"


def checkpoint_without_checksums(folder: Path) -> Path:
    torch.serialization.set_crc32_options(False)
    try:
        return checkpoint(folder)
    finally:
        torch.serialization.set_crc32_options(True)


def old_checkpoint(folder: Path) -> Path:
    torch.save(STATE, folder / "w.pth", _use_new_zipfile_serialization=False)
    return folder / "w.pth"


def no_suffix(folder: Path) -> Path:
    return safetensors_file(folder).rename(folder / "weights")


def sharded(folder: Path) -> Path:
    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for file, tensors in zip(files, halves(), strict=True):
        save_file(tensors, folder / file)
    write_index(folder / "model.safetensors.index.json", files)
    return folder / "model.safetensors.index.json"


def sharded_folder(folder: Path) -> Path:
    return sharded(folder).parent


def sharded_bin(folder: Path) -> Path:
    files = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    for file, tensors in zip(files, halves(), strict=True):
        torch.save(tensors, folder / file)
    write_index(folder / "pytorch_model.bin.index.json", files)
    return folder


def whole_folder(folder: Path) -> Path:
    (folder / "config.json").write_text("{}")
    torch.save({}, folder / "training_args.bin")
    return safetensors_file(folder).parent


def only_file(folder: Path) -> Path:
    return checkpoint(folder).parent


def text(folder: Path) -> str:
    return str(safetensors_file(folder))


def hub_cache(folder: Path) -> Path:
    """A snapshot whose files are links into the store beside it, as huggingface_hub keeps them."""
    snapshot, blobs = folder / "models--x" / "snapshots" / "abc", folder / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in sharded_folder(folder).glob("model*"):
        if file.is_file():
            file.rename(blobs / f"{file.name}.hash")
            (snapshot / file.name).symlink_to(blobs / f"{file.name}.hash")
    return snapshot


KINDS = [
    safetensors_file,
    checkpoint,
    checkpoint_without_checksums,
    old_checkpoint,
    no_suffix,
    sharded,
    sharded_folder,
    sharded_bin,
    whole_folder,
    only_file,
    text,
    hub_cache,
    lambda folder: STATE,
    lambda folder: {"epoch": 3, "state_dict": STATE, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
    lambda folder: open_source(safetensors_file(folder)),
]


@pytest.mark.parametrize("make", KINDS)
def test_every_kind_gives_the_same_tensors(make: Callable[[Path], object], tmp_path: Path) -> None:
    source = open_source(make(tmp_path))
    assert {n: (s.shape, s.dtype) for n, s in source.tensors.items()} == {
        n: (tuple(t.shape), t.dtype) for n, t in STATE.items()
    }
    for name, values in STATE.items():
        assert torch.equal(source.read(name), values)
        assert source.read(name).dtype == values.dtype
    assert torch.equal(source.read("a.weight", (slice(1, 3), slice(2, 6))), STATE["a.weight"][1:3, 2:6])
    assert torch.equal(source.read("a.bias", (slice(3, 4),)), STATE["a.bias"][3:4])
    with pytest.raises(TransferError, match=r"has no tensor 'b\.weight'"):
        source.read("b.weight")


def test_a_live_model_has_canonical_names_and_no_fleeting_buffers() -> None:
    model = Tied()
    model.register_buffer("kept", torch.ones(2))
    model.register_buffer("fleeting", torch.ones(2), persistent=False)
    source = open_source(DataParallel(model))
    assert source.label == "the model DataParallel"
    assert set(source.tensors) == set(model.state_dict())
    assert source.read("embed.weight").data_ptr() == source.read("head.weight").data_ptr()
    assert not source.read("embed.weight").requires_grad


@pytest.mark.parametrize("make", [safetensors_file, checkpoint])
def test_views_spare_the_copy_and_leave_the_file_alone(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    before = path.read_bytes()
    source = open_source(path)
    assert source.read("a.weight").data_ptr() == source.read("a.weight").data_ptr()
    assert source.read("a.weight").untyped_storage().nbytes() == STATE["a.weight"].nbytes
    source.read("a.weight").fill_(9)
    assert path.read_bytes() == before
    assert torch.equal(open_source(path).read("a.weight"), STATE["a.weight"])


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    """A sparse file of 1 TB opens, and a part of it is read."""
    header = b'{"w":{"dtype":"F32","shape":[1000000,262144],"data_offsets":[0,1048576000000]}}'
    path = tmp_path / "vast.safetensors"
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 1048576000000)
    source = open_source(path)
    assert source.tensors["w"] == Stored((1_000_000, 262_144), torch.float32, "vast.safetensors")


def test_values_off_their_alignment_are_read(tmp_path: Path) -> None:
    values = torch.randn(5, generator=torch.Generator().manual_seed(2))
    header = b'{"w":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}}'
    header += b" " * (1 - (8 + len(header)) % 4 + 4)
    (tmp_path / "odd.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + values.numpy().tobytes())
    assert (8 + len(header)) % 4 == 1
    assert torch.equal(open_source(tmp_path / "odd.safetensors").read("w"), values)


def test_a_file_that_changes_after_it_was_opened_is_refused(tmp_path: Path) -> None:
    source = open_source(safetensors_file(tmp_path))
    save_file({"other": torch.ones(100)}, tmp_path / "model.safetensors")
    with pytest.raises(TransferError, match=r"model\.safetensors' was changed"):
        source.read("a.weight")


def test_the_safer_of_two_formats_is_taken_and_said(tmp_path: Path) -> None:
    safetensors_file(tmp_path)
    torch.save({"other": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    source = open_source(tmp_path)
    assert "a.weight" in source.tensors
    assert source.notes == ("model.safetensors was taken; the folder also holds pytorch_model.bin",)
    assert source.label == repr(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (3, "int was given"),
        (None, "NoneType was given"),
        ([torch.ones(1)], "list was given"),
    ],
)
def test_what_is_no_source_is_refused(given: object, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        open_source(given)


def test_what_has_no_sections_takes_none(tmp_path: Path) -> None:
    for source in (safetensors_file(tmp_path), sharded(tmp_path), nn.Linear(1, 1), open_source(STATE)):
        with pytest.raises(ArgumentError, match="no sections"):
            open_source(source, section="model")


def test_nothing_is_downloaded() -> None:
    with pytest.raises(TransferError, match="downloads nothing"):
        open_source("https://example.com/model.safetensors")
    with pytest.raises(TransferError, match="no weights file 'bert-base-uncased'"):
        open_source("bert-base-uncased")


class Rising(Source):
    """A user's own source: every value is its place."""

    @property
    def label(self) -> str:
        return "rising values"

    @property
    def tensors(self) -> dict[str, Stored]:
        return {"w": Stored((3,), torch.float32)}

    def read(self, name: str, index: tuple[slice, ...] | None = None) -> torch.Tensor:
        return torch.arange(3.0)


def test_a_source_of_the_users_own_is_given_back() -> None:
    source = Rising()
    assert open_source(source) is source
    assert source.notes == ()

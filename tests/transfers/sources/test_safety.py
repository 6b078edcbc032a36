"""Every way a file can be wrong is a TransferError that names it, and no code in any file is run."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from firstlight.errors import TransferError
from firstlight.transfers.sources import open_source

RAN: list[str] = []


def run(what: str) -> None:
    RAN.append(what)


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return run, ("unpickled",)


def everything(path: Path) -> dict[str, torch.Tensor]:
    source = open_source(path)
    return {name: source.read(name) for name in source.tensors}


def refused(path: Path, words: str) -> None:
    """Opening, or reading everything, is refused by file and reason, and ran nothing."""
    with pytest.raises(TransferError, match=words) as caught:
        everything(path)
    assert path.name in str(caught.value)
    assert not RAN


def tensors(header: object, values: bytes = b"\0" * 24) -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


def entry(begin: int = 0, end: int = 24, shape: object = (2, 3), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD = tensors({"w": entry()})
BAD_SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "shorter than its length": (GOOD[:5], "is no weights file"),
    "header cut": (GOOD[:20], "declares a header"),
    "values cut": (GOOD[:-1], "'w' ends at byte"),
    "values longer": (GOOD + b"\0", "its tensors end at byte"),
    "oversized header": ((2**62).to_bytes(8, "little") + GOOD[8:], "declares a header of 4,611,686,018,427,387,904"),
    "header beyond the format": ((100_000_001).to_bytes(8, "little") + GOOD[8:], "the format allows 100,000,000"),
    "no JSON": (tensors(b'{"w": '), "its header cannot be read"),
    "not UTF-8": (tensors(b'{"w\xff": 1}'), "its header cannot be read"),
    "deep JSON": (tensors(b'{"w": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "its header cannot be read"),
    "huge number": (tensors(b'{"w": ' + b"9" * 10_000 + b"}"), "its header cannot be read"),
    "listed twice": (tensors(b'{"w": %s, "w": %s}' % ((json.dumps(entry()).encode(),) * 2)), "'w' is listed twice"),
    "overlap": (tensors({"a": entry(0, 16, [4]), "b": entry(8, 24, [4])}), "'b' begins .* overlaps"),
    "the same bytes twice": (tensors({"a": entry(), "b": entry()}), "overlaps"),
    "gap": (tensors({"a": entry(0, 8, [2]), "b": entry(16, 24, [2])}), "'b' begins .* leaves a gap"),
    "out of bounds": (tensors({"w": entry(0, 48, [12])}), "'w' ends at byte"),
    "backwards": (tensors({"w": entry(24, 0)}), r"'w' has the shape .* offsets \[24, 0\]"),
    "negative offsets": (tensors({"w": entry(-24, 0)}), "'w' has the shape"),
    "negative axis": (tensors({"w": entry(shape=[-2, -3])}), "'w' has the shape"),
    "fractional axis": (tensors({"w": entry(shape=[2.0, 3])}), "'w' has the shape"),
    "boolean axis": (tensors({"w": entry(shape=[True, 6])}), "'w' has the shape"),
    "shape and bytes differ": (tensors({"w": entry(shape=[3, 3])}), r"'w' \(3, 3\) of F32 takes 36 bytes"),
    "product past 64 bits": (tensors({"w": entry(shape=[2**40, 2**40])}), "'w' .* takes"),
    "too many axes": (tensors({"w": entry(shape=[1] * 65)}), "the entry of 'w'"),
    "no entry": (tensors({"w": 3}), "the entry of 'w'"),
    "an entry's part missing": (tensors({"w": {"dtype": "F32"}}), "the entry of 'w'"),
    "dtype nobody knows": (tensors({"w": entry(dtype="F4")}), "stores 'w' as 'F4'"),
    "dtype no word": (tensors({"w": entry(dtype=32)}), "the entry of 'w'"),
    "header an array": (tensors(b"[1]"), "is no weights file"),
}


@pytest.mark.parametrize(("content", "words"), BAD_SAFETENSORS.values(), ids=BAD_SAFETENSORS)
def test_a_bad_safetensors_file_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    refused(path, words)


OTHERS = {
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
    "a web page": (b"<!DOCTYPE html><html>404</html>", "web page"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "HDF5"),
    "GGUF": (b"GGUF\x03\0\0\0" + b"\0" * 64, "GGUF"),
    "gzip": (b"\x1f\x8b\x08" + b"\0" * 64, "gzip"),
    "noise": (bytes(range(7, 71)), "begins with 07 08"),
    "text": (b"hello, world, these are no weights", "is no weights file"),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin", ".h5"])
@pytest.mark.parametrize(("content", "words"), OTHERS.values(), ids=OTHERS)
def test_another_format_is_named(content: bytes, words: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    refused(path, words)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_named_safetensors_and_the_reverse_are_refused(zipped: bool, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    refused((tmp_path / "w.pt").rename(tmp_path / "w.safetensors"), "not an intact safetensors file")
    save_file({"w": torch.ones(2)}, tmp_path / "v.safetensors")
    refused((tmp_path / "v.safetensors").rename(tmp_path / "v.pt"), "holds safetensors")


CODE: dict[str, object] = {
    "a function": {"model": {"w": torch.ones(2)}, "x": Code()},
    "a whole model": nn.Linear(2, 2),
    "an args namespace": {"args": argparse.Namespace(lr=1), "model": {"w": torch.ones(2)}},
    "a function as the whole": Code(),
    "a function as a name": {Code(): torch.ones(2)},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize("content", CODE.values(), ids=CODE)
def test_a_checkpoint_that_wants_code_is_refused_and_says_how_to_convert(
    content: object, zipped: bool, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "w.pt", r"wants \S+ to be run.*weights_only=False.*save_file")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_bare_pickle_runs_nothing(protocol: int, tmp_path: Path) -> None:
    for content in (Code(), {"w": [1.0, 2.0]}, OrderedDict(w=Code())):
        (tmp_path / "w.bin").write_bytes(pickle.dumps(content, protocol))
        refused(tmp_path / "w.bin", r"w\.bin")


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch retires what still writes such files
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), str(tmp_path / "w.pt"))
    refused(tmp_path / "w.pt", "TorchScript archive, which holds code")


def rewritten(path: Path, change: Callable[[str, bytes], bytes], how: int = zipfile.ZIP_STORED) -> Path:
    """A torch archive with its entries changed."""
    with zipfile.ZipFile(path) as archive:
        entries = [(e.filename, archive.read(e)) for e in archive.infolist()]
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in entries:
            archive.writestr(name, change(name, content))
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    torch.save({"w": torch.ones(2, 3), "v": torch.zeros(4)}, tmp_path / "w.pt")
    return tmp_path / "w.pt"


def test_a_zip_bomb_is_refused_before_it_unfolds(archive: Path) -> None:
    bomb = rewritten(archive, lambda n, c: b"\0" * 50_000_000 if n.endswith("/0") else c, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 100_000
    refused(bomb, "is compressed")


def test_entries_are_held_against_the_file(archive: Path) -> None:
    refused(
        rewritten(archive, lambda n, c: c[:8] if n.endswith("/0") else c),
        r"'w' needs 24 bytes, and its entry w/data/0 has 8",
    )
    refused(rewritten(archive, lambda n, c: c + b"\0" if n.endswith("/1") else c), r"w\.pt")


def test_an_entry_twice_is_refused(archive: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("w/data/0", b"\0" * 24)
    refused(archive, "'w/data/0' is there 2 times")


def test_an_archive_without_its_pickle_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as opened:
        opened.writestr("w/data/0", b"\0" * 24)
    refused(tmp_path / "w.pt", "0 entries data.pkl")


class Vast:
    """Asks for a trillion zeros in a few bytes."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return bytearray, (10**12,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_bomb_is_refused(zipped: bool, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1), "x": Vast()}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "w.pt", "bytearray")


def _program(body: bytes, zipped: bool, path: Path) -> None:
    """A checkpoint whose pickle is ``body``."""
    if not zipped:
        torch.save({"w": torch.ones(1)}, path, _use_new_zipfile_serialization=False)
        start = path.read_bytes()
        path.write_bytes(start[: start.index(b"\x80\x02}q\x00X\x01\x00\x00\x00w")] + body)
        return
    torch.save({"w": torch.ones(1)}, path)
    rewritten(path, lambda n, c: body if n.endswith("data.pkl") else c)


# Each asks for gigabytes in at most a megabyte.
GREEDY = {
    "a bytearray to be filled": (b"\x80\x05\x96" + (20 * 2**30).to_bytes(8, "little") + b".", "pickle cannot be read"),
    "a memo number": (b"\x80\x02}r\xff\xff\xff\xff.", r"w\.pt"),
    "a frame": (b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"}.", r"w\.pt"),
    "a string": (b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"a.", "pickle cannot be read"),
    "one list to many sets": (
        b"\x80\x02]q\x00(" + b"K\x01" * 100_000 + b"e0(" + b"c__builtin__\nset\nh\x00\x85R" * 30_000 + b"l.",
        "given more than weights need",
    ),
    "one text encoded many times": (
        b"\x80\x02X\x40\x42\x0f\x00" + b"a" * 1_000_000 + b"q\x000("
        b"" + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 1_000 + b"l.",
        "given more than weights need",
    ),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize(("body", "words"), GREEDY.values(), ids=GREEDY)
def test_a_small_pickle_cannot_fill_the_memory(body: bytes, words: str, zipped: bool, tmp_path: Path) -> None:
    _program(body, zipped, tmp_path / "w.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(tmp_path / "w.pt", words)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


def test_a_storage_beyond_the_file_is_refused(archive: Path) -> None:
    """The pickle declares 2 × 3 values as 2 × 300,000,000."""

    def longer(name: str, content: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return content
        assert b"K\x02K\x03\x86" in content
        return content.replace(b"K\x02K\x03\x86", b"K\x02J\x00\xa3\xe1\x11\x86")

    refused(rewritten(archive, longer), "RuntimeError|needs")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_every_truncation_of_a_checkpoint_is_refused(zipped: bool, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "w.pt").read_bytes()
    for length in range(0, len(content) - 1, 7):
        (tmp_path / "w.pt").write_bytes(content[:length])
        refused(tmp_path / "w.pt", r"w\.pt")


@pytest.mark.parametrize("kind", ["sparse", "quantised", "meta", "nested"])
def test_tensors_without_plain_values_are_named(kind: str, tmp_path: Path) -> None:
    match kind:
        case "quantised":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch retires the dtype
                odd = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
        case "nested":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch calls them a prototype
                odd = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
        case "meta":
            odd = torch.ones(3, device="meta")
        case _:
            odd = torch.eye(3).to_sparse()
    torch.save({"good": torch.ones(2), "odd": odd}, tmp_path / "w.pt")
    source = open_source(tmp_path / "w.pt")
    assert torch.equal(source.read("good"), torch.ones(2))
    with pytest.raises(TransferError, match=r"'odd' in .*w\.pt' is .*cannot be weights"):
        source.read("odd")


INDEX = {"a": "one.safetensors", "b": "two.safetensors"}
BAD_INDEX: dict[str, tuple[object, str]] = {
    "up and out": ({"a": "../../etc/passwd"}, r"names '\.\./\.\./etc/passwd', which is not a weights file beside it"),
    "absolute": ({"a": "/etc/passwd"}, "names '/etc/passwd'"),
    "Windows": ({"a": "C:\\weights"}, "which is not a weights file beside it"),
    "the folder": ({"a": ".."}, "which is not a weights file beside it"),
    "itself": ({"a": "model.safetensors.index.json"}, "which is not a weights file beside it"),
    "zero byte": ({"a": "one\0.safetensors"}, "which is not a weights file beside it"),
    "missing shard": (INDEX | {"c": "three.safetensors"}, r"'three\.safetensors' that it names is not there"),
    "in the other shard": (INDEX | {"a": "two.safetensors"}, r"puts 'a' into 'two.safetensors'|does not list"),
    "in no shard": (INDEX | {"c": "two.safetensors"}, "puts 'c' into 'two.safetensors': which does not hold it"),
    "not listed": ({"a": "one.safetensors"} | {"b": "one.safetensors"}, "puts 'b'"),
    "no file name": (INDEX | {"c": 3}, "the file of 'c' is 3"),
    "no table": ([], 'no table "weight_map"'),
}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors")
    save_file({"b": torch.ones(3)}, tmp_path / "two.safetensors")
    return tmp_path / "model.safetensors.index.json"


@pytest.mark.parametrize(("table", "words"), BAD_INDEX.values(), ids=BAD_INDEX)
def test_a_bad_index_is_refused(table: object, words: str, shards: Path) -> None:
    shards.write_text(json.dumps({"weight_map": table}))
    refused(shards, words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be used"),
        (b"{", "cannot be used"),
        (b"[" * 200_000, "cannot be used"),
        (b'{"weight_map": {"a": "one.safetensors", "a": "one.safetensors"}}', "'a' is listed twice"),
        (b'{"weight_map": {"a": "one.safetensors"}, "weight_map": {}}', "'weight_map' is listed twice"),
    ],
)
def test_a_damaged_index_is_refused(content: bytes, words: str, shards: Path) -> None:
    shards.write_bytes(content)
    refused(shards, words)


def test_a_tensor_in_two_shards_is_refused(shards: Path) -> None:
    save_file({"a": torch.zeros(2), "b": torch.ones(3)}, shards.parent / "two.safetensors")
    shards.write_text(json.dumps({"weight_map": INDEX}))
    refused(shards, r"'a' lies both in 'one\.safetensors' and in 'two\.safetensors'")


def test_a_tensor_that_the_index_leaves_out_is_refused(shards: Path) -> None:
    save_file({"b": torch.ones(3), "c": torch.ones(1)}, shards.parent / "two.safetensors")
    shards.write_text(json.dumps({"weight_map": INDEX}))
    refused(shards, "does not list 'c'")


def test_a_damaged_shard_is_named(shards: Path) -> None:
    shards.write_text(json.dumps({"weight_map": INDEX}))
    (shards.parent / "two.safetensors").write_bytes(b"")
    with pytest.raises(TransferError, match=r"two\.safetensors' is empty"):
        open_source(shards)


def test_a_link_out_of_the_folder_is_refused(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.safetensors"
    save_file({"b": torch.ones(3)}, elsewhere)
    (shards.parent / "two.safetensors").unlink()
    (shards.parent / "two.safetensors").symlink_to(elsewhere)
    shards.write_text(json.dumps({"weight_map": INDEX}))
    refused(shards, r"'two\.safetensors' links to .*out of the folder")


def test_folders_without_weights_say_what_was_looked_for(tmp_path: Path) -> None:
    refused(tmp_path, r"holds no weights: looked for model\.safetensors")
    (tmp_path / "tf_model.h5").write_bytes(b"\x89HDF")
    refused(tmp_path, "TensorFlow or Flax")
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Code()))
    refused(tmp_path, r"torch\.distributed\.checkpoint.*dcp_to_torch_save")


def test_a_folder_with_several_files_lists_them(tmp_path: Path) -> None:
    for i in (1, 2):
        save_file({"a": torch.ones(1)}, tmp_path / f"model-0000{i}-of-00002.safetensors")
    refused(tmp_path, "holds 2 files that could be the weights: model-00001.*shards without their index")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.safetensors")
    refused(tmp_path / "w.safetensors", "is no ordinary file")
    refused(Path("/dev/zero"), "is no ordinary file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(GOOD)
    path.chmod(0)
    refused(path, "cannot be read")


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in kilobytes")
def test_attacks_use_bounded_memory(tmp_path: Path) -> None:
    """A process that meets them all grows by less than 50 MB."""
    (tmp_path / "header.safetensors").write_bytes((99_999_999).to_bytes(8, "little") + b"{" + b" " * 1000)
    torch.save({"w": torch.ones(1), "x": Vast()}, tmp_path / "vast.pt")
    torch.save({"w": torch.ones(2), "v": torch.zeros(4)}, tmp_path / "bomb.pt")
    rewritten(tmp_path / "bomb.pt", lambda n, c: b"\0" * 150_000_000 if n.endswith("/0") else c, zipfile.ZIP_DEFLATED)
    code = (
        "import resource, sys\n"
        "from firstlight.transfers.sources import open_source\n"
        "from firstlight.errors import TransferError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]:\n"
        "    try: open_source(path)\n"
        "    except TransferError: pass\n"
        "    else: sys.exit(path)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    paths = [str(p) for p in sorted(tmp_path.iterdir())]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 50_000, "kilobytes"

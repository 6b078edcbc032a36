"""The cache of compiled kernels: it saves time when it can, and never decides whether a draw works."""

import os
import subprocess
import sys

import pytest

from firstlight.fields.llvm import cache, codegen, compiler

DRAW = """
import torch
from firstlight.fields import Key, fill_, normal
print(float(fill_(torch.empty(1000), normal(0.0, 1.0), Key(1, 2), engine="llvm").sum()))
"""

pytestmark = pytest.mark.skipif(compiler.lacks("float32") is not None, reason="no native engine here")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    place = tmp_path / "cache"
    monkeypatch.setenv("FIRSTLIGHT_CACHE", str(place))
    return place


def draw() -> str:
    """What a new process draws with the present environment."""
    command = [sys.executable, "-W", "ignore", "-c", DRAW]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_what_is_written_is_read(folder):
    cache.write("a.o", b"code")
    assert cache.read("a.o") == b"code"
    assert cache.read("b.o") is None
    assert [path.name for path in folder.iterdir()] == ["a.o"]
    if sys.platform != "win32":
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 200])
def test_damaged_files_are_not_read(folder, damage):
    cache.write("a.o", b"code" * 100)
    (folder / "a.o").write_bytes(damage)
    assert cache.read("a.o") is None


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_files_that_others_may_write_are_not_trusted(folder):
    cache.write("a.o", b"code")
    (folder / "a.o").chmod(0o666)
    assert cache.read("a.o") is None
    (folder / "a.o").chmod(0o600)
    folder.chmod(0o777)
    assert cache.read("a.o") is None
    cache.write("b.o", b"code")
    assert not (folder / "b.o").exists()


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FIRSTLIGHT_CACHE", str(tmp_path / "file" / "cache"))
    cache.write("a.o", b"code")
    assert cache.read("a.o") is None


def test_the_platforms_folder_is_the_default(monkeypatch, tmp_path):
    monkeypatch.delenv("FIRSTLIGHT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert cache.folder().name == "firstlight"
    if sys.platform.startswith("linux"):
        assert cache.folder() == tmp_path / "firstlight"


@pytest.mark.slow
def test_a_new_process_compiles_once_and_recovers_from_damage(folder):
    first = draw()
    files = sorted(folder.iterdir())
    assert [path.name.split("-")[0] for path in files] == ["normal_float32", "run"]
    written = [path.stat().st_mtime_ns for path in files]
    assert draw() == first
    assert [path.stat().st_mtime_ns for path in files] == written
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:-100] + os.urandom(100))
    assert draw() == first
    assert files[0].read_bytes() == whole
    files[0].unlink()
    files[0].mkdir()  # it can be neither read nor replaced
    assert draw() == first


def test_the_name_of_a_file_tells_machines_apart():
    here = compiler._host()
    other = compiler.Machine(here.triple, "haswell", "+avx2,+fma")
    assert compiler.object_name("run", here) != compiler.object_name("run", other)
    assert compiler.object_name("run", here) != compiler.object_name("words_int32", here)


def test_machines_that_cannot_run_it():
    assert "fma" in compiler.Machine("x86_64-unknown-linux-gnu", "nehalem", "+sse4.2").lacks("float32")
    modest = compiler.Machine("x86_64-unknown-linux-gnu", "odd", "+avx2,+fma")
    assert modest.lacks("float32") is None
    assert "f16c" in modest.lacks("float16")
    assert compiler.Machine("arm64-apple-darwin", "apple-m1", "").lacks("float16") is None
    assert "riscv64" in compiler.Machine("riscv64-linux", "x", "").lacks("float32")


def test_code_for_avx2_gives_the_same_bits():
    """The same IR for a CPU with half the register width, run on this one."""
    import ctypes

    import torch

    from firstlight.fields import Key, normal, truncated_normal, uniform, values
    from firstlight.fields.llvm.layout import JOB

    here = compiler._host()
    if not here.triple.startswith("x86_64"):
        pytest.skip("x86 only")
    haswell = compiler.Machine(here.triple, "haswell", "+avx2,+fma,+f16c,+bmi,+bmi2")
    for transform in (uniform(-1, 1), normal(0, 1), truncated_normal(0, 1, -2, 2), truncated_normal(0, 1, 5, 9)):
        half = (
            (torch.float16, torch.bfloat16) if transform.kind == "uniform" else ()
        )  # each kernel takes ½ s to compile
        for dtype in (torch.float32, *half):
            name = str(dtype).removeprefix("torch.")
            code = compiler.compile_object(codegen.kernel_module(transform.kind, name), haswell)
            call = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64)
            kernel = call(compiler._link(code, haswell, "kernel")[0])
            out = torch.empty(3000, dtype=dtype)
            kernel(JOB.pack(out.data_ptr(), 5, 3000, 1, 2, transform.packed, 0, 0), 0, 47)
            assert torch.equal(out, values(transform, Key(1, 2), 5, 3005, dtype=dtype))

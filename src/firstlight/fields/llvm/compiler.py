"""From a kernel's name to the address of its machine code, through the disk cache.

Imported when the first kernel is needed, since it imports llvmlite. What ``codegen.py`` writes is compiled for this
very CPU; the object code's file name is a digest of everything that decided it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, final

import llvmlite
import llvmlite.binding as llvm

from . import cache

TargetMachine = Any

_LOADED: Final[list[Any]] = []
"""Execution engines: machine code lives as long as they do."""


@final
@dataclass(frozen=True, slots=True)
class Machine:
    """The CPU that code is compiled for.

    Args:
        triple: LLVM's name of architecture and system.
        cpu: LLVM's name of the CPU.
        features: its features in LLVM's notation, ``+avx2,+fma,…``.
    """

    triple: str
    cpu: str
    features: str

    @classmethod
    def host(cls) -> Machine:
        """This computer."""
        try:
            features = llvm.get_host_cpu_features().flatten()
        except RuntimeError:  # LLVM cannot tell on this platform
            features = ""
        return cls(llvm.get_process_triple(), llvm.get_host_cpu_name(), features)

    def lacks(self, dtype: str) -> str | None:
        """Why a kernel that writes ``dtype`` cannot run here; ``None`` if it can."""
        architecture = self.triple.split("-")[0]
        if architecture in ("aarch64", "arm64"):
            return None
        if architecture != "x86_64":
            return f"there is no native engine for {architecture}"
        present = self.features.split(",")
        needed = ["fma", "avx2"] + (["f16c"] if dtype == "float16" else [])
        missing = [feature for feature in needed if f"+{feature}" not in present]
        return f"the CPU {self.cpu} has no {' and no '.join(missing)}" if missing else None


@lru_cache(maxsize=1)
def _sources() -> bytes:
    """A digest of the files that decide the generated code; empty if they cannot be read (nothing is cached then)."""
    here = Path(__file__).parent
    names = ("codegen.py", "group.py", "vectors.py", "layout.py", "compiler.py", "../coefficients.py", "../philox.py")
    digest = hashlib.sha256()
    try:
        for name in names:
            digest.update((here / name).read_bytes())
    except OSError:
        return b""
    return digest.digest()


def object_name(kernel: str, machine: Machine) -> str:
    """The cache file of a kernel's object code."""
    parts = (kernel, machine.triple, machine.cpu, machine.features, llvmlite.__version__, llvm.llvm_version_info)
    return f"{kernel}-{hashlib.sha256(repr(parts).encode() + _sources()).hexdigest()[:32]}.o"


def _target(machine: Machine) -> TargetMachine:
    """LLVM's code generator for a machine."""
    target = llvm.Target.from_triple(machine.triple)
    return target.create_target_machine(cpu=machine.cpu, features=machine.features, opt=3, jit=True)


def compile_object(text: str, machine: Machine) -> bytes:
    """Object code for IR ``text``."""
    target = _target(machine)
    if "windows" in machine.triple:
        text += "\n@_fltused = global i32 0\n"  # the C runtime's mark of floating point; JIT code has no C runtime
    module = llvm.parse_assembly(text)
    module.triple = machine.triple
    module.data_layout = str(target.target_data)
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(target, tuning)
    builder.getModulePassManager().run(module, builder)
    return bytes(target.emit_object(module))


def _link(code: bytes, machine: Machine, *symbols: str) -> list[int]:
    """The addresses of ``symbols`` in object code, loaded into this process."""
    empty = llvm.parse_assembly("")
    empty.triple = machine.triple
    engine = llvm.create_mcjit_compiler(empty, _target(machine))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _LOADED.append(engine)
    return [int(engine.get_function_address(symbol)) for symbol in symbols]


@lru_cache(maxsize=1)
def _host() -> Machine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return Machine.host()


def lacks(dtype: str) -> str | None:
    """Why this computer cannot run a kernel that writes ``dtype``; ``None`` if it can."""
    return _host().lacks(dtype)


def load(kind: str, dtype: str, *symbols: str) -> list[int]:
    """Addresses in the code for a transform kind and dtype name; ``load("run", "", …)`` is what drives the kernels."""
    machine = _host()
    name = f"{kind}_{dtype}" if dtype else kind
    file = object_name(name, machine)
    code = cache.read(file) if _sources() else None
    if code is None:
        from . import codegen  # on a cache miss only: it brings in llvmlite's IR builder

        text = codegen.kernel_module(kind, dtype) if dtype else codegen.run_module()
        code = compile_object(text, machine)
        if _sources():
            cache.write(file, code)
    return _link(code, machine, *symbols)

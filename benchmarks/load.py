"""How fast a model takes its weights from a file: ``python benchmarks/load.py [--size 100M|1B] [--turns 3]``.

A Llama of transformers' own is saved as safetensors, and loaded in fresh processes that take turns, the file in the
page cache. Above the line, a model that has its memory, weights written, is given the file's; below, there is no model
yet, and at the end a model with the file's weights. ``mapped`` parameters stay in the file's memory, as those of
``from_pretrained`` do; values are looked at for NaN and infinity, but where ``unchecked`` says not, as the others do
not. Every time ends after each weight was read once, so that a load that only maps the file is not ahead. Memory is
what a process holds of its own (anonymous), at its most, beyond what it held when the clock started; the parent reads
it every 2 ms.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

SIZES = {
    "10M": {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6, "num_attention_heads": 4},
    "100M": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12},
    "1B": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 18, "num_attention_heads": 16},
}
FILLED = ("firstlight load_", "safetensors load_model")
MADE = (
    "firstlight, made",
    "firstlight, made, mapped",
    "firstlight, made, mapped, unchecked",
    "transformers from_pretrained",
)


def config(size: str) -> object:
    from transformers import LlamaConfig

    return LlamaConfig(**SIZES[size], vocab_size=32_000, tie_word_embeddings=False)


def empty(size: str, dtype: torch.dtype) -> torch.nn.Module:
    """The model with memory and nothing in it."""
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(config(size)).to(dtype)
    return model.to_empty(device="cpu")


def touched(model: torch.nn.Module) -> None:
    """Every weight read once."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.amax()


def firstlight_load() -> Callable[..., object]:
    """``load_``, imported: that is not the load."""
    import firstlight as fl

    return fl.load_


def contender(name: str, size: str, dtype: torch.dtype, folder: Path) -> Callable[[], torch.nn.Module]:
    """What is timed; what it needs is imported and made here."""
    file = folder / "model.safetensors"
    if name == "transformers from_pretrained":
        from transformers import LlamaForCausalLM

        return lambda: LlamaForCausalLM.from_pretrained(folder, dtype=dtype)
    if name.startswith("firstlight, made"):
        load_ = firstlight_load()
        empty("10M", dtype)

        def made() -> torch.nn.Module:
            model = empty(size, dtype)
            load_(model, file, fresh="keep", mapped="mapped" in name, allow_nonfinite="unchecked" in name)
            return model

        return made
    model = empty(size, dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    if name == "safetensors load_model":
        from safetensors.torch import load_model

        return lambda: (load_model(model, file), model)[1]
    load_ = firstlight_load()
    return lambda: (load_(model, file, fresh="keep"), model)[1]


def child(name: str, size: str, dtype: torch.dtype, folder: Path) -> None:
    """One load in this process; the parent watches the memory between the two lines."""
    import warnings

    warnings.simplefilter("ignore")
    load = contender(name, size, dtype, folder)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    model = load()
    loaded = time.perf_counter() - start
    touched(model)
    print(f"{loaded} {time.perf_counter() - start}", flush=True)
    sys.stdin.readline()


def anonymous(pid: int) -> float:
    """Megabytes of a process that no file backs."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


def measure(name: str, arguments: argparse.Namespace, folder: Path) -> tuple[float, float, float]:
    """Seconds until loaded, until every weight was read, and the most memory in MB beyond the start's."""
    command = [sys.executable, __file__, "--child", name, "--folder", str(folder)]
    command += ["--size", arguments.size, "--dtype", arguments.dtype]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdin is None or process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{name} failed")
        before = most = anonymous(process.pid)
        os.set_blocking(process.stdout.fileno(), False)
        process.stdin.write("go\n")
        process.stdin.flush()
        said = ""
        while not said.endswith("\n"):
            most = max(most, anonymous(process.pid))
            time.sleep(0.002)
            said += process.stdout.readline()
            if process.poll() is not None:
                raise RuntimeError(f"{name} failed")
        most = max(most, anonymous(process.pid))
        process.stdin.write("done\n")
        process.stdin.close()
    loaded, used = map(float, said.split())
    return loaded, used, most - before


def main() -> None:
    """Save a model, load it in turns, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="100M")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", help="contenders whose names hold this")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    dtype = getattr(torch, arguments.dtype)
    if arguments.child:
        child(arguments.child, arguments.size, dtype, arguments.folder)
        return
    folder = Path(tempfile.mkdtemp(prefix="firstlight-load-"))
    try:
        model = empty(arguments.size, dtype)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.uniform_(-0.02, 0.02)
        model.save_pretrained(folder, max_shard_size="100GB")
        count, size = sum(p.numel() for p in model.parameters()), (folder / "model.safetensors").stat().st_size
        del model
        print(f"{count:,} parameters, {arguments.dtype}, {size / 1e9:.2f} GB; load average {os.getloadavg()[0]:.1f}")
        names = [n for n in (*FILLED, *MADE) if not arguments.only or arguments.only in n]
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
        for turn in range(arguments.turns):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                found[name].append(measure(name, arguments, folder))
        print(f"{'':36s} {'loaded':>16s} {'every weight read':>20s} {'memory':>12s}")
        for name, runs in found.items():
            if name == MADE[0]:
                print("-" * 88)
            times = [statistics.median(r[i] for r in runs) for i in (0, 1)]
            least = [min(r[i] for r in runs) for i in (0, 1)]
            print(
                f"{name:36s} {times[0]:7.3f} ({least[0]:.3f}) s {times[1]:9.3f} ({least[1]:.3f}) s "
                f"{max(r[2] for r in runs):9.0f} MB",
                flush=True,
            )
        print(f"medians of {arguments.turns} (least in brackets); load average at the end {os.getloadavg()[0]:.1f}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

"""Damage weights files by the hundred thousand and open them: ``python tools/fuzz_sources.py --runs 100000``.

Every file is read, or refused with a ``TransferError`` that names it; anything else stops the run and prints the edits.
With atheris installed (it is no dependency: ``pip install atheris``), ``--guided`` lets coverage choose the bytes.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "transfers"))

_WHAT = ("flip", "byte", "cut", "remove", "repeat", "number", "piece", "pickle")


def main() -> None:
    """Parse, fuzz, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="files of each kind")
    parser.add_argument("--kind", help="one kind only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guided", action="store_true", help="with atheris")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    # A file that asks for more ends in MemoryError, which counts as a fault; the machine is not to pay for it.
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
    if arguments.guided:
        _guided(arguments.runs, arguments.kind or "safetensors")
        return
    from mutations import KINDS

    for kind in [arguments.kind] if arguments.kind else KINDS:
        _random(kind, arguments.runs, arguments.seed)


def _random(kind: str, runs: int, seed: int) -> None:
    from mutations import STATE, damaged, outcome
    from safetensors.torch import save_file

    chance = random.Random(f"{seed} {kind}")
    seen: Counter[str] = Counter()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_file(STATE, folder / "one.safetensors")
        for _ in range(runs):
            edits = [
                (chance.choice(_WHAT), chance.randrange(5000), chance.randrange(2**24))
                for _ in range(chance.randint(1, 5))
            ]
            try:
                said = outcome(kind, damaged(kind, edits), folder)
            except BaseException:
                print(f"{kind}: {edits}", flush=True)
                raise
            seen["read" if isinstance(said, dict) else "refused"] += 1
    seconds = time.perf_counter() - start
    print(f"{kind}: {runs:,} files in {seconds:.0f} s, {seen['refused']:,} refused, {seen['read']:,} read", flush=True)


def _guided(runs: int, kind: str) -> None:
    import atheris

    with atheris.instrument_imports(include=["firstlight.transfers.sources"]):
        import firstlight.transfers.sources  # noqa: F401
    from mutations import KINDS, STATE, outcome
    from safetensors.torch import save_file

    folder, corpus = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    save_file(STATE, folder / "one.safetensors")
    (corpus / "good").write_bytes(KINDS[kind][1])
    (corpus / "dictionary.txt").write_text(
        "\n".join('"' + "".join(f"\\x{b:02x}" for b in piece[:60]) + '"' for piece in KINDS[kind][2])
    )
    dictionary = (corpus / "dictionary.txt").rename(folder / "dictionary.txt")
    options = [f"-runs={runs}", f"-dict={dictionary}", "-max_len=8192", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda content: outcome(kind, content, folder))
    atheris.Fuzz()


if __name__ == "__main__":
    main()

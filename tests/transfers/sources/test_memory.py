"""Loading needs the model, and at most its largest tensor beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

MEGABYTE = 2**20
LAYERS, WIDTH = 20, 2048  # 20 tensors of 16 MB

CODE = """
import sys, threading, torch
from torch import nn
import firstlight as fl

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(l.split()[1]) * 1024 for l in file if l.startswith("RssAnon"))

for path in sys.argv[1:]:
    model = nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(20)))
    before = most = anonymous()
    done = False
    def watch():
        global most
        while not done:
            most = max(most, anonymous())
    watcher = threading.Thread(target=watch)
    watcher.start()
    fl.load_(model, path, fresh="keep")
    done = True
    watcher.join()
    assert float(model[19].weight[0, 0]) == 19
    print(most - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_at_most_the_largest_tensor_beside_the_model(tmp_path: Path) -> None:
    state = {f"{i}.weight": torch.full((WIDTH, WIDTH), float(i)) for i in range(LAYERS)}
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pt")
    torch.save({"model": {n: t.bfloat16() for n, t in state.items()}}, tmp_path / "half.pt")
    paths = [str(tmp_path / name) for name in ("w.safetensors", "w.safetensors", "w.pt", "half.pt")]
    done = subprocess.run([sys.executable, "-c", CODE, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, *later = [int(line) for line in done.stdout.split()]  # the first load also imports what loading needs
    assert max(later) < (16 + 8) * MEGABYTE
    for path in tmp_path.iterdir():
        path.unlink()

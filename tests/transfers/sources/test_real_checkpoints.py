"""Published weights from packages on PyPI, read here and laid into models written by hand.

silero-vad (MIT) is a test dependency: it ships one network as safetensors, and a later training of it as a program,
TorchScript, which is the judge of what was loaded. facenet-pytorch (MIT) pins an old torch, so its test runs where it
was installed by hand: ``pip install --no-deps facenet-pytorch``.
"""

from __future__ import annotations

import warnings
from importlib import metadata
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import firstlight as fl
from firstlight.errors import TransferError
from firstlight.transfers.sources import open_source


def load_all(path: Path) -> list[tuple[str, torch.Tensor]]:
    source = open_source(path)
    return [(name, source.read(name)) for name in source.tensors]


def shipped(package: str, name: str) -> Path:
    """A file that an installed package came with; the package is not imported."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    return Path(str(next(f for f in files if f.name == name).locate()))


class Voice(nn.Module):
    """Silero's voice detector for 16 kHz: a Fourier transform as a convolution, four convolutions, an LSTM cell."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(
        self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        x = self.stft_conv(nn.functional.pad(x, (0, 64), mode="reflect").unsqueeze(1))
        x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = conv(x).relu()
        h, c = self.lstm_cell(x.squeeze(-1), state)
        return self.final_conv(h.relu().unsqueeze(-1)).sigmoid().flatten(), (h, c)


def test_the_voice_detector_is_read_bit_for_bit() -> None:
    path = shipped("silero-vad", "silero_vad_16k.safetensors")
    model, own = Voice(), load_file(path)
    report = fl.load_(model, path)
    assert len(report.loaded) == len(own) == 15
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())


@torch.no_grad()
def test_the_twin_says_what_the_published_program_says(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch retires TorchScript
        judge = torch.jit.load(str(shipped("silero-vad", "silero_vad.jit"))).eval()
    save_file(judge.state_dict(), tmp_path / "converted.safetensors")
    model = Voice()
    # It holds a second network for 8 kHz; beside the first one's other names, the transform is a buffer there.
    report = fl.load_(
        model,
        {n.removeprefix("_model."): t for n, t in load_all(tmp_path / "converted.safetensors") if "_8k" not in n},
        rename={"stft.forward_basis_buffer": "stft_conv.weight"},
    )
    assert len(report.loaded) == 15
    assert not report.unused
    time = torch.arange(31 * 512) / 16_000
    sound = 0.3 * torch.sin(440 * time) + 0.1 * torch.randn(31 * 512, generator=torch.Generator().manual_seed(5))
    state, context, said = None, torch.zeros(1, 64), []
    for chunk in sound.view(31, 1, 512):
        heard, state = model(torch.cat([context, chunk], 1), state)
        context = chunk[:, -64:]
        said.append((float(heard), float(judge(chunk, 16_000))))
    ours, theirs = torch.tensor(said).T
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert theirs.std() > 0.001


def test_the_published_program_itself_is_refused() -> None:
    with pytest.raises(TransferError, match=r"silero_vad\.jit' is a TorchScript archive"):
        open_source(shipped("silero-vad", "silero_vad.jit"))


class Proposals(nn.Module):
    """The first network of MTCNN, which proposes faces."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)


def test_a_face_detector_in_torchs_old_format_is_read_bit_for_bit() -> None:
    path = shipped("facenet-pytorch", "pnet.pt")
    model, own = Proposals(), torch.load(path, weights_only=True)
    assert len(fl.load_(model, path).loaded) == len(own)
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())

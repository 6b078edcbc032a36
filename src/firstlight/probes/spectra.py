"""The spectrum of the input-output Jacobian, sample by sample, without ever storing it where it is large.

``measuring`` asks for it where the user did.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from ..errors import ArgumentError
from ..graphs.known import tensors_in
from .following import first_tensor
from .parts import Jacobian
from .running import Call

# Up to this many outputs or inputs J is formed; beyond, it is only multiplied with.
_FORMED = 1024
_SAMPLES = 8
_PROBES = 16
_STEPS = 40
_NOTHING = 1e-6  # of the largest singular value: what products in single precision leave of zero


def jacobian_of(model: nn.Module, call: Call, seed: int) -> Jacobian:
    """The singular values of J = ∂ output / ∂ input for single samples.

    Small ones (up to 1024 inputs or outputs) are formed row by row. Large ones are multiplied with: the mean of the
    squared singular values is E‖Jᵀv‖² / min(n_in, n_out) over normal v; of the first sample the extreme ones come from
    up to 40 Golub-Kahan steps, which bound the smallest from above and the condition number from below.

    Args:
        model: as it stands.
        call: what it is called with; its first tensor of floating point numbers is what J differentiates by.
        seed: of the probes.

    Raises:
        ArgumentError: no input is a tensor of floating point numbers, or the output has no sample axis.
    """
    place = next((t for t in tensors_in((call.args, call.kwargs)) if t.is_floating_point()), None)
    if place is None:
        raise ArgumentError(
            "jacobian=True differentiates by the inputs, and none of them is a tensor of floating point numbers: give "
            "the embedded inputs (inputs_embeds=), or leave it out"
        )
    x = place.detach().clone().requires_grad_()
    replaced = Call(_with(call.args, place, x), {k: _with((v,), place, x)[0] for k, v in call.kwargs.items()})
    y = first_tensor(replaced.on(model))
    if y is None or y.dim() < 1 or y.shape[0] != x.shape[0]:
        raise ArgumentError("jacobian=True needs an output whose first axis is that of the samples")
    inputs, outputs = x[0].numel(), y[0].numel()
    most = min(_SAMPLES, x.shape[0])
    back = _pulled(x, y)
    if min(inputs, outputs) and outputs <= _FORMED:
        # A row of J costs a backward pass: the more rows, the fewer samples.
        return _exact(back, range(min(most, max(1, _FORMED // outputs))), inputs, outputs)
    return _free(back, range(most), inputs, outputs, seed, x, y)


def _with(values: tuple[object, ...], old: torch.Tensor, new: torch.Tensor) -> tuple[object, ...]:
    return tuple(new if v is old else v for v in values)


Pull = Callable[[int, torch.Tensor], torch.Tensor]


def _pulled(x: torch.Tensor, y: torch.Tensor) -> Pull:
    """Jᵀ v of one sample: the gradient of ⟨y_s, v⟩ by x_s. What a norm over the batch lets through is dropped."""

    def pull(sample: int, v: torch.Tensor) -> torch.Tensor:
        (found,) = torch.autograd.grad(y[sample], x, v.reshape(y[sample].shape).to(y), retain_graph=True)
        return found[sample].flatten().double()

    return pull


def _exact(pull: Pull, samples: range, inputs: int, outputs: int) -> Jacobian:
    spectra = []
    for s in samples:
        rows = [pull(s, row) for row in torch.eye(outputs)]
        spectra.append(torch.linalg.svdvals(torch.stack(rows)))
    squares = torch.stack([v.square().mean() for v in spectra])
    largest, smallest = (float(torch.stack([v[i] for v in spectra]).mean()) for i in (0, -1))
    conditions = [float(v[0] / v[-1]) if float(v[-1]) > 0 else math.inf for v in spectra]
    error = float(squares.std() / math.sqrt(len(spectra))) if len(spectra) > 1 else 0.0
    values = tuple(spectra[0].tolist())
    condition = sorted(conditions)[len(conditions) // 2]
    return Jacobian(
        inputs, outputs, len(spectra), float(squares.mean()), error, largest, smallest, condition, values, "exact"
    )


def _free(
    pull: Pull, samples: range, inputs: int, outputs: int, seed: int, x: torch.Tensor, y: torch.Tensor
) -> Jacobian:
    generator = torch.Generator().manual_seed(seed)
    short = min(inputs, outputs)
    found = [
        float(pull(s, torch.randn(outputs, generator=generator)).square().sum()) / short
        for s in samples
        for _ in range(max(1, _PROBES // len(samples)))
    ]
    squares = torch.tensor(found, dtype=torch.float64)
    error = float(squares.std() / math.sqrt(len(found))) if len(found) > 1 else math.inf
    push, first = _pushed(x, y), samples[0]
    forth, back = (lambda u: push(first, u)), (lambda v: pull(first, v))
    if outputs < inputs:
        forth, back = back, forth
    start = torch.randn(short, generator=generator, dtype=torch.float64)
    largest, smallest, whole = _extremes(forth, back, start)
    return Jacobian(
        inputs,
        outputs,
        len(samples),
        float(squares.mean()),
        error,
        largest,
        smallest if whole else None,
        _quotient(largest, smallest) if whole else None,
        (),
        "matrix-free",
        smallest,
        _quotient(largest, smallest),
    )


def _quotient(largest: float, smallest: float) -> float:
    return largest / smallest if smallest > 0 else math.inf


def _pushed(x: torch.Tensor, y: torch.Tensor) -> Pull:
    """J u of one sample, by differentiating Jᵀ v once more by v, in which it is linear."""

    def push(sample: int, u: torch.Tensor) -> torch.Tensor:
        v = torch.zeros_like(y[sample], requires_grad=True)
        (pulled,) = torch.autograd.grad(y[sample], x, v, create_graph=True)
        (found,) = torch.autograd.grad(pulled[sample].flatten(), v, u.to(pulled), retain_graph=True)
        return found.detach().flatten()

    return push


def _extremes(
    forth: Callable[[torch.Tensor], torch.Tensor], back: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor
) -> tuple[float, float, bool]:
    """The largest and the smallest singular value of J on a growing space, and whether that space is all there is.

    Golub-Kahan steps from a random v give J V = U B with orthonormal U, V and a bidiagonal B (Golub & Kahan 1965), here
    with full reorthogonalisation. The singular values of B are those of J on the span of V, so they lie between the
    extreme ones of J: the largest is at most J's, the smallest at least, and their quotient is a lower bound of the
    condition number. Where the steps end by themselves, all distinct singular values were met.

    Args:
        forth, back: J and Jᵀ, J from the side of fewer dimensions.
        start: a random vector of that side.
    """
    rights, lefts = [start / start.norm()], list[torch.Tensor]()
    diagonal, above = list[float](), list[float]()
    while True:
        u = _orthogonal(forth(rights[-1]).to(start), lefts)
        diagonal.append(float(u.norm()))
        values = _bidiagonal(diagonal, above)
        if len(rights) == len(start) or diagonal[-1] <= _NOTHING * values[0]:
            return values[0], values[-1], True
        lefts.append(u / u.norm())
        v = _orthogonal(back(lefts[-1]).to(start), rights)
        rest = float(v.norm())
        if rest <= _NOTHING * values[0]:
            return values[0], values[-1], True
        if len(rights) == _STEPS:
            return values[0], values[-1], False
        above.append(rest)
        rights.append(v / v.norm())


def _orthogonal(vector: torch.Tensor, basis: Sequence[torch.Tensor]) -> torch.Tensor:
    """What of a vector is at right angles to a basis; twice, since once leaves its rounding."""
    for _ in range(2):
        for b in basis:
            vector = vector - (vector @ b) * b
    return vector


def _bidiagonal(diagonal: Sequence[float], above: Sequence[float]) -> list[float]:
    """The singular values of an upper bidiagonal matrix, descending."""
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    if above:
        matrix = matrix + torch.diag(torch.tensor(above, dtype=torch.float64), 1)
    found: list[float] = torch.linalg.svdvals(matrix).tolist()
    return found

"""The spectrum of the input-output Jacobian, sample by sample, without ever storing it where it is large.

``measuring`` asks for it where the user did.
"""

from __future__ import annotations

import math
from collections.abc import Callable

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


def jacobian_of(model: nn.Module, call: Call, seed: int) -> Jacobian:
    """The singular values of J = ∂ output / ∂ input for single samples.

    Small ones (up to 1024 inputs or outputs) are formed row by row. Large ones are multiplied with: the mean of the
    squared singular values is E‖Jᵀv‖² / min(n_in, n_out) over normal v, the largest comes from Lanczos steps on J Jᵀ.

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
    push = _pushed(x, y)
    start = torch.randn(inputs, generator=generator, dtype=torch.float64)
    largest = _lanczos(lambda v: pull(samples[0], push(samples[0], v)), start)
    return Jacobian(
        inputs,
        outputs,
        len(samples),
        float(squares.mean()),
        error,
        math.sqrt(max(largest, 0.0)),
        None,
        None,
        (),
        "matrix-free",
    )


def _pushed(x: torch.Tensor, y: torch.Tensor) -> Pull:
    """J u of one sample, by differentiating Jᵀ v once more by v, in which it is linear."""

    def push(sample: int, u: torch.Tensor) -> torch.Tensor:
        v = torch.zeros_like(y[sample], requires_grad=True)
        (pulled,) = torch.autograd.grad(y[sample], x, v, create_graph=True)
        (found,) = torch.autograd.grad(pulled[sample].flatten(), v, u.to(pulled), retain_graph=True)
        return found.detach().flatten()

    return push


def _lanczos(apply: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor) -> float:
    """The largest eigenvalue of a symmetric map, by Lanczos steps with full reorthogonalisation."""
    basis: list[torch.Tensor] = []
    q = start / start.norm()
    alphas: list[float] = []
    betas: list[float] = []
    best = 0.0
    for _ in range(min(_STEPS, start.numel())):
        basis.append(q)
        w = apply(q).to(q)
        alphas.append(float(w @ q))
        for b in basis:
            w = w - (w @ b) * b
        tri = torch.diag(torch.tensor(alphas, dtype=torch.float64))
        if betas:
            off = torch.tensor(betas, dtype=torch.float64)
            tri = tri + torch.diag(off, 1) + torch.diag(off, -1)
        value = float(torch.linalg.eigvalsh(tri)[-1])
        beta = float(w.norm())
        if beta < 1e-12 * max(abs(value), 1e-300) or (best and abs(value - best) < 1e-5 * value):
            return value
        best = value
        betas.append(beta)
        q = w / beta
    return best

"""The largest eigenvalue of a loss's Hessian, by power iteration of Hessian-vector products.

v ← H v / |H v| from the gradient's direction, λ = v·H v. Gradient descent with a rate above 2 / λ grows along that
direction (with momentum β above 2 (1 + β) / λ). Draws no random numbers and leaves the loss's graph for ``backward``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

PRODUCTS = 4


def sharpness(loss: torch.Tensor, parameters: Sequence[torch.Tensor], products: int = PRODUCTS) -> float | None:
    """λ_max of the Hessian of ``loss``, from below.

    Args:
        loss: a scalar whose graph is still there.
        parameters: what it is differentiated by.
        products: Hessian-vector products; the error of λ shrinks with each by the gap of the spectrum, squared.

    Returns:
        The Rayleigh quotient; ``None`` where the graph has no second derivative (some fused kernels, compiled models),
        or the gradient is zero or not finite.
    """
    try:
        gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        kept = [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None and g.requires_grad]
        if not kept:
            return None
        vector = [g.detach() for _, g in kept]
        value = None
        for _ in range(products):
            norm = float(torch.stack([v.double().square().sum() for v in vector]).sum().sqrt())
            if not 0 < norm < float("inf"):
                return None
            vector = [v / norm for v in vector]
            product = torch.autograd.grad(
                [g for _, g in kept], [p for p, _ in kept], vector, retain_graph=True, allow_unused=True
            )
            image = [torch.zeros_like(v) if h is None else h for v, h in zip(vector, product, strict=True)]
            value = float(torch.stack([(v * h).double().sum() for v, h in zip(vector, image, strict=True)]).sum())
            vector = image
    except (RuntimeError, NotImplementedError):
        return None
    return value

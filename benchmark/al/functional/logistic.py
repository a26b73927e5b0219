"""Multinomial logistic regression, solved to its optimum.

The loss of weights W (classes, d) and biases b (classes,) on rows x_i with labels y_i is

    sum_i -log softmax(W x_i + b)[y_i]  +  l2 / 2 * |W|^2

It is strictly convex in W. Adding one number to all biases changes nothing; the solution is the one
whose biases sum to 0, where a start at zero leads. The optimal W is a combination of the rows:
where there are fewer rows than features, the problem is solved in coordinates of the space that the
rows span, and nothing is lost.

Features that are far from round take L-BFGS many iterations. In the coordinates "principal" the
rows are turned to their principal axes, and each is measured in units in which the loss curves
alike: at W = 0 a class's curvature along an axis of squared length s is close to s / classes + l2.
The optimum is the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import AlbenchError
from benchmark.spec.training import Coordinates

CORRECTIONS = 20
"""Pairs of steps and gradients that L-BFGS remembers."""


class Solution(NamedTuple):
    """The optimum."""

    weight: Tensor
    """(classes, d) float64."""
    bias: Tensor
    """(classes,) float64."""
    loss: float
    """The sum, with the penalty."""
    gradient: float
    """Largest absolute entry of the gradient, in the coordinates in which it was solved."""
    iterations: int


def fit_logistic(
    rows: Tensor,
    labels: Tensor,
    classes: int,
    l2: float,
    tolerance: float = 1e-6,
    iterations: int = 10_000,
    coordinates: Coordinates = "rows",
) -> Solution:
    """The optimum for rows (m, d) with labels (m,) int64, by L-BFGS (Liu and Nocedal 1989) from
    zero, in float64 on the CPU.

    It stops where no entry of the gradient exceeds `tolerance`. Raises AlbenchError where
    `iterations` do not suffice.
    """
    from scipy.optimize import minimize

    points, truth = rows.detach().cpu().double(), labels.cpu()
    count, width = points.shape
    basis: Tensor | None = None
    if count < width:
        basis, triangle = torch.linalg.qr(points.T)  # (d, m), (m, m): points = triangle.T @ basis.T
        points, width = triangle.T.contiguous(), count
    # Units of the coordinates in which it is solved. Products with 1.0 change no bit.
    scales, bias_scale = torch.ones(width, dtype=torch.float64), 1.0
    if coordinates == "principal":
        lengths, axes = torch.linalg.eigh(points.T @ points)  # squared, (width,); (width, width)
        scales = (lengths.clamp(min=0.0) / classes + l2).rsqrt()
        bias_scale = (classes / count) ** 0.5
        points = points @ axes * scales
        basis = axes if basis is None else basis @ axes
    hot = F.one_hot(truth, classes).double()

    def value(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        # A copy, so that the numbers lie where products are computed alike in every run.
        both = torch.from_numpy(flat).clone().view(classes, width + 1)
        weight, bias = both[:, :-1].contiguous(), both[:, -1] * bias_scale
        logits = torch.addmm(bias, points, weight.T)
        logs = logits.log_softmax(dim=1)
        residual = logs.exp() - hot
        weight = weight * scales
        gradient = torch.cat(
            [
                residual.T @ points + l2 * weight * scales,
                residual.sum(dim=0)[:, None] * bias_scale,
            ],
            dim=1,
        )
        loss = -(logs * hot).sum() + l2 / 2 * weight.square().sum()
        return float(loss), gradient.flatten().numpy()

    found = minimize(
        value,
        np.zeros(classes * (width + 1)),
        jac=True,
        method="L-BFGS-B",
        options={
            "maxcor": CORRECTIONS,
            "maxiter": iterations,
            "maxfun": 2 * iterations,
            "gtol": tolerance,
            "ftol": 0.0,
        },
    )
    steepest = float(np.abs(found.jac).max())
    if not steepest <= tolerance:
        raise AlbenchError(
            f"logistic regression on {count} images stopped at a gradient of {steepest:.2g} after "
            f"{found.nit} iterations",
            where="training.optimizer",
            remedy=f"pin a tolerance above {tolerance:g}, more iterations or more l2",
        )
    both = torch.from_numpy(found.x.copy()).view(classes, width + 1)
    weight = both[:, :-1] * scales
    weight = weight if basis is None else weight @ basis.T
    bias = both[:, -1] * bias_scale
    return Solution(
        weight.contiguous(), bias.contiguous(), float(found.fun), steepest, int(found.nit)
    )

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

In "double" precision scipy's L-BFGS-B finds it, in "single" torch's L-BFGS, on numbers of half the
size and without copies between libraries. At a tolerance of 0.001 the latter takes a third of the
time that the former takes to 0.0001.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.al.training.optimizers import LBFGS
from benchmark.errors import AlbenchError
from benchmark.spec.training import Coordinates, Lbfgs, SolverPrecision

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
    precision: SolverPrecision = "double",
) -> Solution:
    """The optimum for rows (m, d) with labels (m,) int64, by L-BFGS (Liu and Nocedal 1989) from
    zero, on the CPU.

    It stops where no entry of the gradient exceeds `tolerance`. Raises AlbenchError where
    `iterations` do not suffice.
    """
    problem = _Problem(rows, labels, classes, l2, coordinates, precision)
    solve = _solve_double if precision == "double" else _solve_single
    found = solve(problem, tolerance, iterations)
    if not found.gradient <= tolerance:
        raise AlbenchError(
            f"logistic regression on {len(rows)} images stopped at a gradient of "
            f"{found.gradient:.2g} after {found.iterations} iterations",
            where="training.optimizer",
            remedy=f"pin a tolerance above {tolerance:g}, more iterations or more l2",
        )
    return found


def fit_by_recipe(rows: Tensor, labels: Tensor, classes: int, recipe: Lbfgs) -> Solution:
    """The optimum of the loss that a suite pins, as `fit_logistic`: rows (m, d), labels (m,)
    int64."""
    return fit_logistic(
        rows,
        labels,
        classes,
        recipe.l2 * rows.shape[1],
        recipe.tolerance,
        recipe.iterations,
        recipe.coordinates,
        recipe.precision,
    )


class _Problem:
    """The loss in the coordinates in which it is solved, of `width` numbers for each class."""

    def __init__(
        self,
        rows: Tensor,
        labels: Tensor,
        classes: int,
        l2: float,
        coordinates: Coordinates,
        precision: SolverPrecision,
    ) -> None:
        self.dtype = torch.float64 if precision == "double" else torch.float32
        points = rows.detach().cpu().to(self.dtype)
        count, self.width = points.shape
        self.classes, self.l2 = classes, l2
        self.basis: Tensor | None = None
        if count < self.width:
            # (d, m), (m, m): points = triangle.T @ basis.T
            self.basis, triangle = torch.linalg.qr(points.T)
            points, self.width = triangle.T.contiguous(), count
        # Units of the coordinates in which it is solved. Products with 1.0 change no bit.
        self.scales, self.bias_scale = torch.ones(self.width, dtype=self.dtype), 1.0
        if coordinates == "principal":
            lengths, axes = torch.linalg.eigh(points.T @ points)  # squared, (width,)
            self.scales = (lengths.clamp(min=0.0) / classes + l2).rsqrt()
            self.bias_scale = (classes / count) ** 0.5
            points = points @ axes * self.scales
            self.basis = axes if self.basis is None else self.basis @ axes
        self.points = points
        self.hot = F.one_hot(labels.cpu(), classes).to(self.dtype)

    def evaluate(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss () float64, and its gradients by weight (classes, width) and bias (classes,)."""
        logits = torch.addmm(bias * self.bias_scale, self.points, weight.T)
        logs = logits.log_softmax(dim=1)
        residual = logs.exp() - self.hot
        weight = weight * self.scales
        # In float64, as a line search compares losses that hardly differ.
        likelihood = (logs * self.hot).sum(dtype=torch.float64)
        loss = -likelihood + self.l2 / 2 * weight.square().sum(dtype=torch.float64)
        return (
            loss,
            residual.T @ self.points + self.l2 * weight * self.scales,
            residual.sum(dim=0) * self.bias_scale,
        )

    def make_solution(
        self, weight: Tensor, bias: Tensor, loss: float, gradient: float, iterations: int
    ) -> Solution:
        """The optimum in the coordinates of the rows."""
        weight = weight * self.scales
        weight = weight if self.basis is None else weight @ self.basis.T
        return Solution(
            weight.double().contiguous(),
            (bias * self.bias_scale).double().contiguous(),
            loss,
            gradient,
            iterations,
        )


def _solve_double(problem: _Problem, tolerance: float, iterations: int) -> Solution:
    from scipy.optimize import minimize

    classes, width = problem.classes, problem.width

    def value(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        # A copy, so that the numbers lie where products are computed alike in every run.
        both = torch.from_numpy(flat).clone().view(classes, width + 1)
        loss, by_weight, by_bias = problem.evaluate(both[:, :-1].contiguous(), both[:, -1])
        return float(loss), torch.cat([by_weight, by_bias[:, None]], dim=1).flatten().numpy()

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
    both = torch.from_numpy(found.x.copy()).view(classes, width + 1)
    steepest = float(np.abs(found.jac).max())
    return problem.make_solution(
        both[:, :-1], both[:, -1], float(found.fun), steepest, int(found.nit)
    )


def _solve_single(problem: _Problem, tolerance: float, iterations: int) -> Solution:
    weight = torch.zeros(problem.classes, problem.width, dtype=problem.dtype, requires_grad=True)
    bias = torch.zeros(problem.classes, dtype=problem.dtype, requires_grad=True)

    @torch.no_grad()
    def value() -> Tensor:
        loss, weight.grad, bias.grad = problem.evaluate(weight, bias)
        return loss

    loss, steepest, done = 0.0, float("inf"), 0
    # Close to the optimum rounding may hide from a line search by how much a step lowers the loss.
    # The gradient still tells where to go: the last iterations then do without a search.
    for search in ("strong_wolfe", None):
        if steepest <= tolerance or done >= iterations:
            break
        optimizer = LBFGS(
            [weight, bias],
            max_iter=iterations - done,
            max_eval=2 * iterations,
            tolerance_grad=tolerance,
            tolerance_change=0.0,
            history_size=CORRECTIONS,
            line_search_fn=search,
        )
        optimizer.step(value)  # type: ignore[no-untyped-call]
        loss = float(value())
        assert weight.grad is not None and bias.grad is not None
        steepest = max(float(weight.grad.abs().max()), float(bias.grad.abs().max()))
        done += int(optimizer.state[weight]["n_iter"])
    return problem.make_solution(weight.detach(), bias.detach(), loss, steepest, done)

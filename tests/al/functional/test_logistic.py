"""Logistic regression beside scikit-learn's: the same optimum, whatever the number of rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from benchmark.al.functional import logistic
from benchmark.al.functional.logistic import fit_logistic
from benchmark.errors import AlbenchError
from benchmark.spec.training import Coordinates, SolverPrecision


def problem(
    count: int, width: int, classes: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, width, generator=generator)
    return torch.randn(count, width, generator=generator) + centres[labels], labels


def shares(rows: torch.Tensor, found: logistic.Solution) -> npt.NDArray[np.float64]:
    """(m, classes) probabilities of the rows."""
    return (rows.double() @ found.weight.T + found.bias).softmax(1).numpy()


@pytest.mark.parametrize(
    ("count", "width", "classes"), [(30, 8, 4), (12, 40, 4), (40, 40, 3), (200, 20, 10)]
)
@pytest.mark.parametrize("l2", [0.05, 2.0])
@pytest.mark.parametrize("coordinates", ["rows", "principal"])
def test_the_optimum_is_that_of_another_library(
    count: int, width: int, classes: int, l2: float, coordinates: Coordinates
) -> None:
    rows, labels = problem(count, width, classes)
    found = fit_logistic(rows, labels, classes, l2, tolerance=1e-7, coordinates=coordinates)
    other = LogisticRegression(C=1 / l2, tol=1e-10, max_iter=20_000).fit(
        rows.double().numpy(), labels.numpy()
    )
    np.testing.assert_allclose(found.weight.numpy(), other.coef_, atol=2e-5)
    np.testing.assert_allclose(
        found.bias.numpy(), other.intercept_ - other.intercept_.mean(), atol=2e-4
    )
    theirs = other.predict_proba(rows.double().numpy())
    np.testing.assert_allclose(shares(rows, found), theirs, atol=1e-5)


@pytest.mark.parametrize(("count", "width"), [(12, 40), (40, 12)])
@pytest.mark.parametrize("coordinates", ["rows", "principal"])
def test_the_gradient_vanishes_and_the_biases_sum_to_zero(
    count: int, width: int, coordinates: Coordinates
) -> None:
    rows, labels = problem(count, width, 4)
    found = fit_logistic(rows, labels, 4, 0.5, tolerance=1e-7, coordinates=coordinates)
    weight, bias = found.weight.clone().requires_grad_(), found.bias.clone().requires_grad_()
    loss = (
        F.cross_entropy(rows.double() @ weight.T + bias, labels, reduction="sum")
        + 0.25 * weight.square().sum()
    )
    loss.backward()
    assert weight.grad is not None and bias.grad is not None
    assert float(weight.grad.abs().max()) < 1e-5 and float(bias.grad.abs().max()) < 1e-6
    assert abs(float(found.bias.sum())) < 1e-9 and abs(found.loss - loss.item()) < 1e-8


@pytest.mark.parametrize(("count", "width"), [(12, 40), (40, 12), (200, 60)])
@pytest.mark.parametrize("coordinates", ["rows", "principal"])
def test_single_precision_finds_the_optimum_of_double(
    count: int, width: int, coordinates: Coordinates
) -> None:
    rows, labels = problem(count, width, 10)
    exact = fit_logistic(rows, labels, 10, 0.5, tolerance=1e-7, coordinates=coordinates)
    found = fit_logistic(
        rows, labels, 10, 0.5, tolerance=1e-3, coordinates=coordinates, precision="single"
    )
    assert found.gradient <= 1e-3
    np.testing.assert_allclose(shares(rows, found), shares(rows, exact), atol=1e-3)
    assert found.loss == pytest.approx(exact.loss, rel=1e-3)
    assert found.weight.dtype == found.bias.dtype == torch.float64


def test_single_precision_ends_where_rounding_hides_what_a_step_gains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, labels = problem(200, 60, 10)
    exact = fit_logistic(rows, labels, 10, 0.5, tolerance=1e-7)
    evaluate = logistic._Problem.evaluate

    def rounded(problem: logistic._Problem, *point: torch.Tensor) -> tuple[torch.Tensor, ...]:
        loss, *gradients = evaluate(problem, *point)
        return loss.round(), *gradients

    monkeypatch.setattr(logistic._Problem, "evaluate", rounded)
    found = fit_logistic(rows, labels, 10, 0.5, 1e-3, coordinates="principal", precision="single")
    assert found.gradient <= 1e-3
    np.testing.assert_allclose(shares(rows, found), shares(rows, exact), atol=1e-3)


def test_a_class_without_images_is_never_likely() -> None:
    rows, labels = problem(20, 5, 3)
    found = fit_logistic(rows, labels, 4, 1.0)
    assert float(shares(rows, found)[:, 3].max()) < 0.01


@pytest.mark.parametrize("precision", ["double", "single"])
def test_too_few_iterations_are_an_error(precision: SolverPrecision) -> None:
    rows, labels = problem(50, 10, 4)
    with pytest.raises(AlbenchError, match=r"stopped at a gradient of .* after 2 iterations"):
        fit_logistic(rows, labels, 4, 0.1, tolerance=1e-9, iterations=2, precision=precision)


@pytest.mark.parametrize("count", [60, 300])
def test_principal_coordinates_take_fewer_iterations_where_features_are_far_from_round(
    count: int,
) -> None:
    rows, labels = problem(count, 100, 20)
    rows = 10 * rows / torch.arange(1, 101)  # squared lengths over four decades
    plain, turned = (
        fit_logistic(rows, labels, 20, 1.0, tolerance=1e-6, coordinates=coordinates)
        for coordinates in ("rows", "principal")
    )
    assert turned.iterations < plain.iterations / 2
    np.testing.assert_allclose(turned.weight.numpy(), plain.weight.numpy(), atol=1e-4)


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("coordinates", ["rows", "principal"])
def test_the_same_rows_give_the_same_bits(
    coordinates: Coordinates, precision: SolverPrecision
) -> None:
    rows, labels = problem(60, 30, 4)
    first, second = (
        fit_logistic(rows.clone(), labels, 4, 0.1, 1e-3, 10_000, coordinates, precision)
        for _ in range(2)
    )
    assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)

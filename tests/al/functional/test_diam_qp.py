"""The quadratic programme of DIAM_qp against scipy, its graph against sorting, its projection
against a search."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from benchmark.al.functional import diam_qp as module
from benchmark.al.functional.diam_qp import (
    add_neighbours,
    diam_qp,
    find_disputed,
    largest_positions,
    positive_part,
    project,
    solve,
)
from benchmark.errors import AlbenchError


def graph(count: int, models: int, neighbours: int, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    counts = torch.zeros((count, count), dtype=torch.float64)
    for _ in range(models):
        add_neighbours(counts, torch.randn(count, 6), neighbours)
    return counts


@pytest.mark.parametrize("rows", [5, 1000])
def test_neighbours_against_sorting(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of rows or at once; of equally near points the earlier ones, and a point always
    counts itself."""
    monkeypatch.setattr(module, "BLOCK", rows * 40)
    rng = np.random.default_rng(0)
    points = rng.integers(0, 3, size=(40, 3)).astype(
        np.float64
    )  # many equal distances and equal points
    counts = torch.zeros((40, 40))
    add_neighbours(counts, torch.from_numpy(points), 6)
    distances = np.square(points[:, None] - points[None]).sum(axis=2)
    np.fill_diagonal(distances, -1)
    wanted = np.zeros((40, 40))
    np.put_along_axis(wanted, np.argsort(distances, axis=1, kind="stable")[:, :6], 1, axis=1)
    assert (counts.sum(dim=1) == 6).all()
    assert bool((counts.diagonal() == 1).all())
    # Rounding may part equal distances; the distances of the chosen ones are the wanted ones.
    found = np.sort(distances[counts.numpy() == 1].reshape(40, 6), axis=1)
    np.testing.assert_array_equal(found, np.sort(distances[wanted == 1].reshape(40, 6), axis=1))


def test_positive_part_is_the_nearest_semi_definite_matrix() -> None:
    """No negative eigenvalue is left, and what was taken away has no positive one and is orthogonal
    to the rest."""
    counts = graph(30, 2, 4, 0)
    symmetric, positive = (counts + counts.T) / 2, positive_part(counts)
    assert float(torch.linalg.eigvalsh(symmetric)[0]) < -0.1
    removed = symmetric - positive
    assert float(torch.linalg.eigvalsh(positive)[0]) > -1e-12
    assert float(torch.linalg.eigvalsh(removed)[-1]) < 1e-12
    assert float((positive @ removed).abs().max()) < 1e-12


@pytest.mark.parametrize("total", [0.0, 1.0, 4.5, 12.0])
def test_projection_against_scipy(total: float) -> None:
    rng = np.random.default_rng(1)
    point = rng.normal(scale=2, size=12)
    found = project(torch.from_numpy(point), total).numpy()
    assert found.sum() == pytest.approx(total, abs=1e-9)
    wanted = minimize(
        lambda z: 0.5 * np.square(z - point).sum(),
        np.full(12, total / 12),
        jac=lambda z: z - point,
        method="SLSQP",
        bounds=[(0, 1)] * 12,
        constraints={"type": "eq", "fun": lambda z: z.sum() - total, "jac": lambda z: np.ones(12)},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(found, wanted.x, atol=1e-6)


@pytest.mark.parametrize("q", [0.1, 1.0, 5.0])
def test_solution_against_scipy(q: float) -> None:
    """Same objective as a general solver's, and every constraint kept."""
    matrix = positive_part(graph(40, 3, 5, 3))
    reward = q * torch.randint(0, 4, (40,)).double()
    found = solve(matrix, reward, 8)
    p, r = matrix.numpy(), reward.numpy()
    wanted = minimize(
        lambda z: 0.5 * z @ p @ z - r @ z,
        np.full(40, 0.2),
        jac=lambda z: p @ z - r,
        method="SLSQP",
        bounds=[(0, 1)] * 40,
        constraints={"type": "eq", "fun": lambda z: z.sum() - 8, "jac": lambda z: np.ones(40)},
        options={"ftol": 1e-13, "maxiter": 1000},
    )
    value = float(0.5 * found @ matrix @ found - reward @ found)
    assert value == pytest.approx(wanted.fun, rel=1e-6, abs=1e-6)
    assert float(found.sum()) == pytest.approx(8, abs=1e-9)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_without_density_the_most_disputed_win() -> None:
    """Fewer than 100 images have no neighbours at all: only D is left. Bought by ascending weight,
    as released."""
    disputes = torch.tensor([1, 3, 2, 3, 0, 3])
    assert diam_qp(disputes, [torch.randn(6, 4)], 3).tolist() == [1, 3, 5]
    assert diam_qp(disputes, [torch.randn(6, 4)], 4).tolist() == [1, 2, 3, 5]
    assert largest_positions(torch.tensor([0.2, 0.9, 0.5, 0.9]), 3).tolist() == [2, 1, 3]
    # Equal disputes share their weight, and equal weights are bought in the order of the list, from
    # its beginning.
    for order in ("ascending", "descending"):
        assert diam_qp(torch.full((6,), 2), [torch.randn(6, 4)], 2, order=order).tolist() == [0, 1]
    assert largest_positions(torch.tensor([0.9, 0.2, 0.5, 0.5, 0.5]), 3).tolist() == [2, 3, 0]


def test_the_two_orders_of_purchase() -> None:
    """Neighbours of equal dispute: the weights are 0.625 and 0.375 (see the twins below), bought
    from either end."""
    features = (
        torch.arange(100.0).repeat_interleave(2)[:, None] * 10
        + torch.tensor([0.0, 0.1]).repeat(100)[:, None]
    )
    disputes = torch.tensor([3, 2]).repeat_interleave(100)
    embeddings = [features, features]
    assert sorted(diam_qp(disputes, embeddings, 100).tolist()) == list(range(100))
    few = diam_qp(disputes, embeddings, 101), diam_qp(disputes, embeddings, 101, order="descending")
    assert set(few[0].tolist()) == set(few[1].tolist())
    assert int(few[0][0]) == int(few[1][-1]) >= 100


def test_pairs_of_twins_in_closed_form() -> None:
    """100 pairs of neighbours seen alike by k = 2 models: P is k on each pair, so a pair's sum s
    minimises k s^2 / 2 - D s.

    With half of the pairs at D = 3, the others at D = 2 and as many labels as pairs, sums differ by
    1 / k: 1.25 and 0.75.
    """
    features = (
        torch.arange(100.0).repeat_interleave(2)[:, None] * 10
        + torch.tensor([0.0, 0.1]).repeat(100)[:, None]
    )
    counts = torch.zeros((200, 200), dtype=torch.float64)
    for _ in range(2):
        add_neighbours(counts, features, 2)
    reward = torch.tensor([3.0, 2.0], dtype=torch.float64).repeat_interleave(100)
    weights = solve(positive_part(counts), reward, 100, tolerance=1e-12)
    torch.testing.assert_close(
        weights, torch.where(reward == 3, 0.625, 0.375).double(), rtol=0, atol=1e-5
    )


def test_who_enters_the_programme() -> None:
    disputes = torch.tensor([0, 2, 1, 2, 0, 0, 1, 0, 0, 2, 0])
    assert find_disputed(disputes).tolist() == [1, 3]
    assert len(find_disputed(torch.zeros(80_000, dtype=torch.int64))) == 15_000
    with pytest.raises(AlbenchError, match="3 picks from 2"):
        diam_qp(disputes[:2], [], 3)


def test_an_unsolved_programme_is_an_error() -> None:
    with pytest.raises(AlbenchError, match="not solved"):
        solve(
            positive_part(graph(40, 3, 5, 3)), torch.rand(40).double(), 8, tolerance=1e-30, steps=30
        )

"""Greedy k-center against a slow, obvious twin in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.al.functional import kcenter
from benchmark.al.functional.kcenter import k_center_greedy
from benchmark.errors import AlbenchError


def slow(features: Tensor, centres: Tensor, budget: int) -> list[int]:
    """Every distance, every time."""
    points, covered = features.double().numpy(), centres.double().numpy()
    nearest = np.full(len(points), np.inf)
    for centre in covered:
        nearest = np.minimum(nearest, ((points - centre) ** 2).sum(axis=1))
    picks: list[int] = []
    for _ in range(budget):
        picks.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, ((points - points[picks[-1]]) ** 2).sum(axis=1))
        nearest[picks] = -1
    return picks


def sample(kind: str, count: int, width: int, seed: int) -> Tensor:
    """Gaussian, clustered, far from the origin, or on a coarse grid where many distances are
    exactly equal."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, width, generator=generator)
    if kind == "clustered":
        middles = 4 * torch.randn(12, width, generator=generator)
        return 0.3 * points + middles[torch.randint(12, (count,), generator=generator)]
    if kind == "offset":
        return points + 1000
    return points.mul(0.6).round() if kind == "grid" else points


@pytest.mark.parametrize("kind", ["gaussian", "clustered", "offset", "grid"])
@pytest.mark.parametrize(
    ("count", "centres", "budget"), [(700, 60, 150), (130, 0, 130), (1, 3, 1), (257, 1, 40)]
)
def test_same_picks_in_the_same_order(kind: str, count: int, centres: int, budget: int) -> None:
    points = sample(kind, count + centres, 5 if kind == "grid" else 24, seed=count)
    found = k_center_greedy(points[:count], points[count:], budget)
    assert found.dtype == torch.int64
    assert found.tolist() == slow(points[:count], points[count:], budget)


def test_many_centres_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    points = sample("clustered", 900, 16, seed=3)
    monkeypatch.setattr(kcenter, "BLOCK", 128 * 7)
    assert k_center_greedy(points[:300], points[300:], 50).tolist() == slow(
        points[:300], points[300:], 50
    )


def test_duplicates_fall_to_the_first() -> None:
    """Equal points stand far apart, in other chunks and beside other neighbours; the first of them
    is picked."""
    distinct = sample("gaussian", 90, 20, seed=5)
    order = torch.from_numpy(np.random.default_rng(0).permutation(np.tile(np.arange(90), 6)))
    points, centres = distinct[order], distinct[:4]
    picks = k_center_greedy(points, centres, 120).tolist()
    assert picks == slow(points, centres, 120)
    first = {int(value): int(place) for place, value in reversed(list(enumerate(order)))}
    assert all(pick == first[int(order[pick])] for pick in picks[:86])
    assert len(set(picks)) == 120


def test_without_centres_the_first_point_is_picked_first() -> None:
    points = sample("gaussian", 50, 8, seed=1)
    assert k_center_greedy(points, points[:0], 3).tolist()[0] == 0


def test_picks_do_not_depend_on_the_layout_or_type_of_the_input() -> None:
    points = sample("clustered", 400, 12, seed=9)
    expected = k_center_greedy(points[:350], points[350:], 60)
    transposed = points.T.contiguous().T
    assert torch.equal(k_center_greedy(transposed[:350], transposed[350:], 60), expected)
    assert torch.equal(k_center_greedy(points[:350].double(), points[350:].double(), 60), expected)


def test_no_temporary_grows_with_points_times_centres() -> None:
    """The largest tensor made on the way, seen by the dispatcher, is bounded by BLOCK numbers."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and not func.is_view:
                largest = max(largest, out.numel())
            return out

    points = sample("gaussian", 24_000, 8, seed=2)
    with Watch():
        k_center_greedy(points[:6_000], points[6_000:], 20)
    assert 0 < largest <= max(kcenter.BLOCK, 6_000 * 8)
    assert largest * 20 < 6_000 * 18_000


def test_refusals() -> None:
    points = sample("gaussian", 10, 4, seed=0)
    with pytest.raises(AlbenchError, match="11 picks from 10"):
        k_center_greedy(points, points[:0], 11)
    spoilt = points.clone()
    spoilt[3, 1] = torch.nan
    with pytest.raises(AlbenchError, match="features are not finite"):
        k_center_greedy(spoilt, points, 2)
    with pytest.raises(AlbenchError, match="centres are not finite"):
        k_center_greedy(points, spoilt, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["gaussian", "clustered", "grid"])
def test_cuda_picks_what_the_cpu_picks(kind: str) -> None:
    points = sample(kind, 3000, 5 if kind == "grid" else 64, seed=4)
    on_device = points.cuda()
    found = k_center_greedy(on_device[:2500], on_device[2500:], 200)
    assert found.is_cuda
    assert found.tolist() == slow(points[:2500], points[2500:], 200)

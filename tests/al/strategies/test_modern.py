"""Newer acquisition functions beside another library's on fixed features, and beside slow programs
written from the papers.

scikit-activeml is the other library. Where a method draws, both get the same numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.al.functional import bald as bald_
from benchmark.al.functional import coverage
from benchmark.al.functional.bait import fisher_weights, select_bait
from benchmark.al.functional.clustering import (
    cluster,
    linkage_clusters,
    nearest_to_centres,
    typicality,
)
from benchmark.al.functional.coverage import BallCover, pure_radius, select_herding
from benchmark.al.functional.lazy_greedy import lazy_greedy
from benchmark.al.functional.mixing import (
    changed_by_dropout,
    class_anchors,
    flipped_by_mixing,
    select_falcun,
)
from benchmark.al.strategies import Strategy, View
from benchmark.al.strategies.alfa_mix import AlfaMix
from benchmark.al.strategies.cluster_margin import ClusterMargin
from benchmark.al.strategies.dropquery import DropQuery
from benchmark.al.strategies.herding import UHerding
from benchmark.al.strategies.power import power_draw
from benchmark.al.strategies.typiclust import TypiClust
from benchmark.errors import UsageError

CLASSES, WIDTH, KNOWN, POOL = 5, 6, 8, 60


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def view(seed: int = 0, **outputs: Tensor) -> View:
    return View(
        cycle=1,
        cycles=4,
        classes=CLASSES,
        candidates=np.arange(POOL),
        labelled=np.arange(POOL, POOL + KNOWN),
        pool_size=POOL + KNOWN,
        rng=rng(seed),
        device=torch.device("cpu"),
        outputs=outputs,
    )


def select(strategy: Strategy, seen: View, budget: int) -> list[int]:
    picked = strategy.select(seen, budget).positions.tolist()
    assert len(set(picked)) == len(picked) == budget
    return picked


def points(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Candidates and labelled points around six centres."""
    centres = 2 * numbers(6, WIDTH, seed=seed + 100)
    drawn = centres[torch.arange(POOL + KNOWN) % 6] + 0.6 * numbers(POOL + KNOWN, WIDTH, seed=seed)
    return drawn[:POOL], drawn[POOL:]


def other(
    method: str, candidates: Tensor, labelled: Tensor, budget: int, **params: Any
) -> list[int]:
    """Picks of scikit-activeml among the candidates."""
    pool = pytest.importorskip("skactiveml.pool")
    both = torch.cat([labelled, candidates]).double().numpy()
    labels = np.r_[np.zeros(len(labelled)), np.full(len(candidates), np.nan)]
    found = getattr(pool, method)(**params).query(X=both, y=labels, batch_size=budget)
    return [int(place) - len(labelled) for place in found]


# -------------------------------------------------------------------------------------- lazy greedy


@pytest.mark.parametrize("seed", range(3))
def test_lazy_greedy_is_greedy(seed: int) -> None:
    """Coverage of 40 things by 30 random sets: the same picks, and fewer evaluations."""
    sets = numbers(300, 40, seed=seed) > 1.0
    covered, asked = torch.zeros(40, dtype=torch.bool), 0

    def gains(places: Tensor) -> Tensor:
        nonlocal asked
        asked += len(places)
        return (sets[places] & ~covered).sum(dim=1).double()

    def accept(place: int) -> None:
        nonlocal covered
        covered |= sets[place]

    found = lazy_greedy(sets.sum(dim=1).double(), gains, accept, 12).tolist()
    plain, seen = [], torch.zeros(40, dtype=torch.bool)
    for _ in range(12):
        gain = (sets & ~seen).sum(dim=1)
        if int(gain.max()) == 0:
            plain += [place for place in range(300) if place not in plain][: 12 - len(plain)]
            break
        plain.append(int(gain.argmax()))
        seen |= sets[plain[-1]]
    assert found == plain and asked < 12 * 300


# ---------------------------------------------------------------------------------------- TypiClust


@pytest.mark.parametrize("seed", range(4))
def test_typiclust_beside_scikit_activeml(seed: int) -> None:
    candidates, labelled = points(seed)
    labelled, budget = labelled[:2], 4
    strategy = TypiClust(neighbours=3, smallest=1)
    drawn = int(rng(seed).integers(2**31))
    theirs = other(
        "TypiClust",
        candidates,
        labelled,
        budget,
        k=3,
        random_state=seed,
        cluster_algo_dict={"random_state": drawn, "n_init": 1},
    )
    seen = view(seed, **{"features": candidates, "labelled.features": labelled})
    ours = select(strategy, seen, budget)
    names = cluster(torch.cat([labelled, candidates]), len(labelled) + budget, rng(seed))[
        len(labelled) :
    ]
    assert {int(names[place]) for place in ours} == {int(names[place]) for place in theirs}
    assert set(ours) == set(theirs)


def test_typicality_by_its_formula() -> None:
    rows = numbers(30, WIDTH)
    found = typicality(rows, 4)
    for place in range(30):
        distances = sorted(float((rows[place].double() - row.double()).norm()) for row in rows)
        assert float(found[place]) == pytest.approx(1 / (sum(distances[1:5]) / 4))
    assert typicality(rows[:1], 4).tolist() == [0.0]


def test_typiclust_takes_turns_and_leaves_small_clusters() -> None:
    """Two large clusters and two far single points, four clusters at most: the large ones sell all
    eight."""
    large = torch.cat([numbers(29, WIDTH, seed=1), 50 + numbers(29, WIDTH, seed=2)])
    candidates = torch.cat([large, torch.full((1, WIDTH), 500.0), torch.full((1, WIDTH), -500.0)])
    labelled = torch.empty(0, WIDTH)
    seen = view(**{"features": candidates, "labelled.features": labelled})
    picked = select(TypiClust(clusters=4), seen, 8)
    assert sorted(place >= 29 for place in picked) == [False] * 4 + [True] * 4 and not {
        58,
        59,
    } & set(picked)
    assert set(select(TypiClust(clusters=4, smallest=1), seen, 8)) >= {58, 59}


# ------------------------------------------------------------------------------- ProbCover, herding


@pytest.mark.filterwarnings("ignore:The maximum purity")
@pytest.mark.parametrize("delta", [0.3, 0.5, 0.8])
def test_probcover_beside_scikit_activeml(delta: float) -> None:
    candidates, labelled = (F.normalize(part, dim=1) for part in points())
    cover = BallCover(candidates, labelled, delta)
    distances = torch.cdist(torch.cat([labelled, candidates]), candidates)
    assert torch.equal(cover.covered, (distances[:KNOWN] <= delta).any(dim=0))
    picks = cover.pick(6, rng()).tolist()
    # As long as anything is uncovered, each pick has the largest degree; ties may fall otherwise
    # there.
    theirs = other("ProbCover", candidates, labelled, 6, deltas=[delta], alpha=0.01, random_state=0)
    covered = {
        "ours": (distances[:KNOWN] <= delta).any(dim=0),
        "theirs": (distances[:KNOWN] <= delta).any(dim=0),
    }
    near = distances[KNOWN:] <= delta
    for ours, their in zip(picks, theirs, strict=True):
        degrees = {name: (near & ~seen).sum(dim=1) for name, seen in covered.items()}
        if int(degrees["ours"].max()) == 0:
            break
        assert int(degrees["ours"][ours]) == int(degrees["ours"].max())
        assert (
            int(degrees["theirs"][their])
            == int(degrees["theirs"].max())
            == int(degrees["ours"].max())
        )
        assert ours == int(degrees["ours"].argmax()), "first of equals"
        covered["ours"] |= near[ours]
        covered["theirs"] |= near[their]
    assert torch.equal(
        cover.covered | cover.degrees.bool(), cover.covered | (near & ~cover.covered).any(dim=1)
    )


def test_the_pure_radius_is_the_largest_one() -> None:
    rows = F.normalize(points()[0], dim=1)
    names = cluster(rows, 4, rng(3))
    found = pure_radius(rows, 4, 0.9, rng(3))
    distances = torch.cdist(rows, rows)

    def pure(radius: float) -> float:
        balls = [names[row <= radius] == name for row, name in zip(distances, names, strict=True)]
        return sum(bool(ball.all()) for ball in balls) / len(balls)

    assert pure(found) >= 0.9
    larger = sorted({float(value) for value in distances.flatten() if float(value) > found})[:40]
    assert any(pure(radius) < 0.9 for radius in larger)


@pytest.mark.parametrize("kept", [True, False], ids=["pairs kept", "computed anew"])
@pytest.mark.parametrize("seed", range(4))
def test_max_herding_beside_scikit_activeml(
    seed: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "MOST_PAIRS", 2**25 if kept else 0)
    monkeypatch.setattr(coverage, "TILE", 7)  # several tiles, the last one not full
    candidates, labelled = points(seed)
    ours = select_herding(candidates, labelled, 10, sigma=0.8).tolist()
    theirs = other(
        "MaxHerding",
        candidates,
        labelled,
        10,
        metric="rbf",
        metric_dict={"gamma": 1 / 0.8**2},
        random_state=seed,
    )
    assert coverages(candidates, labelled, ours, 0.8) == pytest.approx(
        coverages(candidates, labelled, theirs, 0.8)
    )


def coverages(candidates: Tensor, labelled: Tensor, picks: list[int], sigma: float) -> list[float]:
    """Generalised coverage after each pick, by its definition."""
    rows, known = F.normalize(candidates.double(), dim=1), F.normalize(labelled.double(), dim=1)
    found = []
    for count in range(1, len(picks) + 1):
        centres = torch.cat([known, rows[picks[:count]]])
        found.append(
            float(torch.exp(-torch.cdist(rows, centres).square() / sigma**2).amax(dim=1).sum())
        )
    return found


def test_uherding_by_its_formula() -> None:
    candidates, labelled = points()
    logits = numbers(POOL, CLASSES, seed=9)
    seen = view(features=candidates, logits=logits, **{"labelled.features": labelled})
    ours = select(UHerding(sigma=0.7, temperature=2.0), seen, 8)
    best = (logits / 2).softmax(dim=1).double().sort(dim=1, descending=True).values
    weights = 1 - (best[:, 0] - best[:, 1])
    rows, known = F.normalize(candidates.double(), dim=1), F.normalize(labelled.double(), dim=1)
    kernel = torch.exp(-torch.cdist(rows, rows).square() / 0.7**2)
    covered = torch.exp(-torch.cdist(rows, known).square() / 0.7**2).amax(dim=1)
    for pick in ours:
        gains = (kernel - covered).clamp(min=0) @ weights
        assert float(gains[pick]) == pytest.approx(float(gains.max()), rel=1e-9)
        covered = torch.maximum(covered, kernel[pick])


# ---------------------------------------------------------------------------------- BALD, BatchBALD


def passes(count: int = 6, images: int = 12, classes: int = 3, seed: int = 0) -> Tensor:
    return (2 * numbers(count, images, classes, seed=seed)).softmax(dim=-1)


def joint_information(probs: Tensor, batch: list[int]) -> float:
    """H(y_batch) - mean_k H(y_batch | k), summed over all combinations of labels."""
    exact = probs.double()
    whole = inside = 0.0
    for labels in itertools.product(range(probs.shape[2]), repeat=len(batch)):
        each = torch.ones(len(probs), dtype=torch.float64)
        for image, label in zip(batch, labels, strict=True):
            each = each * exact[:, image, label]
        mean = float(each.mean())
        whole -= mean * math.log(mean)
        inside -= float((each * each.log()).mean())
    return whole - inside


def test_bald_is_the_information_of_one_image() -> None:
    probs = passes()
    scores, _ = bald_.mutual_information(probs)
    assert scores.tolist() == pytest.approx(
        [joint_information(probs, [image]) for image in range(12)]
    )


@pytest.mark.parametrize("seed", range(3))
def test_batch_bald_is_greedy_on_the_joint_information(seed: int) -> None:
    probs = passes(seed=seed)
    ours = bald_.batch_bald(probs, 4, 10_000, rng()).tolist()
    plain: list[int] = []
    for _ in range(4):
        gains = {
            image: joint_information(probs, [*plain, image])
            for image in range(12)
            if image not in plain
        }
        plain.append(max(gains, key=lambda image: gains[image]))
    assert ours == plain


def test_bald_and_batch_bald_beside_scikit_activeml() -> None:
    pool = pytest.importorskip("skactiveml.pool")
    probs = passes(8, 40, 3, seed=5)
    utilities = pool.batch_bald(
        probs.double().numpy(), batch_size=4, n_MC_samples=10_000, random_state=0
    )
    theirs = [int(np.nanargmax(row)) for row in utilities]
    assert bald_.batch_bald(probs, 4, 10_000, rng()).tolist() == theirs
    scores, _ = bald_.mutual_information(probs)
    assert scores.numpy() == pytest.approx(utilities[0], abs=1e-5)


def test_drawn_combinations_estimate_the_exact_gain() -> None:
    probs = passes(6, 12, 3, seed=2)
    _, means = bald_.mutual_information(probs)
    exact = bald_._Joint(probs, means, 10**6, rng())
    drawn = bald_._Joint(probs, means, 20_000, rng(4))
    drawn.samples = 20_000
    for image in (3, 7, 1):
        exact.accept(image)
    drawn.samples = 3  # from the second image on
    drawn.accept(3)
    drawn.samples, drawn.drawn = 20_000, True
    chosen = drawn._draw(drawn.weights[None].expand(20_000, -1))
    drawn.passes, drawn.weights = (
        drawn.passes[chosen],
        drawn.weights.new_full((20_000,), 1 / 20_000),
    )
    for image in (7, 1):
        drawn.accept(image)
    places = torch.tensor([0, 4, 9])
    assert drawn.gains(places).tolist() == pytest.approx(exact.gains(places).tolist(), abs=0.01)


def test_a_batch_that_has_told_everything_is_filled_by_bald() -> None:
    """Two passes that are sure of different labels: one image tells ln 2, and there is no more to
    tell."""
    probs = torch.zeros(2, 6, 2)
    probs[0, :, 0], probs[1, :, 1] = 1, 1
    probs[:, 4:] = 0.5
    assert bald_.batch_bald(probs, 5, 100, rng()).tolist() == [0, 1, 2, 3, 4]


# ------------------------------------------------------------------------------------ power, FALCUN


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_power_draws_by_their_probabilities(beta: float) -> None:
    """The first two of many draws against successive draws without replacement: chi-square with 11
    degrees of freedom."""
    scores = torch.tensor([0.1, 0.4, 0.9, 0.3])
    weights = scores.double() ** beta
    counts: dict[tuple[int, int], int] = {}
    source, rounds = rng(11), 6000
    for _ in range(rounds):
        one, two = power_draw(scores, beta, 2, source).tolist()
        counts[one, two] = counts.get((one, two), 0) + 1
    statistic = 0.0
    for one, two in itertools.permutations(range(4), 2):
        expected = (
            float(weights[one] / weights.sum() * weights[two] / (weights.sum() - weights[one]))
            * rounds
        )
        statistic += (counts.get((one, two), 0) - expected) ** 2 / expected
    assert statistic < 31.3, "exceeded once in a thousand"


@pytest.mark.parametrize("gamma", [1.0, 10.0])
def test_falcun_beside_scikit_activeml(gamma: float) -> None:
    """Uniform numbers in the middle of what their probabilities give their draws: the same images
    in the same order."""
    pool = pytest.importorskip("skactiveml.pool")
    from skactiveml.classifier import SklearnClassifier
    from sklearn.linear_model import LogisticRegression

    candidates, labelled = points()
    features = torch.cat([labelled, candidates]).double().numpy()
    labels = np.r_[np.arange(KNOWN) % CLASSES, np.full(POOL, np.nan)]
    model = SklearnClassifier(LogisticRegression(), classes=range(CLASSES)).fit(features, labels)
    probs = torch.from_numpy(model.predict_proba(features[KNOWN:]))
    theirs, chances = pool.Falcun(gamma=gamma, random_state=3).query(
        features, labels, model, fit_clf=False, batch_size=15, return_utilities=True
    )
    picks = [int(place) - KNOWN for place in theirs]
    ends = np.nan_to_num(chances[:, KNOWN:]).cumsum(axis=1)
    middles = [
        (row[pick] + (row[pick - 1] if pick else 0.0)) / 2
        for row, pick in zip(ends, picks, strict=True)
    ]
    source = cast(np.random.Generator, SimpleNamespace(random=lambda: middles.pop(0)))
    assert select_falcun(probs, 15, gamma, source).tolist() == picks and not middles


def test_falcun_by_its_equations() -> None:
    probs = numbers(20, CLASSES).softmax(dim=1).double()
    source, ours = rng(2), select_falcun(probs, 6, 3.0, rng(2)).tolist()
    best = probs.sort(dim=1, descending=True).values
    uncertainty = [float(1 - (row[0] - row[1])) for row in best]
    diversity = list(uncertainty)
    for turn, pick in enumerate(ours):
        if turn:
            last = probs[ours[turn - 1]]
            diversity = [
                min(d, float((row - last).abs().sum()))
                for d, row in zip(diversity, probs, strict=True)
            ]
            low, high = min(diversity), max(diversity)
            diversity = [(d - low) / (high - low) for d in diversity]
        relevance = [
            0.0 if place in ours[:turn] else (u + d) ** 3
            for place, (u, d) in enumerate(zip(uncertainty, diversity, strict=True))
        ]
        target, total = source.random() * sum(relevance), 0.0
        expected = next(
            place for place, r in enumerate(itertools.accumulate(relevance)) if r > target
        )
        assert pick == expected and total == 0.0


# ------------------------------------------------------------------------------ ALFA-Mix, DropQuery


def head() -> tuple[Tensor, Tensor]:
    return numbers(CLASSES, WIDTH, seed=21), numbers(CLASSES, seed=22)


@pytest.mark.parametrize("epsilon", [None, 0.3])
def test_mixing_by_its_formula(epsilon: float | None) -> None:
    """The gradient by autograd, alpha as in equation 5, and the mixture as in equation 1."""
    candidates, labelled = points()
    candidates = candidates.clamp(min=0)  # zeros in which anchors may agree
    weight, bias = head()
    anchors = class_anchors(labelled.clamp(min=0), torch.arange(KNOWN) % 3, CLASSES)
    assert (
        torch.allclose(anchors[1], labelled.clamp(min=0)[[1, 4, 7]].mean(dim=0))
        and len(anchors) == 3
    )
    found = flipped_by_mixing(candidates, weight, bias, anchors, epsilon)
    step = 0.2 / math.sqrt(WIDTH) if epsilon is None else epsilon
    expected = []
    for row in candidates:
        with torch.enable_grad():
            own = row.clone().requires_grad_()
            logits = weight @ own + bias
            (gradient,) = torch.autograd.grad(
                F.cross_entropy(logits[None], logits.argmax()[None]), own
            )
        changes = False
        for anchor in anchors:
            apart = anchor - row
            alpha = (
                step
                * apart.norm()
                * gradient
                / gradient.norm()
                / torch.where(apart == 0, torch.inf, apart)
            )
            mixed = alpha * anchor + (1 - alpha) * row
            changes |= int((weight @ mixed + bias).argmax()) != int(logits.argmax())
        expected.append(changes)
    assert found.tolist() == expected and 0 < sum(expected) < POOL


def test_alfa_mix_buys_what_changes_and_draws_the_rest() -> None:
    candidates, labelled = points()
    weight, bias = head()
    labels = torch.arange(KNOWN) % CLASSES
    seen = view(
        features=candidates,
        **{
            "head.weight": weight,
            "head.bias": bias,
            "labelled.features": labelled,
            "labelled.labels": labels,
        },
    )
    changed = flipped_by_mixing(
        candidates, weight, bias, class_anchors(labelled, labels, CLASSES), 0.05
    )
    count = int(changed.sum())
    assert count > 4
    assert all(changed[select(AlfaMix(epsilon=0.05), seen, 4)])
    more = select(AlfaMix(epsilon=0.05), seen, count + 5)
    assert changed[more].tolist() == [True] * count + [False] * 5


def test_dropout_of_features_by_its_formula() -> None:
    candidates, _ = points()
    weight, bias = head()
    found = changed_by_dropout(candidates, weight, bias, 3, 0.75, rng(6))
    source = rng(6)
    expected = torch.zeros(POOL, dtype=torch.int64)
    for _ in range(3):
        masks = source.random((POOL, WIDTH), dtype=np.float32)
        for image, (row, mask) in enumerate(zip(candidates, masks, strict=True)):
            kept = torch.tensor(
                [
                    float(value) * 4 if drawn >= 0.75 else 0.0
                    for value, drawn in zip(row, mask, strict=True)
                ]
            )
            expected[image] += int(
                (weight @ kept + bias).argmax() != (weight @ row + bias).argmax()
            )
    assert found.tolist() == expected.tolist() and int((found > 0).sum()) > 0
    picked = select(
        DropQuery(), view(6, features=candidates, **{"head.weight": weight, "head.bias": bias}), 5
    )
    assert (found[picked] >= 2).all(), "more than half of three"


def test_nearest_to_centres_beside_scikit_learn() -> None:
    from sklearn.cluster import KMeans

    candidates, _ = points()
    model = KMeans(7, n_init=1, random_state=int(rng(5).integers(2**31))).fit(candidates.numpy())
    distances = model.transform(candidates.numpy())
    expected = []
    for name in range(7):
        members = np.flatnonzero(model.labels_ == name)
        expected.append(int(members[distances[members, name].argmin()]))
    assert nearest_to_centres(candidates, 7, rng(5)).tolist() == expected


def test_methods_about_one_head_refuse_several_models() -> None:
    several = view(features=numbers(2, POOL, WIDTH))
    for strategy in (AlfaMix(), DropQuery()):
        with pytest.raises(UsageError, match="about one target model"):
            strategy.select(several, 3)


# ----------------------------------------------------------------------------- Cluster-Margin, BAIT


def average_linkage(rows: Tensor, clusters: int) -> list[set[int]]:
    """Merging the two parts of smallest mean distance, again and again."""
    parts = [{place} for place in range(len(rows))]
    distances = torch.cdist(rows.double(), rows.double())
    while len(parts) > clusters:
        one, two = min(
            itertools.combinations(range(len(parts)), 2),
            key=lambda pair: float(
                distances[sorted(parts[pair[0]])][:, sorted(parts[pair[1]])].mean()
            ),
        )
        parts[one] |= parts.pop(two)
    return parts


def test_average_linkage_by_its_definition() -> None:
    rows = points()[0][:25]
    names = linkage_clusters(rows.double().numpy(), 6)
    found = [set(np.flatnonzero(names == name).tolist()) for name in np.unique(names)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, average_linkage(rows, 6)))


def test_cluster_margin_takes_turns_from_the_smallest_cluster_on() -> None:
    candidates, _ = points()
    logits = numbers(POOL, CLASSES, seed=13)
    picked = select(
        ClusterMargin(multiple=4, clusters=3), view(features=candidates, logits=logits), 6
    )
    best = logits.softmax(dim=1).sort(dim=1, descending=True).values
    narrow = torch.argsort(best[:, 0] - best[:, 1], stable=True)[:24]
    parts = sorted(average_linkage(candidates[narrow], 3), key=lambda part: (len(part), min(part)))
    home = {int(narrow[place]): turn for turn, part in enumerate(parts) for place in part}
    queue, expected = [len(part) for part in parts], []
    while len(expected) < 6:
        for turn in range(3):
            if queue[turn] and len(expected) < 6:
                queue[turn] -= 1
                expected.append(turn)
    assert [home[place] for place in picked] == expected


def full_fisher(rows: Tensor, probs: Tensor) -> Tensor:
    """(n, d c, d c): (diag(p) - p p^T) (x) x x^T of every image."""
    return torch.stack(
        [
            torch.kron(torch.diag(p) - torch.outer(p, p), torch.outer(x, x))
            for x, p in zip(rows.double(), probs.double(), strict=True)
        ]
    )


@pytest.mark.parametrize("seed", range(2))
def test_bait_of_two_classes_is_that_of_the_whole_information(seed: int) -> None:
    rows, known = points(seed)
    rows = rows[:24]
    probs = (2 * numbers(24, 2, seed=31)).softmax(dim=1)
    of_known = numbers(KNOWN, 2, seed=32).softmax(dim=1)
    ours = select_bait(
        rows, fisher_weights(probs), known, fisher_weights(of_known), 4, 0.5, 2
    ).tolist()
    each, base = full_fisher(rows, probs), full_fisher(known, of_known).sum(dim=0)
    whole, size = each.sum(dim=0) + base, 2 * WIDTH

    def trace(chosen: list[int]) -> float:
        information = 0.5 * torch.eye(size, dtype=torch.float64) + base + each[chosen].sum(dim=0)
        return float(torch.linalg.solve(information, whole).trace())

    chosen: list[int] = []
    for _ in range(8):
        rest = [place for place in range(24) if place not in chosen]
        chosen.append(min(rest, key=lambda place: trace([*chosen, place])))
    while len(chosen) > 4:
        chosen.remove(
            min(chosen, key=lambda place: trace([other for other in chosen if other != place]))
        )
    assert ours == chosen

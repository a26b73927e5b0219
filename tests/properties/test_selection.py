"""What holds for every pool, stream, window and subset rule, not only for the examples one thinks
of."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmark.al.datasets.split import class_counts, kept_indices, per_class, subsample
from benchmark.al.functional.bal_windows import (
    first_picks,
    hardest_first,
    split_ranks,
    sub_pool,
    window_bounds,
)
from benchmark.al.functional.scores import top_positions
from benchmark.al.pool import Pool, indices_digest
from benchmark.al.random.streams import Streams
from benchmark.spec.data import Imbalance, Limit

SEEDS = st.integers(-(2**31), 2**31)
NAMES = st.sampled_from(["pool", "init", "order", "augment", "query"])
LABELS = arrays(np.int64, st.integers(1, 200), elements=st.integers(0, 7))
SCORES = arrays(
    np.float64, st.integers(1, 60), elements=st.sampled_from([-2.5, -1.0, 0.0, 0.5, 0.5000001, 3.0])
)


@given(st.integers(1, 120), st.lists(st.integers(0, 40), max_size=5), SEEDS, st.integers(1, 50))
def test_a_pool_stays_a_partition_through_any_purchases(
    size: int, buys: list[int], seed: int, candidates: int
) -> None:
    streams = Streams(0, seed)
    pool = Pool.shuffled(size, min(3, size), streams.generator("pool"))
    for cycle, count in enumerate(buys):
        shown = pool.candidates(candidates)
        assert len(shown) == min(candidates, len(pool.unlabelled))
        bought = streams.generator("query", cycle).permutation(shown)[:count]
        before, pool = pool, pool.label(bought, streams.generator("pool", cycle + 1))
        pool.check()
        assert indices_digest(pool.labelled) == indices_digest(
            np.concatenate([before.labelled, bought])
        )
        assert sorted(np.concatenate([pool.labelled, pool.unlabelled])) == list(range(size))


@given(SEEDS, SEEDS, NAMES, st.integers(-1, 30), st.text(max_size=8))
def test_a_stream_is_its_name_and_nothing_else(
    seed: int, trial: int, name: str, cycle: int, part: str
) -> None:
    one, two = Streams(seed, trial), Streams(seed, trial)
    two.generator("augment", 3).random(7)  # another use takes nothing away
    assert (
        one.generator(name, cycle, part).random(3).tolist()
        == two.generator(name, cycle, part).random(3).tolist()
    )
    keys = {
        one.key(name, cycle, part),
        one.key(name, cycle + 1, part),
        one.key(name, cycle, part + "x"),
        Streams(seed + 1, trial).key(name, cycle, part),
        Streams(seed, trial + 1).key(name, cycle, part),
    }
    assert len(keys) == 5


@given(SEEDS, st.integers(1, 40), st.integers(1, 20), st.integers(0, 5))
def test_a_draw_does_not_depend_on_its_neighbours(
    seed: int, samples: int, batch: int, epoch: int
) -> None:
    counter = Streams(0, seed).counter("augment")
    whole = counter.uniform(torch.arange(samples), epoch, 1, 3)
    parts = [counter.uniform(some, epoch, 1, 3) for some in torch.arange(samples).split(batch)]
    assert torch.equal(torch.cat(parts), whole)
    assert sorted(counter.permutation(samples, epoch, 2, "cpu").tolist()) == list(range(samples))


@given(SCORES, st.integers(0, 70))
def test_the_largest_scores_in_order_earlier_ones_first(scores: np.ndarray, count: int) -> None:
    wanted = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:count]
    assert top_positions(torch.from_numpy(scores), count).tolist() == wanted


@given(st.integers(2, 12), st.integers(20, 5000), st.floats(0.1, 3.0), st.data())
def test_windows_begin_inside_the_pool_and_move_forward(
    cycles: int, size: int, beta: float, data: st.DataObject
) -> None:
    addendum = data.draw(st.integers(1, max(1, size // cycles)))
    found = [window_bounds(cycle, cycles, size, beta, addendum) for cycle in range(cycles)]
    assert found[0] == (0, int(beta * addendum)) and found[-1][1] == size
    middle = found[1:-1]
    for begin, end in middle:
        assert abs((end - begin) - beta * addendum) < 2
    assert [begin for begin, _ in middle] == sorted(begin for begin, _ in middle)


@given(st.integers(1, 300), SEEDS, st.data())
def test_a_sub_pool_is_the_window_without_the_labelled(
    size: int, seed: int, data: st.DataObject
) -> None:
    order = Streams(0, seed).generator("pool").permutation(size)
    labelled = order[data.draw(st.lists(st.integers(0, size - 1), unique=True))]
    begin = data.draw(st.integers(0, size))
    end = data.draw(st.integers(begin, size + 10))
    held = set(labelled.tolist())
    wanted = [
        image
        for rank, image in enumerate(order.tolist())
        if begin <= rank < end and image not in held
    ]
    assert sub_pool(order, labelled, (begin, end)).tolist() == wanted


@given(
    arrays(np.float64, st.integers(1, 100), elements=st.floats(0, 1e3)),
    st.integers(1, 12),
    st.integers(1, 7),
)
def test_pretext_batches_are_the_sorted_pool_cut(
    losses: np.ndarray, count: int, stride: int
) -> None:
    assume(count <= len(losses))
    for order in ("text", "number"):
        ranked = hardest_first(losses, order)
        parts = split_ranks(ranked, count)
        assert np.concatenate(parts).tolist() == ranked.tolist() and sorted(
            ranked.tolist()
        ) == list(range(len(losses)))
        assert len(parts) == count and max(map(len, parts)) - min(map(len, parts)) <= 1
        assert first_picks(parts[0], stride).tolist() == [
            parts[0][place] for place in range(0, len(parts[0]), stride)
        ]
    assert (np.diff(losses[hardest_first(losses, "number")]) <= 0).all()


@given(LABELS, st.integers(0, 100), st.sampled_from(["floor", "ceil"]), SEEDS)
def test_a_cut_inside_classes_has_exact_shares(
    labels: np.ndarray, percent: int, rounding: str, seed: int
) -> None:
    pool, test = per_class(labels, percent / 100, rounding, seed)
    assert sorted([*pool, *test]) == list(range(len(labels)))
    for label in np.unique(labels):
        exact = Fraction(percent, 100) * int((labels == label).sum())
        assert (labels[pool] == label).sum() == (
            ceil(exact) if rounding == "ceil" else floor(exact)
        )


@given(LABELS, st.integers(1, 60), st.integers(1, 60))
def test_an_imbalanced_pool_keeps_the_first_of_each_class(
    labels: np.ndarray, majority: int, minority: int
) -> None:
    have = np.bincount(labels, minlength=8).tolist()
    counts = class_counts(Imbalance(kind="step", majority=majority, minority=minority), have)
    kept = kept_indices(labels, counts)
    assert np.bincount(labels[kept], minlength=8).tolist() == counts
    for label in range(8):
        assert (
            kept[labels[kept] == label].tolist()
            == np.flatnonzero(labels == label)[: counts[label]].tolist()
        )
    tail = class_counts(Imbalance(kind="long_tail", majority=majority, ratio=0.1), [10**6] * 8)
    assert tail == sorted(tail, reverse=True) and tail[0] == majority


@given(st.integers(1, 200), st.integers(1, 250))
def test_a_limit_keeps_order_and_smaller_limits_are_inside_larger_ones(
    size: int, count: int
) -> None:
    images = np.arange(size) * 3
    kept = subsample(images, Limit(train=count, test=1), "train")
    assert len(kept) == min(count, size) and (np.diff(kept) > 0).all()
    assert (
        set(kept) <= set(subsample(images, Limit(train=count + 1, test=1), "train")) <= set(images)
    )

"""The pool stays a partition, and says so when it does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.al.pool import Pool, indices_digest
from benchmark.errors import AlbenchError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


@given(st.integers(2, 300), st.data())
def test_labelling_keeps_a_partition(size: int, data: st.DataObject) -> None:
    pool = Pool.shuffled(size, data.draw(st.integers(1, size)), rng(data.draw(st.integers(0, 9))))
    for step in range(4):
        pool.check()
        count = data.draw(st.integers(0, len(pool.unlabelled)))
        picks = rng(step).permutation(pool.unlabelled)[:count]
        before, pool = pool, pool.label(picks, rng(step))
        assert np.array_equal(pool.labelled, np.concatenate([before.labelled, picks]))
        assert set(pool.unlabelled) == set(before.unlabelled) - set(picks)


def test_picks_must_be_distinct_and_unlabelled() -> None:
    pool = Pool.shuffled(10, 4, rng())
    for picks in (pool.unlabelled[[0, 0]], pool.labelled[:1]):
        with pytest.raises(AlbenchError, match="not distinct unlabelled"):
            pool.label(picks, rng())


def test_a_broken_partition_is_named() -> None:
    with pytest.raises(AlbenchError, match="not a partition"):
        Pool(np.array([0, 1]), np.array([1, 2]), 3).check()


def test_order_is_part_of_the_digest() -> None:
    assert indices_digest(np.array([1, 2])) != indices_digest(np.array([2, 1]))
    assert indices_digest(np.array([1, 2], dtype=np.int32)) == indices_digest(np.array([1, 2]))


def test_candidates_are_the_head_of_the_list_and_clamped() -> None:
    pool = Pool.shuffled(10, 4, rng())
    assert np.array_equal(pool.candidates(2), pool.unlabelled[:2])
    assert np.array_equal(pool.candidates(99), pool.unlabelled)
    assert np.array_equal(pool.candidates(None), pool.unlabelled)


def test_the_released_replacement_rule_may_break_the_partition() -> None:
    pool = Pool.shuffled(6, 2, rng())
    after = pool.label(pool.unlabelled[[0, 0]], rng(), returned=pool.unlabelled[[1, 1]])
    assert len(after.labelled) == 4 and len(after.unlabelled) == 2
    with pytest.raises(AlbenchError):
        after.check()

"""Counter-based randomness: known answers, a slow twin, and what is promised about order and
batches."""

from __future__ import annotations

from collections import Counter as Tally

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.al.random.philox import Counter, philox4x32, to_integers, to_uniform
from tests.helpers.pillow_reference import words_of

WORDS = st.integers(0, 2**32 - 1)
KEY = 0x299F31D0A4093822


# The vectors published with Random123 (kat_vectors).
@pytest.mark.parametrize(
    ("key", "counter", "answer"),
    [
        (
            "00000000 00000000",
            "00000000 00000000 00000000 00000000",
            "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        ),
        (
            "ffffffff ffffffff",
            "ffffffff ffffffff ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "a4093822 299f31d0",
            "243f6a88 85a308d3 13198a2e 03707344",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers(key: str, counter: str, answer: str) -> None:
    first, second = (int(word, 16) for word in key.split())
    drawn = philox4x32((first, second), torch.tensor([[int(word, 16) for word in counter.split()]]))
    assert [f"{word:08x}" for word in drawn[0].tolist()] == answer.split()


@given(
    st.tuples(WORDS, WORDS), st.lists(st.tuples(WORDS, WORDS, WORDS, WORDS), min_size=1, max_size=5)
)
def test_equals_the_slow_twin(
    key: tuple[int, int], counters: list[tuple[int, int, int, int]]
) -> None:
    drawn = philox4x32(key, torch.tensor(counters))
    assert drawn.dtype == torch.int64
    assert drawn.tolist() == [words_of(key, counter) for counter in counters]


@given(st.integers(0, 2**64 - 1), WORDS, WORDS, st.integers(1, 11))
def test_bits_are_blocks_of_sample_epoch_purpose(
    key: int, epoch: int, purpose: int, n: int
) -> None:
    samples = [5, 0, 2**31 - 1]
    drawn = Counter(key).bits(torch.tensor(samples), epoch, purpose, n)
    halves = (key % 2**32, key >> 32)
    for sample, row in zip(samples, drawn.tolist(), strict=True):
        words = [
            word for block in range(3) for word in words_of(halves, (sample, epoch, purpose, block))
        ]
        assert row == words[:n]


def test_a_sample_has_its_numbers_in_any_company() -> None:
    counter, samples = Counter(KEY), torch.arange(100)
    together = counter.bits(samples, 3, 4, 7)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(counter.bits(samples[order], 3, 4, 7), together[order])
    assert torch.equal(
        torch.cat([counter.bits(part, 3, 4, 7) for part in samples.split(9)]), together
    )
    assert counter.bits(samples[:0], 3, 4, 7).shape == (0, 7)


def test_every_part_of_the_counter_and_the_key_matters() -> None:
    samples = torch.arange(50)
    draws = [
        Counter(key).bits(samples + shift, epoch, purpose)
        for key, shift, epoch, purpose in [
            (7, 0, 0, 0),
            (8, 0, 0, 0),
            (7 + 2**32, 0, 0, 0),
            (7, 50, 0, 0),
            (7, 0, 1, 0),
            (7, 0, 0, 1),
        ]
    ]
    assert len(torch.cat(draws).flatten().unique()) == 6 * 50 * 4


def test_uniform_takes_the_upper_24_bits() -> None:
    ends = to_uniform(torch.tensor([0, 255, 256, 2**31, 2**32 - 1]))
    assert ends.dtype == torch.float32
    assert ends.tolist() == [0.0, 0.0, 2.0**-24, 0.5, 1 - 2.0**-24]
    drawn = Counter(KEY).uniform(torch.arange(20_000), 0, 0, 2)
    assert drawn.shape == (20_000, 2)
    assert stats.kstest(drawn[:, 0].double().numpy(), "uniform").pvalue > 0.01
    assert abs(stats.pearsonr(drawn[:, 0].numpy(), drawn[:, 1].numpy()).statistic) < 0.02


@pytest.mark.parametrize("high", [1, 2, 9, 1000, 2**31 - 1])
def test_integers_lie_below_high(high: int) -> None:
    drawn = Counter(KEY).integers(torch.arange(20_000), 1, 2, high)
    assert drawn.shape == (20_000,)
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < high
    assert to_integers(torch.tensor([0, 2**32 - 1]), high).tolist() == [0, high - 1]
    if 1 < high <= 1000:
        assert stats.chisquare(torch.bincount(drawn, minlength=high).numpy()).pvalue > 0.01


def test_permutations_are_uniform() -> None:
    counter = Counter(KEY)
    large = counter.permutation(1000, 0, 0, "cpu")
    assert large.sort().values.tolist() == list(range(1000))
    assert torch.equal(large, counter.permutation(1000, 0, 0, "cpu"))
    seen = Tally(tuple(counter.permutation(4, epoch, 0, "cpu").tolist()) for epoch in range(1200))
    assert len(seen) == 24
    assert stats.chisquare(list(seen.values())).pvalue > 0.01


@pytest.mark.gpu
def test_the_same_integers_on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    counter, samples = Counter(KEY), torch.arange(5000)
    assert torch.equal(counter.bits(samples, 1, 2, 9), counter.bits(samples.cuda(), 1, 2, 9).cpu())
    assert torch.equal(
        counter.uniform(samples, 1, 2, 3), counter.uniform(samples.cuda(), 1, 2, 3).cpu()
    )
    assert torch.equal(
        counter.permutation(999, 1, 2, "cpu"), counter.permutation(999, 1, 2, "cuda").cpu()
    )

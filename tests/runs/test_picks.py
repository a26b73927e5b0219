"""Labelled sets: read from run folders and committed files, and never believed against their
digests."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmark.al.pool import indices_digest
from benchmark.errors import StoreError
from benchmark.runs import picks
from benchmark.runs.events import Record
from benchmark.runs.picks import LabelledSet, read_labelled, read_picks, write_picks
from benchmark.runs.store import Store
from tests.helpers.runs import ENVIRONMENT, finish, toy_record, toy_trial

BOUGHT = np.array([7, 3, 9, 0, 4, 2], dtype=np.int64)
SIZES = (2, 3, 6)


def with_sets(indices: np.ndarray = BOUGHT) -> Record:
    """A record whose cycles were trained on the first 2, 3 and 6 of these."""
    made = toy_record(toy_trial(), ENVIRONMENT)
    cycles = [
        cycle.model_copy(
            update={"labelled": size, "labelled_digest": indices_digest(indices[:size])}
        )
        for cycle, size in zip(made.cycles, SIZES, strict=True)
    ]
    return made.model_copy(update={"cycles": tuple(cycles)})


def run_folder(store: Store, **arrays: np.ndarray) -> Path:
    folder = finish(store, toy_trial())
    np.savez_compressed(folder / "indices.npz", **arrays)
    return folder


def test_what_was_bought_in_each_cycle(tmp_path: Path) -> None:
    run_folder(Store(tmp_path), labelled=BOUGHT, sizes=np.array(SIZES))
    found = read_labelled(tmp_path, with_sets())
    assert [found.cycle(cycle).tolist() for cycle in range(3)] == [
        [7, 3],
        [7, 3, 9],
        [7, 3, 9, 0, 4, 2],
    ]
    assert [found.bought(cycle).tolist() for cycle in (-1, 0, 1)] == [[7, 3], [9], [0, 4, 2]]


@pytest.mark.parametrize(
    "changed",
    [
        BOUGHT[::-1],
        BOUGHT[:5],
        BOUGHT.reshape(2, 3),
        BOUGHT.astype(np.float64),
        np.array([1, 2], dtype=object),
    ],
)
def test_other_images_than_the_record_names_are_refused(
    changed: np.ndarray, tmp_path: Path
) -> None:
    run_folder(Store(tmp_path), labelled=changed)
    with pytest.raises(ValueError):
        read_labelled(tmp_path, with_sets())


def test_a_damaged_file_and_one_that_unpacks_to_a_giant_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder(Store(tmp_path), other=BOUGHT)
    with pytest.raises(ValueError, match="damaged"):
        read_labelled(tmp_path, with_sets())
    (folder / "indices.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="damaged"):
        read_labelled(tmp_path, with_sets())
    np.savez_compressed(folder / "indices.npz", labelled=np.zeros(100_000, dtype=np.int64))
    monkeypatch.setattr(picks, "LARGEST", 1_000)
    with pytest.raises(ValueError, match="more than 1,000 indices"):
        read_labelled(tmp_path, with_sets())


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    folder = run_folder(Store(tmp_path), labelled=BOUGHT)
    (folder / "indices.npz").rename(tmp_path / "elsewhere.npz")
    (folder / "indices.npz").symlink_to(tmp_path / "elsewhere.npz")
    with pytest.raises(OSError):
        read_labelled(tmp_path, with_sets())


def labelled_set(seed: int) -> LabelledSet:
    return LabelledSet("t" * 64, "e" * 64, "random", seed, SIZES, np.roll(BOUGHT, seed))


def test_a_committed_file_gives_equal_sets_and_equal_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv.gz", tmp_path / "two" / "other.csv.gz"
    write_picks(one, [labelled_set(1), labelled_set(0)])
    write_picks(other, [labelled_set(0), labelled_set(1)])
    assert one.read_bytes() == other.read_bytes()
    found = read_picks(one)
    assert [(item.seed, item.sizes, item.indices.tolist()) for item in found] == [
        (seed, SIZES, np.roll(BOUGHT, seed).tolist()) for seed in (0, 1)
    ]
    assert read_picks(tmp_path / "none.csv.gz") == []


HEAD = "trial_id,env_id,method,seed,sizes,labelled\n"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"plain text", ""),
        (gzip.compress(b"other,header\n"), ":1"),
        (gzip.compress(f"{HEAD}t,e,random,0,2 3,7 3 9\nt,e,random,one,2,7 3\n".encode()), ":3"),
        (gzip.compress(f"{HEAD}t,e,random,0,2 3,7 3\n".encode()), ":2"),
        (gzip.compress(f"{HEAD}t,e,random,0,3 2,7 3 9\n".encode()), ":2"),
    ],
    ids=["not compressed", "header", "seed", "too few indices", "sizes that fall"],
)
def test_a_damaged_file_is_named_by_line(content: bytes, line: str, tmp_path: Path) -> None:
    path = tmp_path / "picks.csv.gz"
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        read_picks(path)
    assert caught.value.where == f"{path}{line}"

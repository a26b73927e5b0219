"""The committed table reads back to the same bits, and whatever is not one is refused with file and
line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import StoreError
from benchmark.runs.events import CycleResult, DataUsed, Environment, Record
from benchmark.verdicts import measurements
from benchmark.verdicts.measurements import (
    COLUMNS,
    from_records,
    read_committed,
    read_results,
    write_committed,
    write_results,
)
from tests.helpers import toy_suite as toy

METRICS = ["accuracy", "accuracy/last", "loss/test"]
finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)


def read(tmp_path: Path, text: str) -> list:
    path = tmp_path / "records.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return read_results(path)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 50), st.integers(0, 9), st.dictionaries(st.sampled_from(METRICS), finite)
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda row: row[:2],
    ),
    words,
    words,
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, rows: list, note: str, device: str
) -> None:
    base = toy.trial("random", 0, [1, 2, 3])[0]
    made = [
        replace(
            base,
            seed=seed,
            cycle=cycle,
            metrics=metrics,
            data_note=note,
            device_model=device,
            canonical=not note,
        )
        for seed, cycle, metrics in rows
    ]
    made.append(replace(base, seed=99, metrics={"accuracy": 0.1 + 0.2}))
    back = read(tmp_path_factory.mktemp("csv"), write_results(made))
    assert back == sorted(made, key=lambda row: row.key)
    assert write_results(back) == write_results(reversed(made))


def test_text_is_one_sorted_line_per_cycle() -> None:
    rows = toy.trials({"random": (70, 80, 85)}, seeds=[1, 0])
    lines = write_results(rows).splitlines()
    assert lines[0] == ",".join([*COLUMNS, "accuracy"])
    assert [line.split(",")[4:7] for line in lines[1:]] == [
        [str(s), str(c), str(100 * (c + 1))] for s in (0, 1) for c in range(3)
    ]


def edit(line: int, cell: int, value: str) -> str:
    lines = write_results(toy.trial("random", 0, [70, 80, 85])).splitlines()
    cells = lines[line].split(",")
    cells[cell] = value
    lines[line] = ",".join(cells)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "header"),
        ("a,b\n", 1, "header"),
        (edit(0, 0, "set"), 1, "header"),
        (edit(2, 14, "nan"), 3, "accuracy is 'nan'"),
        (edit(2, 14, "1e999"), 3, "finite"),
        (edit(3, 4, "-1"), 4, "seed is '-1'"),
        (edit(1, 5, "0.5"), 2, "whole number"),
        (edit(1, 10, "yes"), 2, "canonical"),
        (edit(2, 14, "80,81"), 3, "16 cells instead of 15"),
        (edit(2, 5, "0"), 3, "stand twice"),
        (edit(1, 11, '"x'), 4, ""),
    ],
)
def test_wrong_tables_are_refused_where_they_are_wrong(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    with pytest.raises(StoreError) as caught:
        read(tmp_path, text)
    assert caught.value.where == f"{tmp_path / 'records.csv'}:{line}"
    assert says in caught.value.message
    assert caught.value.remedy


def test_large_tables_are_compressed_and_a_folder_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, folder = toy.trials(), tmp_path / "toy"
    assert read_committed(folder) == []
    assert write_committed(folder, rows).name == "records.csv"
    monkeypatch.setattr(measurements, "LARGE", 100)
    packed = write_committed(folder, rows)
    assert [path.name for path in folder.iterdir()] == ["records.csv.gz"]
    first = packed.read_bytes()
    assert write_committed(folder, reversed(rows)).read_bytes() == first
    assert read_committed(folder) == sorted(rows, key=lambda row: row.key)
    packed.write_bytes(first[:-20])
    with pytest.raises(StoreError, match="is not compressed text"):
        read_committed(folder)
    (folder / "records.csv").write_text(write_results(rows))
    with pytest.raises(StoreError, match="remove the older one"):
        read_committed(folder)


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        read_results(tmp_path / "none.csv")


def record(tmp_path: Path, accuracy: float) -> Record:
    trial = toy.suite(tmp_path).trials(methods=["margin"], seeds=[4])[0]
    environment = Environment(
        code="c",
        python="3",
        torch="2",
        device="cpu",
        device_model="a cpu",
        isa="avx2",
        driver="",
        threads=1,
        precision="fp32",
        memory_format="contiguous",
        compiled=False,
        deterministic=True,
        image="",
    )
    cycles = tuple(
        CycleResult(
            cycle=cycle,
            labelled=size,
            metrics={"accuracy": accuracy + cycle, "loss/test": 0.5},
            per_class=(1.0,),
            training="t",
            weights="w",
            labelled_digest="l",
            picks_digest="p",
        )
        for cycle, size in enumerate(toy.SIZES)
    )
    return Record(
        trial_id="t1",
        env_id=environment.env_id,
        trial=trial,
        environment=environment,
        cycles=cycles,
        seconds=1.0,
        finished=0.0,
        data=DataUsed(name="digits", digest="d", canonical=False, note="a subset"),
    )


def test_records_become_one_measurement_per_cycle(tmp_path: Path) -> None:
    first, second = record(tmp_path, 70.0), record(tmp_path, 60.0)
    rows = from_records([first])
    assert [(row.cycle, row.labelled, row.metrics["accuracy"]) for row in rows] == [
        (0, 100, 70.0),
        (1, 200, 71.0),
        (2, 300, 72.0),
    ]
    one = rows[0]
    assert (one.suite, one.method, one.profile, one.variant, one.seed) == (
        "toy/digits",
        "margin",
        "paper",
        "as_published",
        4,
    )
    assert (one.trial_id, one.env_id, one.device_model) == ("t1", first.env_id, "a cpu")
    assert (one.canonical, one.data_note) == (False, "a subset")
    assert {row.record_digest for row in rows} == {first.digest}
    assert from_records([second])[0].record_digest != first.digest
    assert read(tmp_path, write_results(rows)) == rows

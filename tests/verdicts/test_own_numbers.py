"""Anybody's numbers: read, refused with line and remedy, and judged like our own, without torch."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from benchmark.cli.group import run
from benchmark.errors import Exit
from benchmark.spec.load import SuiteFile
from benchmark.verdicts.own_numbers import TableError, judge_own, read_own
from benchmark.verdicts.results import ClaimOutcome, SuiteVerdict, VerdictKind
from tests.helpers import toy_suite as toy

ROOT = Path(__file__).parents[2]
HEAD = "method,seed,labelled,value"
RANDOM = {100: 70.0, 200: 80.0, 300: 85.0}
MARGIN = {100: 70.0, 200: 83.0, 300: 90.0}


def table(
    path: Path,
    curves: dict[str, dict[int, float]],
    *,
    seeds: Iterable[int] = range(5),
    shift: float = 0.0,
    noise: float = 0.1,
    rng: int = 0,
) -> Path:
    draw = np.random.default_rng(rng)
    rows = [
        f"{method},{seed},{size},{value + shift + noise * draw.standard_normal():.3f}"
        for method, curve in curves.items()
        for seed in seeds
        for size, value in curve.items()
    ]
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    return path


def judged(suite: SuiteFile, path: Path, **options: object) -> SuiteVerdict:
    return judge_own(suite, read_own(path, suite), **options)  # type: ignore[arg-type]


def test_the_papers_own_numbers_are_reproduced_and_shifted_ones_are_not(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path, more=toy.claim("margin", "random"))
    same = judged(suite, table(tmp_path / "same.csv", {"random": RANDOM, "margin": MARGIN}))
    assert same.counts() == {VerdictKind.REPRODUCED: 6}
    assert [curve.verdict.kind for curve in same.curves] == [VerdictKind.REPRODUCED] * 2
    assert [claim.outcome for claim in same.claims] == [ClaimOutcome.HOLDS]
    assert same.exit_code is Exit.OK
    other = judged(suite, table(tmp_path / "other.csv", {"random": RANDOM}, shift=-3.0))
    assert other.counts() == {VerdictKind.BELOW: 3}
    assert other.exit_code is Exit.DISCREPANCY


def test_what_the_table_does_not_have_was_not_asked(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path, more=toy.claim("margin", "random"))
    found = judged(suite, table(tmp_path / "x.csv", {"random": {300: 85.0}, "margin": {300: 90.0}}))
    assert found.counts() == {VerdictKind.REPRODUCED: 2}
    assert found.curves == ()
    assert [claim.outcome for claim in found.claims] == [ClaimOutcome.NOT_TESTABLE]
    assert found.exit_code is Exit.OK
    assert any(note.startswith("4 numbers to compare with") for note in found.notes)


def test_a_method_of_ones_own_stands_beside(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path)
    found = judged(suite, table(tmp_path / "x.csv", {"random": RANDOM, "mine": MARGIN}))
    assert {row.method for row in found.standings} == {"random", "mine"}
    assert next(row for row in found.standings if row.method == "mine").control == "random"
    assert {item.method for item in found.numbers} == {"random"}
    assert any("nothing is published for them: mine" in note for note in found.notes)


def test_against_other_numbers_is_welchs_test(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path)
    mine = table(tmp_path / "mine.csv", {"random": RANDOM}, noise=0.5)
    other = table(
        tmp_path / "other.csv", {"random": RANDOM}, noise=0.4, shift=0.3, rng=1, seeds=range(10, 14)
    )
    found = judged(suite, mine, against=read_own(other, suite), against_name="other.csv")
    ours = [row.metrics["accuracy"] for row in read_own(mine, suite) if row.labelled == 200]
    theirs = [row.metrics["accuracy"] for row in read_own(other, suite) if row.labelled == 200]
    welch = scipy_stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.9)
    (line,) = [item for item in found.numbers if item.labelled == 200]
    assert line.estimate is not None
    assert (line.estimate.low, line.estimate.high) == pytest.approx((welch.low, welch.high))
    assert line.source == "other.csv"


def test_by_seed_takes_out_what_trials_share(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path)
    draw = np.random.default_rng(2)
    shared = 3 * draw.standard_normal(5)
    paths = []
    for name, shift in (("mine", 0.0), ("other", 0.1)):
        path = tmp_path / f"{name}.csv"
        rows = [
            f"random,{seed},300,{85 + shared[seed] + shift + 0.01 * seed:.4f}" for seed in range(5)
        ]
        path.write_text("\n".join([HEAD, *rows]) + "\n")
        paths.append(path)
    others = read_own(paths[1], suite)
    unpaired = judged(suite, paths[0], against=others, against_name="other.csv")
    paired = judged(suite, paths[0], against=others, against_name="other.csv", by_seed=True)
    assert (paired.reference, paired.numbers[0].source) == ("other.csv", "other.csv")
    both = tmp_path / "both.csv"
    both.write_text(paths[0].read_text() + "margin,0,300,90\nmargin,1,300,90.5\n")
    wider = judged(suite, both, against=others, against_name="other.csv", by_seed=True)
    assert {item.method for item in wider.numbers} == {"random"}, (
        "what the other table does not have was not asked"
    )
    assert wider.exit_code is Exit.OK
    assert [item.verdict.kind for item in unpaired.numbers] == [VerdictKind.INCONCLUSIVE]
    assert [item.verdict.kind for item in paired.numbers] == [VerdictKind.REPRODUCED]


def test_columns_in_any_order_a_mark_in_front_and_windows_lines(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path)
    path = tmp_path / "x.csv"
    path.write_bytes(
        "﻿value,metric,labelled,seed,method\r\n85.5,,300,1,random\r\n85.25,accuracy,300,0,random\r\n".encode()
    )
    rows = read_own(path, suite)
    assert [(row.seed, row.labelled, dict(row.metrics)) for row in rows] == [
        (0, 300, {"accuracy": 85.25}),
        (1, 300, {"accuracy": 85.5}),
    ]


DAMAGED = {
    "absent": (None, "x.csv: cannot be read", "exists"),
    "empty": ("", "x.csv:1: the file is empty", "method,seed,labelled"),
    "only a header": (HEAD, "x.csv:1: holds no numbers", "one row per"),
    "semicolons": (
        "method;seed;labelled;value\nrandom;0;100;70",
        "x.csv:1: columns are separated by semicolons",
        "commas",
    ),
    "unknown column": (
        f"{HEAD},gpu\nrandom,0,100,70,a",
        "x.csv:1: unknown column 'gpu'",
        "name columns",
    ),
    "missing column": (
        "method,labelled,value\nrandom,100,70",
        "x.csv:1: no column 'seed'",
        "add it",
    ),
    "column twice": (
        f"{HEAD},seed\nrandom,0,100,70,0",
        "x.csv:1: column 'seed' stands twice",
        "keep one",
    ),
    "too few cells": (
        f"{HEAD}\nrandom,0,100,70\nrandom,0,200",
        "x.csv:3: 3 cells instead of 4",
        "quote commas",
    ),
    "open quote": (
        f'{HEAD}\nrandom,0,100,70\n"random,1,100,70',
        "x.csv:3: unexpected end of data",
        "quoting",
    ),
    "bad number": (
        f"{HEAD}\nrandom,0,100,70\nrandom,1,100,7o",
        "x.csv:3: value is '7o', not a finite number",
        "93.25",
    ),
    "nan": (
        f"{HEAD}\nrandom,0,100,nan",
        "x.csv:2: value is 'nan', not a finite number",
        "leave the row out",
    ),
    "decimal comma": (f'{HEAD}\nrandom,0,100,"70,5"', "x.csv:2: value is '70,5'", "93.25"),
    "seed": (f"{HEAD}\nrandom,a,100,70", "x.csv:2: seed is 'a', not a whole number", "5000"),
    "half a label": (
        f"{HEAD}\nrandom,0,100.5,70",
        "x.csv:2: labelled is '100.5', not a whole number",
        "5000",
    ),
    "no method": (f"{HEAD}\n,0,100,70", "x.csv:2: no method", "name in the suite"),
    "spelling": (
        f"{HEAD}\nRandom,0,100,70",
        "x.csv:2: the suite has no method 'Random'",
        "write 'random'",
    ),
    "size": (f"{HEAD}\nrandom,0,150,70", "x.csv:2: the protocol never has 150 labels", "100, 200"),
    "metric": (
        f"{HEAD},metric\nrandom,0,100,70,acuracy",
        "x.csv:2: nothing is known of the metric",
        "accuracy",
    ),
    "fractions": (
        f"{HEAD}\nrandom,0,100,0.7\nrandom,1,100,0.71",
        "x.csv:2: accuracy is 0.7, and no",
        "percent",
    ),
    "beyond": (
        f"{HEAD}\nrandom,0,100,70\nrandom,1,100,170",
        "x.csv:3: accuracy is 170, not in percent",
        "0 to 100",
    ),
    "twice": (
        f"{HEAD}\nrandom,0,100,70\nrandom,0,100,71",
        "x.csv:3: random, seed 0, 100 labels",
        "line 2",
    ),
    "not text": (f"{HEAD}\nrandom,0,100,\xff".encode("latin-1"), "x.csv:2: byte", "UTF-8"),
    "zero byte": (f"{HEAD}\nrandom,0,100,7\0", "x.csv:2: holds a zero byte", "UTF-8"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_every_fault_is_said_with_line_and_remedy(tmp_path: Path, name: str) -> None:
    content, said, remedy = DAMAGED[name]
    path = tmp_path / "x.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TableError) as caught:
        read_own(path, toy.suite(tmp_path))
    message, _, what = str(caught.value).partition("\n  -> ")
    assert said in message
    assert remedy in what
    assert caught.value.exit_code is Exit.USAGE


def test_the_verb_judges_without_torch(tmp_path: Path) -> None:
    """A finder that refuses torch stands in front: an import anywhere would end the verb."""
    import csv

    rows = [HEAD]
    with (ROOT / "suites/tod/cifar10.reported.csv").open() as file:
        published = [
            row
            for row in csv.DictReader(file)
            if row["source"] == "ICCV Fig. 7" and row["method"] == "tod+cod"
        ]
    for row in published:
        rows += [
            f"tod+cod,{seed},{row['labelled']},{float(row['mean']) + 0.1 * (seed - 2):.2f}"
            for seed in range(5)
        ]
    (tmp_path / "own.csv").write_text("\n".join(rows) + "\n")
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'torchvision'):\n"
        "            raise ImportError(name + ' is refused')\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from benchmark.cli.group import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    junit, out = tmp_path / "verdicts.xml", tmp_path / "report"
    arguments = [
        "judge",
        str(tmp_path / "own.csv"),
        "--suite",
        "tod/cifar10",
        "--junit",
        str(junit),
        "--out",
        str(out),
    ]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(published) + 1} reproduced" in done.stdout
    assert (out / "report.html").exists()
    assert ElementTree.parse(junit).getroot().find("testsuite").get("failures") == "0"  # type: ignore[union-attr]


def test_the_verb_says_faults_and_answers_with_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"{HEAD}\ntod+cod,0,20001,94\n")
    assert (
        run(["--suites", str(ROOT / "suites"), "judge", str(path), "--suite", "tod/cifar10"])
        == Exit.USAGE
    )
    said = capsys.readouterr().err
    assert f"{path}:2: the protocol never has 20001 labels" in said
    assert "20000" in said
    path.write_text(f"{HEAD}\ntod+cod,0,20000,94\n")
    arguments = [
        "--suites",
        str(ROOT / "suites"),
        "judge",
        str(path),
        "--suite",
        "tod/cifar10",
        "--by-seed",
    ]
    assert run(arguments) == Exit.USAGE

"""Results for other programs: what is written reads back, and says what it is."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.cli.group import run
from benchmark.errors import Exit
from benchmark.reports import export
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.own_numbers import read_own
from tests.helpers import toy_suite as toy

ROOT = Path(__file__).parents[2]


def test_the_long_table_has_every_value_once(tmp_path: Path) -> None:
    rows = toy.trials()
    found = list(csv.DictReader(io.StringIO(export.to_csv(reversed(rows)).decode())))
    assert {
        (row["method"], int(row["seed"]), int(row["labelled"]), float(row["value"]))
        for row in found
    } == {(row.method, row.seed, row.labelled, row.metrics["accuracy"]) for row in rows}
    assert len(found) == len(rows)
    assert {row["canonical"] for row in found} == {"true"}


def test_its_first_columns_are_what_judge_reads(tmp_path: Path) -> None:
    suite, rows = toy.suite(tmp_path), toy.trials()
    text = export.to_csv(rows).decode()
    path = tmp_path / "own.csv"
    path.write_text("\n".join(",".join(line.split(",")[:5]) for line in text.splitlines()) + "\n")
    back = {
        (row.method, row.seed, row.labelled): dict(row.metrics) for row in read_own(path, suite)
    }
    assert back == {(row.method, row.seed, row.labelled): dict(row.metrics) for row in rows}


def test_parquet_reads_back_to_the_same_bits() -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    rows = toy.trials()
    table = pandas.read_parquet(io.BytesIO(export.to_parquet(rows)))
    assert list(table.columns) == list(export.COLUMNS)
    assert table.to_dict("records") == export.long_rows(rows)
    assert table.dtypes["value"] == "float64"
    assert table.dtypes["seed"] == "int64"


def test_json_has_verdicts_and_measurements(tmp_path: Path) -> None:
    suite, rows = toy.suite(tmp_path), toy.trials()
    found = json.loads(export.to_json([judge_suite(suite, rows)], rows))
    assert found["verdicts"][0]["exit_code"] == 0
    assert len(found["measurements"]) == len(rows)


def test_latex_is_a_whole_table_with_nothing_unescaped(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path)
    rows = [
        replace(row, method="my_100%&method") if row.method == "entropy" else row
        for row in toy.trials()
    ]
    text = export.to_latex(judge_suite(suite, rows)).decode()
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert lines[0].startswith("method & labels & ours & published")
    assert {line.replace(r"\&", "").count("&") for line in lines} == {5}
    assert sum("reproduced" in line for line in lines) == 6
    measured = export.to_latex(
        judge_suite(suite, [replace(row, profile="smoke") for row in rows], profile="smoke")
    ).decode()
    assert r"my\_100\%\&method & " in measured
    assert not any(sign in text + measured for sign in "±–✓★")
    assert (
        export.escape(r"a_b\c{}~^")
        == r"a\_b\textbackslash{}c\{\}\textasciitilde{}\textasciicircum{}"
    )


def test_the_crate_says_what_its_files_are(tmp_path: Path) -> None:
    suite, rows = toy.suite(tmp_path), toy.trials()
    files = {"measurements.csv": export.to_csv(rows), "verdicts.tex": b"%"}
    crate = json.loads(
        export.to_rocrate(suite, judge_suite(suite, rows), rows, files, "2026-11-27")
    )
    entities = {one["@id"]: one for one in crate["@graph"]}
    assert crate["@context"] == "https://w3id.org/ro/crate/1.1/context"
    assert entities["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    root = entities["./"]
    assert {"name", "description", "datePublished", "license"} <= root.keys()
    assert [part["@id"] for part in root["hasPart"]] == sorted(files)
    for name, content in files.items():
        assert entities[name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert entities[name]["contentSize"] == str(len(content))
    assert entities["#paper"]["name"] == "A Toy Paper"

    def referred(value: object) -> list[str]:
        if isinstance(value, dict):
            return (
                [value["@id"]]
                if set(value) == {"@id"}
                else [one for item in value.values() for one in referred(item)]
            )
        return [one for item in value for one in referred(item)] if isinstance(value, list) else []

    dangling = set(referred(crate["@graph"])) - set(entities) - {"https://w3id.org/ro/crate/1.1"}
    assert not dangling
    assert len(entities) == len(crate["@graph"]), "every @id once"


def test_the_verb_exports_committed_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--suites", str(ROOT / "suites"), "--runs", str(tmp_path / "runs")]
    arguments = [*places, "export", "quickstart/digits", "--methods", "random", "--committed"]
    assert run(arguments) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ",".join(export.COLUMNS)
    assert {line.split(",")[0] for line in lines[1:]} == {"random"}
    assert run([*arguments, "--to", "tex"]) == Exit.OK
    assert r"\end{tabular}" in capsys.readouterr().out
    assert (
        run(
            [*arguments, "--to", "ro-crate", "--out", str(tmp_path / "out"), "--date", "2026-11-27"]
        )
        == Exit.OK
    )
    folder = tmp_path / "out" / "quickstart" / "digits"
    assert {path.name for path in folder.iterdir()} == {
        "measurements.csv",
        "results.json",
        "verdicts.tex",
        "ro-crate-metadata.json",
    }
    assert run([*arguments, "--to", "parquet"]) == Exit.USAGE
    assert run([*places, "export", "quickstart/digits"]) == Exit.NOT_MEASURED

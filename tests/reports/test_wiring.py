"""compare and report as they are called: against committed records, over several suites, with a
method of one's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from xml.etree import ElementTree

import pytest

from benchmark.cli import invoke
from benchmark.runs.events import Environment
from benchmark.runs.store import Store
from benchmark.spec.selectors import Selection, Selector
from benchmark.tracking import mlflow as tracking
from tests.helpers.runs import ENVIRONMENT, SUITE, finish, write_suite

ELSEWHERE = ENVIRONMENT.model_copy(update={"torch": "2.10.0"})
LEVELS = {"random": 50.0, "entropy": 54.0, "random+cod": 52.0, "Mine": 58.0}
"""Accuracy of a method in the first cycle of seed 0."""


class House:
    """A folder with suites, a store and results, and the command line on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.suites, self.results = folder / "suites", folder / "results"
        self.out = self.err = ""

    def __call__(self, *arguments: str, runs: str = "runs") -> int:
        places = ["--suites", str(self.suites), "--runs", str(self.folder / runs)]
        code = invoke([*places, *arguments])
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.out + self.err
        return code

    def fill(
        self,
        *methods: str,
        suite: str = "toy/one",
        runs: str = "runs",
        env: Environment = ENVIRONMENT,
        shift: float = 0.0,
        seeds: Iterable[int] = (0, 1, 2),
        plugin: str | None = None,
    ) -> None:
        """Finished trials of these methods, or of a plug-in, with seeds that scatter alike in every
        method."""
        chosen = Selection(
            [Selector(suite)], methods=methods or None, seeds=tuple(seeds), plugin=plugin
        )
        for asked in chosen.trials(self.suites):
            trial = asked.trial.model_copy(update={"data_digest": "d" * 64})
            accuracy = LEVELS[trial.method_name] + 0.5 * trial.seed + shift
            finish(Store(self.folder / runs), trial, env, accuracy=accuracy)

    def verdicts(self, folder: str) -> dict[str, Any]:
        return json.loads((self.folder / folder / "verdicts.json").read_text())


@pytest.fixture
def house(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> House:
    write_suite(tmp_path / "suites")
    write_suite(
        tmp_path / "suites",
        "toy/two",
        SUITE.replace("[protocol]\nseed = 0", "[protocol]\nseed = 1"),
    )
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return House(tmp_path, capsys)


# ------------------------------------------------------------------------------- regression, for CI


def test_nothing_committed_is_not_success(house: House) -> None:
    house.fill("random")
    assert house("compare", "toy/one", "--regress") == 3
    assert "nothing is committed\n  -> `albench report toy/one --publish`" in house.err


def test_unchanged_is_0_and_a_lost_bit_is_1_and_named(house: House) -> None:
    house.fill()
    assert house("report", "toy/one", "--publish") == 0
    assert house("compare", "toy/one", "--regress") == 0
    assert "against committed records: all matched (exit 0)" in house.out
    house.fill("entropy", runs="changed", shift=1e-9)
    house.fill("random", "random+cod", runs="changed")
    assert house("compare", "toy/one", "--regress", runs="changed") == 1
    assert (
        "entropy seed 0: not equal in the same environment (cycle 0: metrics.accuracy is "
        "54.000000001" in house.out
    )
    assert house("compare", "toy/one", "--regress", "--methods", "random", runs="changed") == 0


def test_what_is_missing_or_moved_elsewhere(house: House) -> None:
    house.fill()
    house("report", "toy/one", "--publish")
    house.fill("random", runs="part")
    assert house("compare", "toy/one", "--regress", runs="part") == 3
    assert house("compare", "toy/one/random", "--regress", runs="part") == 0
    assert house("compare", "toy/one/random@0,1", "--regress", runs="part") == 0
    house.fill(runs="near", env=ELSEWHERE, shift=1e-9)
    assert house("compare", "toy/one", "--regress", runs="near") == 0
    assert "same picks and close metrics in another environment" in house.out
    house.fill(runs="far", env=ELSEWHERE, shift=9.0)
    assert house("compare", "toy/one", "--regress", runs="far") == 1
    assert "above" in house.out


def test_junit_annotations_and_summary(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for suite in ("toy/one", "toy/two"):
        house.fill(suite=suite)
        house("report", suite, "--publish")
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    house.fill(suite="toy/one", runs="changed")
    house.fill(suite="toy/two", runs="changed", shift=1.0)
    code = house(
        "compare", "toy/*", "--regress", "--junit", "deep/junit.xml", "--github", runs="changed"
    )
    assert code == 1
    suites = ElementTree.parse(tmp_path / "deep" / "junit.xml").getroot()
    assert [
        (one.attrib["name"].split()[0], one.attrib["tests"], one.attrib["failures"])
        for one in suites
    ] == [
        ("toy/one", "9", "0"),
        ("toy/two", "9", "9"),
    ]
    notes = re.findall(r"^::error file=suites/toy/two\.toml,line=(\d+),", house.out, re.MULTILINE)
    lines = (house.suites / "toy/two.toml").read_text().splitlines()
    assert len(notes) == 9
    assert {lines[int(line) - 1] for line in notes} == {
        "[methods.random]",
        "[methods.entropy]",
        '[methods."random+cod"]',
    }
    assert "::error" not in house.out.partition("toy/two")[0]
    text = summary.read_text()
    assert text.startswith("before\n")
    assert text.count("against committed records") == 2
    assert house("compare", "toy/*", "--junit", "plain.xml", "--github") == 0
    assert len(ElementTree.parse(tmp_path / "plain.xml").getroot()) == 2
    assert "| `toy/one` | paper |" in summary.read_text()


def test_publishing_says_what_it_changes_and_twice_is_once(house: House) -> None:
    house.fill()
    house("report", "toy/one", "--publish")
    files = {path: path.read_bytes() for path in house.results.rglob("*") if path.is_file()}
    assert {"records.csv", "report.md", "report.html", "curves.png", "gain.svg"} <= {
        path.name for path in files
    }
    assert house("report", "toy/one", "--publish") == 0
    assert house.err == ""
    assert {path: path.read_bytes() for path in files} == files
    assert house.verdicts("results/toy/one")["numbers"] == [], "nothing is compared with itself"
    house.fill(runs="changed", shift=1.0)
    assert house("report", "toy/one", "--publish", runs="changed") == 0
    assert house.err.count("changes ") == 9


# ------------------------------------------------------------------------------------------ reports


def test_several_suites_get_an_index_with_a_leaderboard(house: House) -> None:
    house.fill(suite="toy/one")
    assert house("report", "toy/*") == 3, "one of the two has no trial"
    assert "toy/two: nothing was measured yet; `albench run toy/two`" in house.err
    house.fill(suite="toy/two", shift=2.0)
    assert house("report", "toy/*", "--out", "site") == 0
    site = house.folder / "site"
    index = (site / "index.html").read_text()
    links = re.findall(r'href="([^"#]+)"', index)
    methods = [f"methods/{name}.html" for name in ("entropy", "random", "random+cod")]
    assert set(links) == {*map(quote, methods), "toy/one/report.html", "toy/two/report.html"}
    assert (site / "ranks.png").stat().st_size > 1000
    assert "Average rank of the 3 methods that all 2 suites measured" in index
    for link in links:
        page = site / unquote(link)
        back = re.findall(r'href="([^"#]*index\.html)"', page.read_text())
        assert [(page.parent / one).resolve() for one in back] == [(site / "index.html").resolve()]
    assert "×" in index, "costs stand beside gains"


def test_one_suite_has_no_index_and_its_page_no_link_to_one(house: House) -> None:
    house.fill()
    assert house("report", "toy/one") == 0
    assert not (house.folder / "report" / "index.html").exists()
    assert "index.html" not in (house.folder / "report/toy/one/report.html").read_text()


def test_a_report_of_one_method_keeps_random_beside_it(house: House) -> None:
    house.fill()
    assert house("report", "toy/one", "--methods", "entropy") == 0
    found = house.verdicts("report/toy/one")
    gains = {row["method"]: (row["control"], row["gain"]) for row in found["standings"]}
    assert gains == {"random": ("", None), "entropy": ("random", pytest.approx(4.0))}
    assert (house.folder / "report/toy/one/gain.png").exists()
    assert {number["method"] for number in found["numbers"]} == {"entropy"}


def test_reports_tell_the_determinism_of_their_trials(house: House) -> None:
    house.fill("random")
    house("report", "toy/one/random")
    text = (house.folder / "report/toy/one/report.md").read_text()
    assert (
        "- Determinism: deterministic algorithms on CPU: equal environments give equal bits\n"
        in text
    )
    assert f"- Code: {ENVIRONMENT.code[:12]}\n" in text
    house.fill("random", env=ELSEWHERE, seeds=[0])
    house.fill("random", env=ELSEWHERE, seeds=[1], shift=0.1)
    house("report", "toy/one/random")
    text = (house.folder / "report/toy/one/report.md").read_text()
    assert (
        "2 trials were answered in several environments, and agree: 1 bitwise, 1 metric\n" in text
    )


def test_a_method_of_ones_own_stands_against_every_baseline_of_every_suite(house: House) -> None:
    """Baselines were run and committed by somebody else; only the new method is run here."""
    for suite in ("toy/one", "toy/two"):
        house.fill(suite=suite, runs="theirs")
        house("report", suite, "--publish", runs="theirs")
    (house.folder / "my.py").write_text("class Mine: ...\n")
    for suite in ("toy/one", "toy/two"):
        house.fill(suite=suite, plugin=f"{house.folder}/my.py:Mine")
    assert house("report", "toy/*", "--committed") == 0
    for suite in ("toy/one", "toy/two"):
        found = house.verdicts(f"report/{suite}")
        assert [row["method"] for row in found["standings"]] == [
            "Mine",
            "entropy",
            "random+cod",
            "random",
        ]
        assert found["standings"][0]["control"] == "random"
        assert found["standings"][0]["gain"] == pytest.approx(8.0)
        assert set(found["penalty_methods"]) == {"Mine", "random", "entropy", "random+cod"}
        assert [number["method"] for number in found["numbers"]] == ["Mine"], (
            "baselines are not held against themselves"
        )
        page = (house.folder / "report" / suite / "report.html").read_text()
        assert "<dt>Taken from results/</dt><dd>entropy, random, random+cod</dd>" in page
    index = (house.folder / "report/index.html").read_text()
    assert "Average rank of the 3 methods" in index
    assert "Mine (guest)" in index
    assert index.count('data-method="Mine"') == 2


def conditions(path: Path) -> list[str]:
    """The lines of a report's conditions."""
    text = path.read_text().partition("## Conditions")[2].partition("\n## ")[0]
    return [line for line in text.splitlines() if line.startswith("- ")]


def test_committed_trials_keep_their_conditions(house: House) -> None:
    house.fill()
    house("report", "toy/one", "--publish")
    assert house("report", "toy/one", "--committed", runs="elsewhere") == 0
    published = conditions(house.results / "toy/one/report.md")
    assert any("9 trials took" in line for line in published)
    assert f"- Code: {ENVIRONMENT.code[:12]}" in published
    borrowed = conditions(house.folder / "report/toy/one/report.md")
    assert [line for line in borrowed if "Taken from" not in line] == published
    house.fill("entropy", seeds=[0], runs="one", env=ELSEWHERE)
    assert house("report", "toy/one", "--committed", runs="one") == 0
    mixed = conditions(house.folder / "report/toy/one/report.md")
    assert f"- torch: {ELSEWHERE.torch}, {ENVIRONMENT.torch}" in mixed
    assert any("1 trial took" in line for line in mixed), (
        "the time of eight of nine trials is not known"
    )


def test_publishing_a_profile_keeps_the_conditions_of_others(house: House) -> None:
    house.fill()
    house("report", "toy/one", "--publish")
    path = house.results / "toy/one/conditions.json"
    (line,) = json.loads(path.read_text())
    path.write_text(json.dumps([line | {"profile": "smoke"}]))
    house("report", "toy/one", "--publish")
    assert [(one["profile"], one["trials"]) for one in json.loads(path.read_text())] == [
        ("paper", 9),
        ("smoke", 9),
    ]
    path.write_text('[{"profile": 1}]')
    assert house("report", "toy/one", "--committed", runs="elsewhere") == 3
    assert "conditions.json" in house.err and "restore the committed file" in house.err


def test_each_kind_of_processor_keeps_a_reference_of_its_own(house: House) -> None:
    """A suite that is compared with its own records: published on a second processor, both are
    there; published on it again, only its own are replaced."""
    second = ENVIRONMENT.model_copy(update={"device_model": "cpu-b"})

    def devices() -> dict[str, int]:
        lines = json.loads((house.results / "toy/one/conditions.json").read_text())
        return {line["device_model"]: line["trials"] for line in lines}

    house.fill()
    assert house("report", "toy/one", "--publish") == 0
    house.fill(runs="second", env=second, shift=3.0)
    assert house("compare", "toy/one", runs="second") != 0
    house("report", "toy/one", "--publish", runs="second")
    assert devices() == {ENVIRONMENT.device_model: 9, "cpu-b": 9}
    for runs in ("runs", "second"):
        assert house("compare", "toy/one", runs=runs) == 0
    newer = second.model_copy(update={"torch": "2.10.0"})
    house.fill(runs="third", env=newer, shift=5.0)
    house("report", "toy/one", "--publish", runs="third")
    assert devices() == {ENVIRONMENT.device_model: 9, "cpu-b": 9}
    assert house("compare", "toy/one", runs="second") != 0
    for runs in ("runs", "third"):
        assert house("compare", "toy/one", runs=runs) == 0


def test_pages_of_what_is_committed_are_written_again(house: House) -> None:
    """Without run folders: the same verdicts, and a page over all suites with what is missing."""
    house.fill()
    house("report", "toy/one", "--publish")
    before = {path: path.read_bytes() for path in house.results.rglob("*") if path.is_file()}
    (house.results / "toy/one/report.html").write_text("an old page")
    assert house("report", "toy/*", "--republish", runs="elsewhere") == 0
    for path, content in before.items():
        if path.suffix != ".html":
            assert path.read_bytes() == content, path
    index = (house.results / "index.html").read_text()
    assert 'href="toy/one/report.html"' in index and "toy/two" in index
    assert (house.results / "methods/entropy.html").is_file()
    assert 'href="../../index.html"' in (house.results / "toy/one/report.html").read_text()
    assert not (house.results / "toy/two").exists()
    assert house("report", "toy/*", "--republish", "--publish") == 2


def test_committed_trials_never_count_twice(house: House) -> None:
    house.fill()
    house("report", "toy/one", "--publish")
    house("report", "toy/one", "--committed")
    assert {row["n"] for row in house.verdicts("report/toy/one")["standings"]} == {3}
    house.fill("entropy", runs="other", seeds=[2, 3])
    house("report", "toy/one", "--committed", runs="other")
    found = {row["method"]: row["n"] for row in house.verdicts("report/toy/one")["standings"]}
    assert found == {"entropy": 4, "random": 3, "random+cod": 3}


# ----------------------------------------------------------------------------------------- tracking


def test_the_tracker_gets_verdicts_gains_pictures_and_the_page(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    monkeypatch.setattr(
        tracking, "publish_verdicts", lambda *given, **options: seen.append((given, options))
    )
    house.fill()
    house("report", "toy/one", "--publish")
    assert seen == [], "there is no tracker"
    house("report", "toy/one", "--tracking-uri", "sqlite:///x.db")
    (((uri, suite, profile, variant, rows, files), options),) = seen
    assert (uri, suite, profile, variant) == ("sqlite:///x.db", "toy/one", "paper", "as_published")
    assert {"curves", "gain", "report"} == set(files)
    assert all(path.is_file() for path in files.values())
    numbers = [row for row in rows if row["what"] == "accuracy"]
    assert {(row["method"], row["verdict"]) for row in numbers} == {
        (name, "reproduced") for name in ("random", "entropy", "random+cod")
    }
    assert all(row["ours"] == row["published"] for row in numbers)
    assert {row["difference"] for row in rows if row["what"] == "gain over random (area)"} == {4.0}
    assert set(options["methods"]) == {"random", "entropy", "random+cod"}
    assert "toy/one, profile paper" in options["lead"]
    house("report", "toy/one", "--no-tracking", "--tracking-uri", "sqlite:///x.db")
    assert len(seen) == 1


# --------------------------------------------------------------------------------------- the manual


def test_the_commands_of_the_ci_page_exist(house: House) -> None:
    page = (Path(__file__).parents[2] / "docs" / "ci.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(?:\s*-? ?run: \.venv/bin/)?albench (\S+) (.*)$", page, re.MULTILINE)
    commands += re.findall(r"run: \.venv/bin/albench (\S+) (.*)$", page, re.MULTILINE)
    assert len(commands) >= 8
    for verb, rest in commands:
        assert house(verb, "--help") == 0
        options = set(re.findall(r"--[a-z-]+", rest))
        assert options <= set(re.findall(r"--[a-z-]+", house.out)), (verb, rest)

"""What editors, macOS and Windows leave beside and inside suites does no harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.cli import invoke
from benchmark.executors.docker import image
from benchmark.runs.code_digest import code_digest
from benchmark.spec.load import find_suite, load_suite, suite_files
from benchmark.spec.published import read_reported
from benchmark.spec.selectors import Selection, match_suites, parse_selector
from benchmark.verdicts.measurements import read_results
from tests.helpers.runs import SUITE, write_suite

ROOT = Path(__file__).parents[2]
BOM = b"\xef\xbb\xbf"


@pytest.fixture
def suites(tmp_path: Path) -> Path:
    """One suite with its sibling, and the strays: Emacs' lock, an AppleDouble file, a notebook's
    folder."""
    root = write_suite(tmp_path / "suites")
    write_suite(root, "toy/one-2")
    (root / "toy" / ".#one.toml").symlink_to("user@host.1:2")
    (root / "toy" / "._one.toml").write_bytes(b"\x00\x05\x16\x07\xff\xfe")
    (root / "toy" / "._one-3.toml").write_bytes(b"\x00\x05")
    write_suite(root, ".ipynb_checkpoints/one")
    return root


def test_hidden_files_are_no_suites(suites: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [path.name for path in suite_files(suites)] == ["one-2.toml", "one.toml"]
    assert [suite.id for suite in match_suites("toy/*", suites)] == ["toy/one-2", "toy/one"]
    assert [
        suite.id for suite in Selection([parse_selector("toy/one")], models=1).suites(suites)
    ] == ["toy/one"]
    with pytest.raises(Exception, match="toy/one") as caught:
        find_suite("toy/onee", suites)
    assert "._" not in str(caught.value)
    assert invoke(["--suites", str(suites), "ls"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "toy/one",
        "toy/one-2",
    ]


def test_a_byte_order_mark_is_no_content(suites: Path) -> None:
    path = suites / "toy" / "one.toml"
    plain = load_suite(path, suites)
    path.write_bytes(BOM + SUITE.encode())
    assert load_suite(path, suites).suite == plain.suite
    assert load_suite(path, suites).text == plain.text
    tables = {
        "suites/tod/cifar10.reported.csv": read_reported,
        "results/quickstart/digits/records.csv": read_results,
    }
    for source, read in tables.items():
        table = suites / "table.csv"
        table.write_bytes(BOM + (ROOT / source).read_bytes())
        assert read(table) == read(ROOT / source)


def test_hidden_files_are_no_code(tmp_path: Path) -> None:
    (tmp_path / "al").mkdir()
    (tmp_path / "al" / "x.py").write_text("1")
    (tmp_path / "worker.py").write_text("2")
    before = code_digest(tmp_path)
    (tmp_path / "al" / "._x.py").write_bytes(b"\x00")
    (tmp_path / "al" / ".#x.py").symlink_to("nowhere")
    assert code_digest(tmp_path) == before
    (tmp_path / "benchmark" / "al").mkdir(parents=True)
    (tmp_path / "benchmark" / "al" / "._x.py").write_bytes(b"\x00")
    assert image.code_files(tmp_path) == []


def test_files_have_the_same_bytes_on_every_machine() -> None:
    """A clone on Windows would else have another code digest, and scripts that no shell starts."""
    rules = (ROOT / ".gitattributes").read_text().splitlines()
    assert "* text=auto eol=lf" in rules
    for path in (
        *(ROOT / "benchmark").rglob("*.py"),
        *(ROOT / ".ci").iterdir(),
        *(ROOT / "suites").rglob("*.toml"),
    ):
        assert b"\r" not in path.read_bytes(), path

"""A source that names a commit names a file that the official repository has at it, and a file name
belongs to a commit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark.spec.load import load_suite, suite_files

ROOT = Path(__file__).parents[2] / "suites"
PRETEXT = {"main.py", "rotation.py", "loader.py", "README"}
OFFICIAL: dict[str, set[str]] = {
    "140d279": PRETEXT
    | {
        "kmeans.py",
        "custom_datasets.py",
        "utils.py",
        "models/vgg.py",
        "models/resnet.py",
        "performance.png",
    },
    "7d40903": {"temp/log.txt", "temp/labeled/labeled_0.pth.npy"},
    "9a0da4a": PRETEXT
    | {
        "make_batches.py",
        "make_data.py",
        "main_pt4al.py",
        "main_random.py",
        "rotation_loss.txt",
        "git history",
    },
    "458883d": {"git history"},
    "cddf397": {
        "train_net.py",
        "al_select.py",
        "test_multi_models.py",
        "iter_all.sh",
        "plot.py",
        "table.py",
        "load_test_models.py",
        "al_sampler.py",
        "base_provider.py",
        "distributed_run_manager.py",
        "my_modules.py",
        "run_config.py",
        "mobilenet_v3.py",
        "ofa/model_zoo.py",
        "run.config",
        "requirements.txt",
        "README",
    },
}
"""Files that BAL (140d279, 7d40903), PT4AL (9a0da4a, 458883d) and DIAM (cddf397) are known by, as
far as suites may cite them."""
PAPERS = ("bal", "pt4al", "diam")
FILE = re.compile(r"(?<![\w/.])[\w/.-]+\.(?:py|sh|txt|png|npy|config)\b|\bREADME\b|\bgit history\b")
COMMIT = re.compile(r"\b[0-9a-f]{7}\b")
SUITES = [path for path in suite_files(ROOT) if path.parent.name in PAPERS]


def wrong(source: str) -> str:
    """What is wrong with a source, or nothing."""
    for clause in re.split(r"; (?=[^;]*\b[0-9a-f]{7}\b)", source):
        commits, files = set(COMMIT.findall(clause)) - {"2147483647"}, set(FILE.findall(clause))
        if unknown := {commit for commit in commits if commit not in OFFICIAL}:
            return f"unknown commit {unknown}"
        if commits and not files:
            return f"a commit without a file: {clause}"
        if (
            strange := files
            - {"README"}
            - {file for commit in commits or OFFICIAL for file in OFFICIAL[commit]}
        ):
            return f"{strange} is not in {commits or 'any repository'}"
    return ""


@pytest.mark.parametrize("path", SUITES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_source_names_a_file_of_the_official_repository(path: Path) -> None:
    suite = load_suite(path, ROOT).suite
    cited = {
        **suite.sources,
        **{f"deviation {key}": item.source for key, item in suite.deviations.items()},
    }
    assert {where: said for where, source in cited.items() if (said := wrong(source))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "data file at 140d279",
        "kmeans.py at cddf397",
        "base_select.py at cddf397",
        "main.py at 1234567",
        "driver script at cddf397",
    ],
)
def test_a_source_without_a_file_or_with_another_ones_file_is_found(source: str) -> None:
    assert wrong(source)


def test_no_suite_speaks_of_papers_that_its_readers_do_not_have() -> None:
    for path in SUITES:
        assert not re.search(r"\bsheet\b", path.read_text(encoding="utf-8")), path
    for name in PAPERS:
        assert not re.search(
            r"\bsheet\b", (ROOT / name / "NOTES.md").read_text(encoding="utf-8")
        ), name


BARE = (
    r'"not (known|established|readable( here)?)"',
    r"\b(is|are|was) (unknown|not (known|established|readable))\b(?! by)",
    r"\bnot readable here\b",
    r"\b(is|be) established\b",
)
"""Ways to leave something open without saying where it was looked for."""
OF_PAPERS = [path for path in suite_files(ROOT) if (path.parent / "NOTES.md").exists()]


@pytest.mark.parametrize("path", OF_PAPERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_is_open_says_where_it_was_looked_for(path: Path) -> None:
    files = [path, path.with_name("_base.toml")]
    text = "".join(one.read_text(encoding="utf-8") for one in files if one.exists())
    assert [found.group() for bare in BARE for found in re.finditer(bare, text)] == []

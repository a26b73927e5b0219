"""The public names of the package: there, lazy, and within reach of a plug-in in the worker's
image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import benchmark
from benchmark.executors.docker import image

ROOT = Path(__file__).parents[2]
LIGHT = {
    "numpy",
    "torch",
    "pydantic",
    "click",
    "rich",
    "mlflow",
    "docker",
    "ray",
    "scipy",
    "pandas",
    "matplotlib",
}
HEAVY = LIGHT - {"pydantic", "numpy"}


def modules_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.partition(".")[0] for name in done.stdout.split()} | set(done.stdout.split())


@pytest.mark.parametrize("name", benchmark.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(benchmark, name) is not None
    assert name in dir(benchmark)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'judged'"):
        _ = benchmark.judged  # type: ignore[attr-defined]


def test_the_reference_has_exactly_the_public_names() -> None:
    entries = re.findall(
        r"^::: benchmark\.(.+)\.(\w+)$", (ROOT / "docs" / "reference.md").read_text(), re.M
    )
    assert {name: home for home, name in entries} == benchmark._HOMES
    assert len(entries) == len(benchmark._HOMES)


def test_every_public_name_is_typed() -> None:
    """What type checkers see is what is loaded."""
    source = (ROOT / "benchmark" / "__init__.py").read_text()
    for name, home in benchmark._HOMES.items():
        assert any(
            line.startswith(f"    from benchmark.{home} import ")
            and name in line.replace(",", "").split()
            for line in source.splitlines()
        ), name
    assert set(benchmark._HOMES) == set(benchmark.__all__)


def test_importing_the_package_imports_nothing_else() -> None:
    loaded = modules_after("import benchmark")
    assert not LIGHT & loaded
    assert not {name for name in loaded if name.startswith("benchmark.")}


@pytest.mark.parametrize(
    "code",
    [
        "import benchmark; benchmark.plan, benchmark.run, benchmark.compare, benchmark.report, "
        "benchmark.records",
        "import benchmark; benchmark.load_suite('quickstart/digits'); "
        "benchmark.select('tod/cifar10@0')",
        "import benchmark; benchmark.verify, benchmark.check, benchmark.status, benchmark.results",
    ],
)
def test_functions_import_heavy_libraries_only_when_they_are_called(code: str) -> None:
    assert not HEAVY & modules_after(code)


def test_a_plugin_finds_its_names_in_the_workers_image(tmp_path: Path) -> None:
    for path in image.code_files():
        target = tmp_path / path.relative_to(image.ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    code = (
        "import benchmark; from benchmark import Objective, Picks, ScoreStrategy, Strategy, View; "
        "print(benchmark.__file__)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))

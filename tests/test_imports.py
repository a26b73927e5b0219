"""Who may import whom, read from the source: the house keeps its shape."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmark.al import registry
from benchmark.cli.group import VERBS

ROOT = Path(__file__).parents[1] / "benchmark"
FILES = sorted(ROOT.rglob("*.py"))
HEAVY = {
    "torch",
    "torchvision",
    "mlflow",
    "docker",
    "ray",
    "submitit",
    "click",
    "rich",
    "sklearn",
    "scipy",
    "matplotlib",
    "statsmodels",
}
BASE = {"errors", "text", "files"}
RECORDS = BASE | {"spec", "runs"}
MAY_IMPORT: dict[str, set[str]] = {
    "text": set(),
    "files": set(),
    "errors": {"text"},
    "spec": {"errors"},
    "runs": BASE | {"spec"},
    "al": RECORDS,
    "worker": RECORDS | {"al"},
    "conformance": RECORDS | {"al", "worker"},
    "planning": RECORDS | {"al"},
    "executors": RECORDS | {"al"},
    "verdicts": RECORDS,
    "reports": RECORDS | {"verdicts"},
    "tracking": RECORDS,
    "api": RECORDS
    | {"al", "conformance", "planning", "executors", "verdicts", "reports", "tracking"},
    "cli": RECORDS
    | {"al", "conformance", "planning", "executors", "verdicts", "reports", "tracking", "api"},
    "__main__": {"cli"},
    "__init__": {"api", "al", "errors"},
}
"""What each folder or module of the package may import of the others. One that is not listed here
fails."""
HOMES = {
    "mlflow": "tracking/mlflow.py",
    "docker": "executors/docker/engine.py",
    "ray": "executors/ray/executor.py",
    "submitit": "executors/slurm/executor.py",
}
"""The one module that imports each of these libraries."""


def imported(path: Path) -> set[str]:
    """Every module a file imports anywhere, functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def rooms(path: Path) -> set[str]:
    """Folders and modules of the package that a file imports."""
    found = {name.split(".")[1] for name in imported(path) if name.startswith("benchmark.")}
    return {name for name in found if (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file()} - {
        room_of(path)
    }


def where(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=where)
def test_rules(path: Path) -> None:
    place, room = where(path), room_of(path)
    assert room in MAY_IMPORT, f"say in MAY_IMPORT what {room} may import"
    assert rooms(path) <= MAY_IMPORT[room], f"{place} may import {sorted(MAY_IMPORT[room])} only"
    if room == "spec":
        assert not tops(path) & (HEAVY | {"numpy"}), (
            "spec needs pydantic and the standard library only"
        )
    if room in ("al", "worker"):
        assert not tops(path) & {"click", "docker", "mlflow", "ray", "rich", "submitit"}
    elif room != "conformance" and place != "runs/device_probe.py":
        assert not tops(path) & {"torch", "torchvision"}, (
            "torch lives in al, conformance, worker and the device probe"
        )
    if room == "executors":
        science = {name for name in imported(path) if name.startswith("benchmark.al.")}
        assert all(f"{name}.".startswith("benchmark.al.registry.") for name in science), (
            "names of components only"
        )
    if place.startswith("al/datasets/") or place == "al/registry.py":
        assert "torch" not in tops(path)
    for library, home in HOMES.items():
        assert place == home or library not in tops(path), f"{library} belongs to {home}"
    if room in ("runs", "planning") and place != "runs/device_probe.py":
        assert not tops(path) & (HEAVY - {"rich", "click"})


def test_every_rule_is_about_something() -> None:
    there = {
        path.name.removesuffix(".py")
        for path in ROOT.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert set(MAY_IMPORT) == there
    assert all((ROOT / home).is_file() for home in HOMES.values())


def test_the_loop_is_one_page_without_a_branch_on_a_name() -> None:
    source = (ROOT / "al/loop.py").read_text()
    assert len(source.splitlines()) <= 150
    strings = {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not strings & {*registry.STRATEGIES, *registry.OBJECTIVES}


VERB_MODULES = {module for module, _ in VERBS.values()}
"""Modules of the command line that hold a verb."""


def test_verbs_parse_call_and_print() -> None:
    """A module per verb, which imports no other verb's; what several share is in modules without
    verbs. Nobody calls them but the group, which loads them by name."""
    assert all(len({VERBS[verb][0], verb.replace("-", "_")}) == 1 for verb in VERBS), (
        "a verb's module has its name"
    )
    for path in FILES:
        names = {name.split(".")[2] for name in imported(path) if name.startswith("benchmark.cli.")}
        assert not names & VERB_MODULES, f"{where(path)} imports a verb"
        if room_of(path) not in ("cli", "__main__"):
            assert not names


def test_the_api_neither_parses_nor_prints() -> None:
    for path in (ROOT / "api").glob("*.py"):
        assert not tops(path) & {"click", "rich", "argparse"}, where(path)
        calls = [
            node.func
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        ]
        assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"], (
            where(path)
        )


def test_verbs_reach_the_science_through_the_api() -> None:
    for name in VERB_MODULES:
        path = ROOT / "cli" / f"{name}.py"
        assert "api" in rooms(path), f"{where(path)} calls no use case"
        assert not rooms(path) & {"al", "tracking", "executors"}, f"{where(path)} goes past the api"

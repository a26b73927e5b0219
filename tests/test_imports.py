"""Who may import whom, read from the source: the house keeps its shape."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "benchmark"
FILES = sorted(ROOT.rglob("*.py"))
HEAVY = {
    "torch",
    "torchvision",
    "mlflow",
    "docker",
    "ray",
    "click",
    "rich",
    "sklearn",
    "scipy",
    "matplotlib",
    "statsmodels",
}
HOST = ("cli", "plan", "store", "tracking", "executors", "compare", "report", "verify", "progress", "doctor")


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


def inside(path: Path, *packages: str) -> bool:
    return any(
        name == f"benchmark.{package}" or name.startswith(f"benchmark.{package}.")
        for name in imported(path)
        for package in packages
    )


def where(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=where)
def test_rules(path: Path) -> None:
    place = where(path)
    in_al = place.startswith("al/")
    if place.startswith("spec/"):
        assert not tops(path) & (HEAVY | {"numpy"}), "spec needs pydantic and the standard library only"
        assert not inside(path, "al", "worker", "events", *HOST)
    if in_al or place == "worker.py":
        assert not tops(path) & {"click", "docker", "mlflow", "ray", "rich"}
        assert not inside(path, *HOST)
    elif not place.startswith("conformance/") and place not in ("device_probe.py", "device_check.py"):
        assert not tops(path) & {"torch", "torchvision"}, "torch lives under al/, conformance/, worker.py, device_*.py"
    if place.startswith("al/data/") or place == "al/registry.py":
        assert "torch" not in tops(path)
    if place.startswith("compare/"):
        assert not inside(path, "al", "executors", "tracking", "worker")
    for library, home in (("mlflow", "tracking.py"), ("docker", "executors/docker.py"), ("ray", "executors/ray.py")):
        assert place == home or library not in tops(path), f"{library} belongs to {home}"
    if place in (
        "events.py",
        "provenance.py",
        "gpus.py",
        "variables.py",
        "code_digest.py",
        "errors.py",
        "plan.py",
        "store.py",
    ):
        assert not tops(path) & (HEAVY - {"rich", "click"})


def test_the_loop_is_one_page_without_a_branch_on_a_name() -> None:
    source = (ROOT / "al/loop.py").read_text()
    assert len(source.splitlines()) <= 150
    strings = {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    methods = {path.stem for kind in ("strategies", "objectives") for path in (ROOT / "al" / kind).glob("*.py")}
    assert not strings & (methods - {"base", "__init__"})

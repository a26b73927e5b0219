"""doctor: whether this machine is as it must be, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from benchmark.cli.checking import BAD, GOOD, HINT, Finding, data_findings
from benchmark.cli.group import Settings
from benchmark.errors import AlbenchError, Exit
from benchmark.executors.local import cores
from benchmark.lease import on_network
from benchmark.spec.load import load_suite, suite_files
from benchmark.store import Store

FREE_GB = 5
"""Below this, free space is worth a note."""
NEEDED = (
    "click",
    "numpy",
    "pydantic",
    "rich",
    "scipy",
    "scikit-learn",
    "statsmodels",
    "torch",
    "torchvision",
    "mlflow",
)


@click.command()
@click.option("--tracking-uri", metavar="URI", envvar="MLFLOW_TRACKING_URI")
@click.pass_obj
def doctor(settings: Settings, tracking_uri: str | None) -> int:
    """Check this machine: Python, packages, device, disk, folders, data, container engine, tracker; and say what to do."""
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "python": _python,
        "packages": _packages,
        "device": _device,
        "runs folder": lambda: _runs(settings),
        "disk": lambda: _disk(settings),
        "data": lambda: _all_data(settings),
        "docker": _docker,
        "ray": _ray,
        "tracker": lambda: _tracker(settings, tracking_uri),
    }
    bad = 0
    for name, look in checks.items():
        try:
            found = list(look())
        except Exception as error:
            found = [(BAD, f"could not be checked: {error}")]
        worst = (
            BAD if any(kind == BAD for kind, _ in found) else HINT if any(kind == HINT for kind, _ in found) else GOOD
        )
        bad += worst == BAD
        for number, (_, text) in enumerate(found):
            words = " ".join(text.split())
            click.echo(f"{worst if number == 0 else '':4} {name if number == 0 else '':12} {words}")
    return Exit.NOT_MEASURED if bad else Exit.OK


def _python() -> Iterator[Finding]:
    kind = GOOD if sys.version_info >= (3, 11) else BAD
    yield kind, f"{sys.version.split()[0]} at {sys.executable}" + ("" if kind == GOOD else ": 3.11 or newer is needed")


def _packages() -> Iterator[Finding]:
    """Whether what we use is installed, and as the lock pins it."""
    lock = Path(__file__).parents[2] / "requirements.lock"
    text = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    pinned: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", text, re.MULTILINE):
        pinned.setdefault(name, set()).add(version.split("+")[0])  # one per Python version
    differing = []
    for name in NEEDED:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield BAD, f"{name} is missing: run `make setup`"
            continue
        if name in pinned and version.split("+")[0] not in pinned[name]:
            differing.append(f"{name} {version} (locked {', '.join(sorted(pinned[name]))})")
    if differing:
        yield HINT, f"other versions than the lock: {', '.join(differing)}; numbers may differ in the last digits"
    elif pinned:
        yield GOOD, "as locked"


def _device() -> Iterator[Finding]:
    from benchmark import provenance

    model, isa = provenance.cpu()
    yield GOOD, f"{model}, {isa}, {cores()} cores usable, torch {provenance.torch_version()}"
    found = provenance.gpus()
    for gpu in found:
        yield GOOD, f"{gpu.name}, compute capability {gpu.capability}, driver {gpu.driver}"
    if not found:
        yield HINT, "no GPU: `nvidia-smi` lists none; whole papers take months on a CPU, smoke profiles minutes"


def _runs(settings: Settings) -> Iterator[Finding]:
    try:
        Store(settings.runs).prepare()
    except AlbenchError as error:
        yield BAD, str(error)
        return
    yield GOOD, f"{settings.runs.resolve()} can be written"
    if on_network(settings.runs):
        yield HINT, "it lies on a network file system: other hosts are seen by the age of their lease"


def _disk(settings: Settings) -> Iterator[Finding]:
    for name, folder in (("runs", settings.runs), ("cache", settings.cache)):
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free / 1e9
        enough = free >= FREE_GB
        yield GOOD if enough else HINT, f"{free:.1f} GB free for {name}" + ("" if enough else ": free some, or move it")


def _all_data(settings: Settings) -> Iterator[Finding]:
    seen: set[str] = set()
    for path in suite_files(settings.suites):
        suite = load_suite(path, settings.suites)
        name = suite.suite.protocol.data.name
        if name not in seen:
            seen.add(name)
            found = list(data_findings(suite, settings))
            yield found[0] if found else (GOOD, f"{name} is there, as published")


def _docker() -> Iterator[Finding]:
    program = shutil.which("docker")
    if program is None:
        yield HINT, "no docker program; --executor local works without"
        return
    command = [program, "version", "--format", "{{json .Server}}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        yield HINT, f"the engine does not answer ({done.stderr.strip().splitlines()[-1:]}): start it, or join its group"
        return
    yield GOOD, f"engine {json.loads(done.stdout).get('Version', '?')}"


def _ray() -> Iterator[Finding]:
    try:
        yield GOOD, f"ray {importlib.metadata.version('ray')}"
    except importlib.metadata.PackageNotFoundError:
        yield HINT, "not installed; only --executor ray needs it (pip install 'albench[ray]')"


def _tracker(settings: Settings, uri: str | None) -> Iterator[Finding]:
    from benchmark import tracking

    if uri is None and not (settings.runs / ".tracking" / "mlflow.db").exists():
        yield GOOD, f"MLflow {importlib.metadata.version('mlflow')}, a database is made by the first run"
        return
    yield GOOD, f"{tracking.check(uri, runs=settings.runs)} answers"

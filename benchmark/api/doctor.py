"""Whether this machine is as it must be, and how to fix it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.api.check import BAD, GOOD, HINT, data_findings
from benchmark.api.workspace import Workspace
from benchmark.errors import AlbenchError, ExecutorError, without_secrets
from benchmark.executors.local.executor import count_cores
from benchmark.files import find_shipped
from benchmark.runs.lock import lock_run, on_network
from benchmark.runs.store import Store
from benchmark.spec.load import load_suite, suite_files

FREE_GB, IMAGE_GB, TEMPORARY_GB = 5, 20, 0.5
"""Below this, free space is worth a note: for runs, for an engine that is to build the image, for
temporary files."""
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
SETUP = "run `make setup`"


@dataclass(frozen=True)
class Diagnosis:
    """What a check has found: GOOD, HINT (something will not work, or differently) or BAD, and what
    to do about it."""

    kind: str
    text: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.kind != GOOD and not self.remedy:
            raise ValueError(f"no remedy for: {self.text}")

    def __str__(self) -> str:
        return " ".join(f"{self.text}{f' -> {self.remedy}' if self.remedy else ''}".split())


Findings = Iterator[Diagnosis]


@dataclass(frozen=True)
class MachineCheck:
    """One thing that was looked at, and what was found."""

    name: str
    findings: Sequence[Diagnosis]

    @property
    def kind(self) -> str:
        """The worst of the findings: BAD, HINT or GOOD."""
        kinds = {one.kind for one in self.findings}
        return next((kind for kind in (BAD, HINT) if kind in kinds), GOOD)


def examine_machine(
    workspace: Workspace | None = None, tracking_uri: str | None = None
) -> Iterator[MachineCheck]:
    """Check this machine: Python, packages, device, folders, disk, locks, sockets, data,
    containers, cluster, tracker.

    A check that breaks is a finding; nothing is raised. Each result is there as soon as it is
    known.
    """
    settings = workspace or Workspace()
    checks: dict[str, Callable[[], Findings]] = {
        "python": check_python,
        "packages": check_packages,
        "device": check_device,
        "runs folder": lambda: check_runs(settings),
        "disk": lambda: check_disk(settings),
        "system": lambda: check_system(settings),
        "data": lambda: check_data(settings),
        "docker": check_docker,
        "ray": check_ray,
        "slurm": check_slurm,
        "tracker": lambda: check_tracker(settings, tracking_uri),
    }
    for name, look in checks.items():
        yield MachineCheck(name, examine(look))


def examine(look: Callable[[], Findings]) -> list[Diagnosis]:
    """What a check finds; one that breaks is a finding, too."""
    try:
        return list(look())
    except AlbenchError as error:
        return [
            Diagnosis(
                BAD,
                f"{error.where}: {error.message}" if error.where else error.message,
                error.remedy or SETUP,
            )
        ]
    except Exception as error:
        return [
            Diagnosis(
                BAD, f"could not be checked: {error}", f"{SETUP} again; if it stays, report it"
            )
        ]


def check_python() -> Findings:
    """Its version: an older one than we need does not get as far as this."""
    yield Diagnosis(GOOD, f"{sys.version.split()[0]} at {sys.executable}")


def check_packages(lock: Path = find_shipped("requirements.lock")) -> Findings:  # noqa: B008 -- a constant
    """Whether what we use is installed, and as the lock pins it."""
    text = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    pinned: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", text, re.MULTILINE):
        pinned.setdefault(name, set()).add(version.split("+")[0])  # one per Python version
    differing = []
    for name in NEEDED:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Diagnosis(BAD, f"{name} is missing", SETUP)
            continue
        if name in pinned and version.split("+")[0] not in pinned[name]:
            differing.append(f"{name} {version} (locked {', '.join(sorted(pinned[name]))})")
    if differing:
        yield Diagnosis(
            HINT,
            f"other versions than the lock: {', '.join(differing)}; numbers may differ in the last "
            "digits",
            SETUP,
        )
    elif pinned:
        yield Diagnosis(GOOD, "as locked")
    else:
        yield Diagnosis(
            HINT, f"there is no {lock.name} to compare with", "work in a clone of the project"
        )


def check_device() -> Findings:
    """Processor and GPUs: what the driver lists, and whether torch can use it."""
    from benchmark.runs import environment as provenance
    from benchmark.runs import gpus

    model, isa = provenance.describe_cpu()
    yield Diagnosis(
        GOOD, f"{model}, {isa}, {count_cores()} cores usable, torch {provenance.torch_version()}"
    )
    found = gpus.survey_gpus()
    for gpu in found.usable:
        parts = f", {gpu.multiprocessors} multiprocessors" if gpu.multiprocessors else ""
        yield Diagnosis(
            GOOD, f"{gpu.name}, compute capability {gpu.capability}{parts}, driver {gpu.driver}"
        )
    for problem in found.problems:
        yield Diagnosis(HINT, problem.text, problem.remedy)
    if len({gpu.kind for gpu in found.usable}) > 1:
        yield Diagnosis(
            HINT,
            "these GPUs differ, and trials of one run share an environment",
            f"name equal ones with {gpus.NAMES}=0, or one with --device cuda:0",
        )
    if not found.usable and not found.problems:
        yield Diagnosis(
            HINT,
            "no GPU: whole papers take months on a CPU, smoke profiles minutes",
            "install NVIDIA's driver until `nvidia-smi` lists one, or use --profile smoke",
        )


def check_runs(settings: Workspace) -> Findings:
    """Whether the runs folder can be written."""
    Store(settings.runs).prepare()
    yield Diagnosis(GOOD, f"{settings.runs.resolve()} can be written")
    if on_network(settings.runs):
        yield Diagnosis(
            HINT,
            "it lies on a network file system: other hosts are seen by touches of their lock",
            "name a local folder with --runs, or wait five minutes after a host has died",
        )


def check_disk(settings: Workspace) -> Findings:
    """Free space."""
    for name, folder in (("runs", settings.runs), ("cache", settings.cache)):
        yield check_space(
            folder, name, FREE_GB, f"free some, `albench clean`, or move it with --{name}"
        )


def check_system(settings: Workspace) -> Findings:
    """What runs ask of the system, tried: locks in the runs folder, sockets among temporary files,
    processes, a home."""
    with (
        tempfile.TemporaryDirectory(
            prefix=".probe.", suffix=".partial", dir=settings.runs
        ) as folder,
        lock_run(Path(folder)),
    ):
        yield Diagnosis(GOOD, "the runs folder locks files")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="pymp-") as folder,
            socket.socket(socket.AF_UNIX) as probe,
        ):
            probe.bind(str(Path(folder) / "listener-12345678"))
        yield Diagnosis(GOOD, f"sockets in {tempfile.gettempdir()}")
    except OSError as error:
        yield Diagnosis(
            HINT,
            f"no socket in {tempfile.gettempdir()}: {error}; every trial starts a Python of its "
            "own, seconds each",
            "name a short folder on a local disk with TMPDIR",
        )
    yield check_space(
        Path(tempfile.gettempdir()),
        "temporary files",
        TEMPORARY_GB,
        "name another folder with TMPDIR",
    )
    home = os.environ.get("HOME", "")
    if not home or not os.access(home, os.W_OK):
        text = (
            f"HOME is {home or 'not set'}, where nothing can be written: libraries keep no caches"
        )
        yield Diagnosis(HINT, text, "set HOME to a folder of yours")


def check_space(folder: Path, name: str, needed: float, remedy: str) -> Diagnosis:
    """Whether a folder's disk has so many GB left."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free / 1e9
    text = f"{free:.1f} GB free for {name}"
    return (
        Diagnosis(GOOD, text)
        if free >= needed
        else Diagnosis(HINT, f"{text}, {needed:.0f} are wanted", remedy)
    )


def check_data(settings: Workspace) -> Findings:
    """Every data set of the suites."""
    seen: set[str] = set()
    for path in suite_files(settings.suites):
        suite = load_suite(path, settings.suites)
        name = suite.suite.protocol.data.name
        if name not in seen:
            seen.add(name)
            found = [text.removeprefix("data: ") for _, text in data_findings(suite, settings)]
            missing, _, remedy = "".join(found[:1]).partition(" -> ")
            yield (
                Diagnosis(HINT, missing, remedy or f"run `albench fetch {name}`")
                if found
                else Diagnosis(GOOD, f"{name} is there, as published")
            )


def check_docker() -> Findings:
    """The engine, GPUs in containers, the image of this code, and room for it."""
    from benchmark.executors.docker import engine as executor
    from benchmark.runs import gpus

    try:
        found = executor.engine_condition()
    except ExecutorError as error:
        yield Diagnosis(HINT, error.message, f"{error.remedy}; --executor local works without")
        return
    yield Diagnosis(GOOD, f"engine {found.version}")
    if gpus.survey_gpus().listed:
        yield (
            Diagnosis(GOOD, "containers get GPUs")
            if found.gpus
            else Diagnosis(HINT, "containers get no GPU", executor.GPU_REMEDY)
        )
    if found.image:
        yield Diagnosis(GOOD, f"image {found.image.removeprefix('sha256:')[:12]} of this code")
        return
    yield Diagnosis(
        HINT,
        "no image of this code: the first --executor docker builds one, which takes minutes",
        "`python -m benchmark.executors.docker.engine` builds it now",
    )
    folder = Path(found.folder)
    if folder.exists() and os.access(folder, os.R_OK):
        yield check_space(
            folder, "images", IMAGE_GB, "`docker image prune`, or move the engine's data-root"
        )


def check_ray() -> Findings:
    """The optional package for clusters."""
    if importlib.util.find_spec("ray") is None:
        text = "not installed; only --executor ray needs it"
        remedy = "`uv pip install -r requirements-ray.lock`"
        yield Diagnosis(HINT, text, remedy)
        return
    address = os.environ.get("RAY_ADDRESS")
    where = (
        f"the cluster at {without_secrets(address)}"
        if address
        else "a cluster of this machine, as RAY_ADDRESS names none"
    )
    yield Diagnosis(GOOD, f"ray {importlib.metadata.version('ray')}, {where}")


def check_slurm() -> Findings:
    """The optional package for Slurm, and Slurm's own commands."""
    if importlib.util.find_spec("submitit") is None:
        text = "submitit is not installed; only --executor slurm needs it"
        yield Diagnosis(HINT, text, "`uv pip install -r requirements-slurm.lock`")
        return
    version = importlib.metadata.version("submitit")
    if shutil.which("sbatch") is None:
        text = f"submitit {version}, but there is no sbatch in PATH"
        yield Diagnosis(HINT, text, "use --executor slurm where jobs are submitted")
        return
    yield Diagnosis(GOOD, f"submitit {version}, sbatch is in PATH")


def check_tracker(settings: Workspace, uri: str | None) -> Findings:
    """Whether MLflow answers."""
    from benchmark.tracking import mlflow as tracking

    if uri is None and not (settings.runs / ".tracking" / "mlflow.db").exists():
        yield Diagnosis(GOOD, f"MLflow {tracking.load()}, a database is made by the first run")
        return
    yield Diagnosis(GOOD, f"{without_secrets(tracking.check(uri, runs=settings.runs))} answers")

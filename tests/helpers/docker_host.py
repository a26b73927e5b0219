"""A Docker engine, and a bench of jobs whose worker is a shell script in a tiny image."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import docker
import pytest

from benchmark.executors.docker.engine import create
from benchmark.executors.docker.executor import ContainerExecutor
from benchmark.executors.docker.sandbox import Limits
from benchmark.executors.jobs import Job
from benchmark.runs.store import Store
from benchmark.spec.identity import trial_id
from benchmark.spec.suite import Component
from tests.helpers.runs import ENVIRONMENT, finish, toy_trial
from tests.helpers.waiting import patience

START = Path(__file__).parents[1] / "docker" / "start_engine.sh"
MEMORY = 64 * 1024**2
TOOLS = (
    "sh",
    "cat",
    "cp",
    "dd",
    "env",
    "grep",
    "id",
    "kill",
    "ls",
    "sleep",
    "tail",
    "touch",
    "true",
    "chmod",
    "echo",
    "rm",
    "ln",
    "mkdir",
    "mkfifo",
    "mv",
    "printf",
    "tr",
    "truncate",
)


@dataclass
class Engine:
    """A running engine; `folder` is set where the tests have started it and may restart it."""

    host: str
    folder: Path | None = None
    image: str = ""

    @property
    def client(self) -> Any:
        return docker.DockerClient(base_url=self.host, timeout=int(patience(30)))

    def start(self) -> None:
        subprocess.run([START, str(self.folder)], check=True, capture_output=True)

    def stop(self) -> None:
        subprocess.run([START, "--stop", str(self.folder)], check=True)


def unavailable(reason: str) -> None:
    """Skip with the reason, or fail where an engine is required."""
    if os.environ.get("ALBENCH_REQUIRE_DOCKER"):
        pytest.fail(f"an engine is required: {reason}")
    pytest.skip(reason)


def tiny_image(client: Any) -> str:
    """An image with a static busybox and nothing else."""
    busybox = shutil.which("busybox")
    if busybox is None:
        unavailable("no static busybox (Debian: busybox-static)")
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for folder in ("bin", "tmp", "proc", "sys", "dev", "etc", "in", "out", "data", "cache"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add(str(busybox), "bin/busybox")
        for name in TOOLS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    client.api.import_image_from_data(archive.getvalue(), repository="albench-tiny", tag="test")
    return str(client.images.get("albench-tiny:test").id)


@dataclass
class Bench:
    """A runs folder and a data folder whose script.sh is what the worker does."""

    engine: Engine
    root: Path
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.root / "runs")

    def job(
        self,
        script: str = "finish",
        seed: int = 0,
        strategy: Component | None = None,
        **changes: Any,
    ) -> Job:
        """A job whose worker runs `script`, in which `finish` leaves a valid record."""
        trial = toy_trial(seed)
        if strategy is not None:
            trial = trial.model_copy(update={"strategy": strategy})
        data = self.root / f"data{seed}"
        shutil.copytree(finish(Store(self.root / f"made{seed}"), trial), data, dirs_exist_ok=True)
        ending = (
            "finish() { cat /data/events.jsonl >> /out/events.jsonl; cp /data/record.json "
            "/out/record.json; }"
        )
        (data / "script.sh").write_text(f"{ending}\n{script}\n")
        plain: dict[str, Any] = {
            "name": f"toy/one/random@{seed}",
            "trial_id": trial_id(trial),
            "out": self.store.create(trial, ENVIRONMENT),
            "data": data,
            "cache": self.root / "cache",
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
        }
        return Job(**plain | changes)

    def executor(self, **changes: Any) -> ContainerExecutor:
        """An executor whose worker is the job's script."""
        plain: dict[str, Any] = {
            "client": self.engine.client,
            "image_id": self.engine.image,
            "limits": Limits(MEMORY),
            "command": ("sh", "/data/script.sh"),
            "grace": 20.0,
            "patience": 20.0,
        }
        return create(**plain | changes)

    def containers(self) -> list[Any]:
        return list(self.engine.client.containers.list(all=True, filters={"label": "albench=1"}))

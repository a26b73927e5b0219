"""compose.yaml: accepted by compose itself, and its tracking server fed by a containerised run on a
real engine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.docker_host import Engine, unavailable
from tests.helpers.waiting import patience, wait_for

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"
PROFILES = ["--profile", "postgres"]


def compose_command() -> list[str]:
    """Compose as a plugin of docker or as a program of its own."""
    if (
        shutil.which("docker")
        and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        return ["docker", "compose"]
    if not shutil.which("docker-compose"):
        unavailable("no compose (Debian: docker-compose)")
    return ["docker-compose"]


def test_compose_accepts_the_file() -> None:
    command = [*compose_command(), "-f", str(COMPOSE), *PROFILES, "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def server(engine: Engine, tmp_path: Path) -> Iterator[str]:
    """The tracking server of the compose file at a free port, with a volume of its own."""
    base = os.environ.get("ALBENCH_DOCKER_BASE")
    if base is None:
        unavailable("no base image is named with ALBENCH_DOCKER_BASE: `.ci/docker` makes one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        **os.environ,
        "DOCKER_HOST": engine.host,
        "ALBENCH_MLFLOW_PORT": str(port),
        "DOCKER_BUILDKIT": "0",
    }
    command = [*compose_command(), "-f", str(COMPOSE), "-p", f"albench-test-{port}"]
    try:
        done = subprocess.run(
            [*command, "up", "-d", "mlflow"], env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(f"{address}/health"), 180)
        yield address
    finally:
        subprocess.run([*command, "down", "-v"], env=variables, capture_output=True)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=patience(5)) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.docker
@pytest.mark.slow
def test_the_tracking_server_is_fed_by_containers(
    engine: Engine, worker_image: str, server: str, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmark",
        "--runs",
        str(tmp_path / "runs"),
        "run",
        "quickstart/digits",
        "--methods",
        "random",
        "--seeds",
        "0",
        "--executor",
        "docker",
        "--tracking-uri",
        server,
    ]
    variables = {"DOCKER_HOST": engine.host, "ALBENCH_DOCKER_IMAGE": worker_image}
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tracking:" not in done.stderr
    from mlflow import MlflowClient

    client = MlflowClient(server)
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = [run for run in client.search_runs(experiments) if "test/accuracy" in run.data.metrics]
    assert len(runs) == 1
    assert len(client.get_metric_history(runs[0].info.run_id, "test/accuracy")) == 5
    with urllib.request.urlopen(server, timeout=patience(10)) as page:
        assert b"<title>MLflow</title>" in page.read()
    foreign = urllib.request.Request(
        f"{server}/api/2.0/mlflow/experiments/search", headers={"Host": "evil.example"}
    )
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(foreign, timeout=patience(10))

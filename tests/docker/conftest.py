"""A real Docker engine for tests: one that was named, one started for them, or none with the reason."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dockerkit import START, Bench, Engine, tiny_image, unavailable


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """An engine with a tiny image. ALBENCH_TEST_DOCKER_HOST names one; root on a machine with dockerd gets its own."""
    named = os.environ.get("ALBENCH_TEST_DOCKER_HOST")
    if named:
        found = Engine(named)
        found.image = tiny_image(found.client)
        yield found
        return
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        unavailable("no engine: set ALBENCH_TEST_DOCKER_HOST, or be root with dockerd installed")
    folder = Path(tempfile.mkdtemp(prefix="albd"))
    done = subprocess.run([START, str(folder)], capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        unavailable(f"the engine does not start: {done.stderr[-500:]}")
    found = Engine(done.stdout.strip(), folder)
    try:
        found.image = tiny_image(found.client)
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bench(engine: Engine, tmp_path: Path) -> Iterator[Bench]:
    """A bench; afterwards nothing of ours is left in the engine."""
    made = Bench(engine, tmp_path)
    yield made
    left = made.containers()
    for container in left:
        container.remove(force=True)
    assert not left, f"containers were left: {[container.name for container in left]}"

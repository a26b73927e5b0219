"""A real Docker engine for tests, named by variables; without them they are skipped with the
reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.executors.docker import image
from tests.helpers.docker_host import Bench, Engine, tiny_image, unavailable


@pytest.fixture(scope="session")
def engine() -> Engine:
    """An engine with a tiny image: one that may be restarted in the folder ALBENCH_TEST_ENGINE, or
    just an address."""
    folder = os.environ.get("ALBENCH_TEST_ENGINE")
    address = os.environ.get("ALBENCH_TEST_DOCKER_HOST")
    if not folder and not address:
        unavailable(
            "no engine is named: `.ci/docker` starts one, ALBENCH_TEST_DOCKER_HOST names one"
        )
    found = Engine(address or f"unix://{folder}/docker.sock", Path(folder) if folder else None)
    found.image = tiny_image(found.client)
    return found


@pytest.fixture(scope="session")
def worker_image(engine: Engine) -> str:
    """Id of the worker's image of the code as it is, built from the project's own Dockerfile where
    it is missing."""
    base = os.environ.get("ALBENCH_DOCKER_BASE")
    if base is None:
        unavailable("no base image is named with ALBENCH_DOCKER_BASE: `.ci/docker` makes one")
    found = image.find(engine.client)
    return found or image.build(
        engine.client, print, base=base, network=os.environ.get("ALBENCH_DOCKER_NETWORK")
    )


@pytest.fixture
def bench(engine: Engine, tmp_path: Path) -> Iterator[Bench]:
    """A bench; afterwards nothing of ours is left in the engine."""
    made = Bench(engine, tmp_path)
    yield made
    left = made.containers()
    for container in left:
        container.remove(force=True)
    assert not left, f"containers were left: {[container.name for container in left]}"

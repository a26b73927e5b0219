"""The project's own tests marked `gpu`, on the pretended device: they are skipped everywhere else,
and would rot unseen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmark.al.augmentation import images
from tests.al.augmentation import test_images
from tests.al.functional import test_kcenter
from tests.al.random import test_philox
from tests.al.training import test_cuda_graphs
from tests.simcuda.device import World, pretended
from tests.simcuda.kit import needs_simcuda

pytestmark = needs_simcuda


@pytest.fixture(autouse=True)
def world() -> Iterator[World]:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(
        True
    )  # imports the compiler when it is first called: not on the device
    images._uploaded.clear()
    with pretended() as made:
        yield made
    assert not made.faults


@pytest.mark.parametrize("case", test_cuda_graphs.CASES)
def test_graphs_end_where_eager_steps_end(case: str, tmp_path: Path, world: World) -> None:
    test_cuda_graphs.test_graphs_end_where_eager_steps_end(case, tmp_path)
    assert world.graphs


def test_a_graph_gives_the_same_bits_every_time(tmp_path: Path) -> None:
    test_cuda_graphs.test_a_graph_gives_the_same_bits_every_time(tmp_path)


def test_no_captured_step_waits_for_the_device(tmp_path: Path) -> None:
    test_cuda_graphs.test_no_captured_step_waits_for_the_device(tmp_path)


@pytest.mark.parametrize("case", test_images.CASES)
def test_the_same_pixels_on_a_gpu(case: str) -> None:
    test_images.test_the_same_pixels_on_a_gpu(case)


@pytest.mark.parametrize("kind", ["gaussian", "clustered", "grid"])
def test_cuda_picks_what_the_cpu_picks(kind: str) -> None:
    test_kcenter.test_cuda_picks_what_the_cpu_picks(kind)


def test_the_same_integers_on_a_gpu() -> None:
    test_philox.test_the_same_integers_on_a_gpu()


def test_every_gpu_test_is_here() -> None:
    modules = (test_cuda_graphs, test_images, test_kcenter, test_philox)
    marked = [
        name
        for module in modules
        for name, value in vars(module).items()
        if any(mark.name == "gpu" for mark in getattr(value, "pytestmark", ()))
    ]
    assert marked and set(marked) <= set(globals())
    source = [
        path
        for path in Path(__file__).parents[1].rglob("test_*.py")
        if "pytest.mark.gpu" in path.read_text()
    ]
    assert {path.stem for path in source} - {Path(__file__).stem} == {
        module.__name__.rpartition(".")[2] for module in modules
    }

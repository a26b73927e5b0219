"""What decides speed and can be counted: operations, passes, synchronisations, imports, requests.
No clock is read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter as Tally
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.al import registry
from benchmark.al.functional import coverage
from benchmark.al.learner import Learner
from benchmark.al.loop import run
from benchmark.al.training.cuda_graphs import WARM_UP
from benchmark.al.training.numerics import Numerics
from benchmark.conformance.checks import LargestTemporary
from benchmark.planning.workload import estimate_workload, sum_workloads
from benchmark.runs import events
from benchmark.runs.events import EpochFinished
from benchmark.spec.groups import MODERN
from benchmark.spec.load import find_suite
from benchmark.spec.suite import Component
from benchmark.tracking.sync import RunSyncer
from tests.bench import baselines
from tests.bench.modern_cost import world
from tests.helpers import trials as kit
from tests.helpers.fake_cuda_graphs import Rerun
from tests.helpers.runs import say_started, toy_trial

ROOT = Path(__file__).parents[2]
OPERATIONS = 700
"""Most operations dispatched in a step of TOD's ResNet-18; the released loop dispatches 1,057."""
IMAGES = 150
"""Most operations that make one batch of images, two of which a step sees; one by one they would be
thousands."""
HOST = 350
"""Most operations that the host dispatches for a captured step: two batches of images, and which
unlabelled ones they are."""
BLOCK_OF_DISTANCES = 256
"""Most candidates that meet all others together in a newer method."""
WAITS = {
    "_local_scalar_dense",
    "nonzero",
    "equal",
    "is_nonzero",
    "masked_select",
    "unique_dim",
    "_unique2",
}
"""Operations that wait for a GPU."""
COMPILER = ("torch._dynamo", "torch._inductor", "sympy")
CPU = Numerics(torch.device("cpu"))


class Count(TorchDispatchMode):
    """Operations that reach a kernel, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Tally[str] = Tally()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.seen[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def tod() -> Learner:
    torch.set_num_threads(1)
    return baselines.tod_learner(CPU, batch=2)


def test_operations_and_waits_of_a_step(tod: Learner) -> None:
    objective, update = tod.objective, tod.updates(tod._optimizer())
    data = tod._cycle_data(0, np.arange(32), np.arange(32, 64))
    tod.student.train()
    batches = objective.batches(data, 0)
    for _ in range(2):  # the first step creates the momentum
        with Count() as images:
            batch = next(batches)
        with Count() as count:
            update(batch)
    assert 300 < count.seen.total() - count.seen["empty"] <= OPERATIONS, count.seen.most_common(12)
    drawn_once = 20  # the order that the first cycle's unlabelled batch is cut from
    assert images.seen.total() <= 2 * IMAGES + drawn_once, images.seen.most_common(12)
    assert not WAITS & (set(count.seen) | set(images.seen)), "a step waits for the device"
    assert count.seen["convolution"] == 4 * 20, "each of two networks sees each of two batches once"


def test_operations_of_a_step_together() -> None:
    learner = baselines.tod_learner(replace(CPU, step="together"), batch=2)
    update = learner.updates(learner._optimizer())
    data = learner._cycle_data(0, np.arange(8), np.arange(8, 16))
    learner.student.train()
    with Count() as count:
        update(next(iter(learner.objective.batches(data, 0))))
    assert count.seen["convolution"] == 2 * 20, "each of two networks sees one batch"
    assert count.seen["_batch_norm_with_update"] == 4 * 20, (
        "and takes statistics of both halves of it"
    )
    assert not WAITS & set(count.seen)


class Nothing(Rerun):
    """A graph costs no operations."""

    def capture(self, step: Any) -> tuple[Any, Tensor]:
        return lambda: None, torch.zeros(())


def test_what_a_captured_step_leaves_to_the_host() -> None:
    """Making images, copying them to their places, setting numbers. Nothing waits, and nothing is
    copied from the host, which would wait too."""
    learner = baselines.tod_learner(replace(CPU, step="captured"), batch=2)
    learner.graphs = lambda _: Nothing()
    update = learner.updates(learner._optimizer())
    data = learner._cycle_data(1, np.arange(16), np.arange(16, 64))
    learner.student.train()
    batches = learner.objective.batches(data, 0)
    for _ in range(WARM_UP + 1):
        update(next(batches))
    with Count() as count:
        update(next(batches))
    assert 0 < count.seen.total() <= HOST, count.seen.most_common(12)
    assert not (WAITS | {"lift_fresh", "lift_fresh_copy"}) & set(count.seen), (
        count.seen.most_common(20)
    )


@pytest.mark.parametrize(
    ("precision", "within", "along"), [("fp32", 2e-4, 0.9999), ("bf16", 4e-2, 0.9)]
)
def test_a_step_is_the_plain_step(precision: str, within: float, along: float) -> None:
    """From equal weights and images: the loss within a relative tolerance, and the direction in
    which each tensor moved (cosine); eight images and batch statistics of random weights make
    rounding large."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    numerics = Numerics(torch.device("cpu"), precision)
    learner = baselines.tod_learner(numerics, batch=8)
    objective, student = learner.objective, learner.student
    networks = [baselines.ResNetCifar(10, heads=2) for _ in range(2)]
    for network, theirs in zip(networks, (student, objective.modules()["teacher"]), strict=True):
        network.load_state_dict(theirs.state_dict())
    plain, teacher = networks[0], networks[1].requires_grad_(False)
    before = [value.detach().clone() for value in plain.parameters()]
    started = [value.clone() for value in teacher.parameters()]
    data = learner._cycle_data(0, np.arange(32), np.arange(32, 64))
    batch = next(iter(objective.batches(data, 0)))
    student.train()
    loss = learner.updates(learner._optimizer())(batch)

    by_hand = torch.optim.SGD(plain.parameters(), 0.1, 0.9, weight_decay=5e-4, foreach=False)
    assert batch.unlabelled is not None
    images, others = batch.images.contiguous(), batch.unlabelled.contiguous()
    expected = baselines.plain_update(plain, teacher, by_hand, images, batch.labels, others, 1)
    assert float(loss) == pytest.approx(expected, rel=within)
    for ours, theirs, start in zip(student.parameters(), plain.parameters(), before, strict=True):
        moved = [(value.detach() - start).flatten() for value in (ours, theirs)]
        assert float(torch.cosine_similarity(*moved, dim=0)) >= along
    for average, value, start in zip(
        objective.modules()["teacher"].parameters(), student.parameters(), started, strict=True
    ):
        torch.testing.assert_close(average, (start + value.detach()) / 2)


@pytest.mark.parametrize("method", ["random", "tod", "random+cod", "tod+cod", "coreset"])
def test_images_of_a_trial_are_those_that_the_plan_counts(method: str, tmp_path: Path) -> None:
    """Every image that any network sees in a whole trial, against the cost that `albench plan`
    shows."""
    made = kit.trial(
        method, sets={"protocol.evaluation.batch_size": 20, "protocol.acquisition.budget": 20}
    )
    suite = find_suite("quickstart/digits", kit.SUITES)
    strategy, learner = kit.assembled(made, tmp_path)
    seen: Tally[str] = Tally()

    def watch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, type(learner.student)):
            trained = torch.is_grad_enabled() and next(module.parameters()).requires_grad
            seen["trained" if trained else "teacher" if module.training else "passed"] += len(
                inputs[0]
            )

    handle = nn.modules.module.register_module_forward_pre_hook(watch)
    try:
        run(made.protocol, strategy, learner, kit.session(made, tmp_path / "out"))
    finally:
        handle.remove()
    planned = sum_workloads(estimate_workload(made.protocol, suite.suite.methods[method].cost))
    assert seen["trained"] == planned.labelled + planned.unlabelled
    assert seen["teacher"] == planned.teacher
    assert seen["passed"] == planned.test + planned.acquisition


def test_what_a_worker_imports_on_the_way_to_its_first_steps() -> None:
    """Neither torchvision nor mlflow, no database, and not torch's compiler, which takes longer
    than torch."""
    program = (
        "import json, sys\nfrom pathlib import Path\nimport benchmark.worker as w\n"
        "from benchmark.spec.load import find_suite\n"
        "numerics = w.prepare('cpu', 'fp32', 1)\n"
        "for suite, method in (('quickstart/digits', 'tod+cod'), ('quickstart/digits', 'll4al')):\n"
        "    (trial,) = find_suite(suite, Path('suites')).trials(methods=[method], seeds=[0])\n"
        "    w.dry_run(trial, lambda small, data: w.assemble(small, data, numerics, "
        "Path('weights')))\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "torch.optim.sgd" in loaded
    assert not loaded & {
        "torchvision",
        "mlflow",
        "sqlite3",
        "sklearn",
        "pandas",
        "matplotlib",
        *COMPILER,
    }


def test_requests_to_the_tracker_do_not_grow_with_epochs(tmp_path: Path) -> None:
    """So neither do transactions of its database: a mirror reads the file and sends what it has
    learned at once."""
    requests = []
    for epochs in (3, 300):
        trial, folder = toy_trial(), tmp_path / str(epochs)
        folder.mkdir()
        (folder / "trial.json").write_text(trial.model_dump_json())
        say_started(folder, trial)
        for epoch in range(1, epochs + 1):
            told = EpochFinished(time=float(epoch), cycle=0, epoch=epoch, epochs=epochs, loss=1.0)
            events.append_event(folder / "events.jsonl", told)
        tracker = MagicMock()
        tracker.search.return_value = []
        tracker.create.side_effect = lambda *_: SimpleNamespace(
            info=SimpleNamespace(run_id="r", status="RUNNING"),
            data=SimpleNamespace(tags={}, params={}, metrics={}),
        )
        RunSyncer(lambda _, tracker=tracker: tracker).sync_run(folder)
        requests.append([call[0] for call in tracker.method_calls])
    assert "log" in requests[0]
    assert requests[0] == requests[1]


@pytest.mark.parametrize("method", MODERN)
def test_numbers_in_the_largest_temporary_of_a_newer_method(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 3,000 candidates with 128 features: no matrix over pairs of a pool that is too large to
    keep one, and not much more than the inputs."""
    monkeypatch.setattr(coverage, "MOST_PAIRS", 3_000**2 - 1)
    count, width, budget = 3_000, 128, 20
    strategy = registry.build_component("strategies", Component(name=method))
    seen = world(strategy, count, width, known=50)
    largest = LargestTemporary()
    with torch.no_grad(), largest:
        picks = strategy.select(seen, budget).positions
    assert len(picks) == budget == len(set(picks.tolist()))
    whole = max(value.numel() for value in (*seen.outputs.values(), torch.empty(count, width)))
    assert 0 < largest.numbers <= max(whole, BLOCK_OF_DISTANCES * count), (
        f"{largest.numbers} numbers"
    )

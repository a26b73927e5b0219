"""What holds on a device: dry runs of trials under every arithmetic. `python -m
benchmark.conformance.device_check TRIALS DEVICE`.

Each trial of a file (one JSON a line) is shrunk as for `check` and played through: twice under each
precision and step on the device, and once on the CPU in fp32. One JSON line per trial, precision
and step says what came out.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from benchmark.al.datasets.features import synthetic_features
from benchmark.al.dry_run import shrink_trial, synthetic_dataset
from benchmark.al.loop import run
from benchmark.al.session import Session
from benchmark.al.training import cuda_graphs
from benchmark.al.training.numerics import Numerics, prepare
from benchmark.errors import Exit
from benchmark.runs.events import CycleResult, Precision, Step
from benchmark.spec.base import Spec
from benchmark.spec.suite import Trial
from benchmark.worker import assemble

TOLERANCES: dict[Precision, float] = {"fp32": 1e-3, "tf32": 2e-2, "tf32-conv": 2e-2, "bf16": 1e-1}
"""Largest relative difference of a first cycle's losses from the CPU's in fp32: two steps of
training amplify the rounding of 24, 11 and 8 bits. A wrong kernel, a lost gradient or a wrong image
is far above."""


class Held(Spec):
    """What came out under one precision and step."""

    name: str
    precision: Precision
    step: Step
    problem: str = ""
    """Why it does not run at all; empty where it does."""
    repeats: bool | None = None
    """Two runs gave the same bits."""
    captures: bool | None = None
    """Captured steps gave the bits of those made together; None where steps are not captured."""
    difference: float | None = None
    """Relative difference of the first cycle's losses from the CPU's in fp32; None where dropout
    draws (each device draws its own) or the CPU gave no finite loss."""

    @property
    def failures(self) -> tuple[str, ...]:
        """What does not hold, in words."""
        if self.problem:
            return (self.problem,)
        limit = TOLERANCES[self.precision]
        said = ["other bits when repeated"] if self.repeats is False else []
        said += ["captured differs from together"] if self.captures is False else []
        if self.difference is not None and self.difference > limit:
            said.append(f"{self.difference:.1g} from the CPU (limit {limit:g})")
        return tuple(said)


@dataclass(frozen=True)
class Played:
    """Outcome of a dry run, and whether dropout drew in it."""

    results: tuple[CycleResult, ...]
    drew: bool


def list_arithmetics(device: str) -> list[tuple[Precision, Step]]:
    """Precisions and steps that are another arithmetic on a device: a CPU has no TF32 and captures
    nothing."""
    cuda = device != "cpu"
    return [
        (precision, step)
        for precision in get_args(Precision)
        for step in get_args(Step)
        if cuda or not (precision.startswith("tf32") or step == "captured")
    ]


def check_trial(trial: Trial, device: str) -> Iterator[Held]:
    """Every arithmetic of one trial. Does not raise for what goes wrong in it."""
    name = f"{trial.suite}/{trial.method_name}"
    try:
        reference = play(trial, prepare("cpu", "fp32", 1))
    except Exception as error:
        for precision, step in list_arithmetics(device):
            yield Held(
                name=name,
                precision=precision,
                step=step,
                problem=f"on the CPU: {_error_text(error)}",
            )
        return
    together: dict[str, Played] = {}
    for precision, step in list_arithmetics(device):
        try:
            numerics = prepare(device, precision, 1, step)
            first, second = play(trial, numerics), play(trial, numerics)
        except Exception as error:
            yield Held(name=name, precision=precision, step=step, problem=_error_text(error))
            continue
        if step == "together":
            together[precision] = first
        difference = None if reference.drew else compare_losses(first.results, reference.results)
        if difference == float("inf"):
            yield Held(
                name=name,
                precision=precision,
                step=step,
                problem="no finite loss where the CPU has one",
            )
            continue
        captured = step == "captured" and precision in together and not first.drew
        yield Held(
            name=name,
            precision=precision,
            step=step,
            repeats=first.results == second.results,
            captures=first.results == together[precision].results if captured else None,
            difference=difference,
        )


def play(trial: Trial, numerics: Numerics) -> Played:
    """The shrunken trial, played through once. Raises what the real one would raise."""
    small = shrink_trial(trial)
    strategy, learner = assemble(
        small, synthetic_dataset(small.protocol), numerics, Path("weights"), synthetic_features
    )
    with tempfile.TemporaryDirectory() as folder, _dropout_seen() as seen, _early_captures():
        session = Session(
            small, "0" * 64, "0" * 64, Path(folder), None, save_every=1e9, must_stop=lambda: False
        )
        run(small.protocol, strategy, learner, session)
    return Played(tuple(session.results), bool(seen))


def compare_losses(ours: tuple[CycleResult, ...], theirs: tuple[CycleResult, ...]) -> float | None:
    """Largest relative difference of the first cycle's losses: infinite where one is missing in
    `ours` (it was not finite), None where `theirs` has none."""
    one, two = ours[0].metrics, theirs[0].metrics
    names = [name for name in two if name.startswith("loss/")]
    return max(
        (abs(one.get(name, float("inf")) - two[name]) / max(1.0, abs(two[name])) for name in names),
        default=None,
    )


@contextmanager
def _early_captures() -> Iterator[None]:
    """Steps are captured at the second of a kind: a dry run makes too few to reach a graph
    otherwise."""
    before = cuda_graphs.WARM_UP
    cuda_graphs.WARM_UP = 1
    try:
        yield
    finally:
        cuda_graphs.WARM_UP = before


@contextmanager
def _dropout_seen() -> Iterator[list[bool]]:
    """A list that is not empty once dropout has drawn."""
    seen: list[bool] = []
    plain = torch.nn.functional.dropout

    def watched(
        x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Any:
        if training and p > 0:
            seen.append(True)
        return plain(x, p, training, inplace)

    torch.nn.functional.dropout = watched  # type: ignore[assignment]
    try:
        yield seen
    finally:
        torch.nn.functional.dropout = plain


def _error_text(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def main(path: Path, device: str) -> int:
    """Print a line for every trial and arithmetic; see the module's docstring."""
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(int(Exit.INTERRUPTED))
    )  # through what removes temporary folders
    bad = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        for held in check_trial(Trial.model_validate_json(line), device):
            bad += bool(held.failures)
            print(
                json.dumps(held.model_dump(mode="json") | {"failures": held.failures}), flush=True
            )
    return int(Exit.DISCREPANCY if bad else Exit.OK)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))

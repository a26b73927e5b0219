"""The command line on a machine whose nvidia-smi lists one card, which the processes that compute
take for theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.conformance.device_check import check_trial, list_arithmetics
from benchmark.spec.load import find_suite
from tests.helpers.trials import SUITES
from tests.simcuda.device import PROPERTIES, pretended
from tests.simcuda.kit import needs_simcuda

pytestmark = [needs_simcuda, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
SMALL = (
    "--set",
    "protocol.training.epochs=2",
    "--set",
    "protocol.acquisition.cycles=2",
    "--set",
    "protocol.training.schedule.milestones=[1]",
)


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """Variables of a machine with one card."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    line = f"{PROPERTIES.uuid}, {PROPERTIES.name}, 580.65, {PROPERTIES.major}.{PROPERTIES.minor}"
    tool.write_text(
        f'#!/bin/sh\ncase "$1" in -L) echo "GPU 0: {PROPERTIES.name} (UUID: {PROPERTIES.uuid})";; '
        f'*) echo "{line}";; esac\n'
    )
    tool.chmod(0o755)
    paths = os.pathsep.join(map(str, (ROOT / "tests" / "simcuda" / "site", ROOT)))
    return {**os.environ, "PATH": f"{tool.parent}:{os.environ['PATH']}", "PYTHONPATH": paths}


def albench(machine: dict[str, str], runs: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "benchmark", "--runs", str(runs), *arguments]
    done = subprocess.run(
        command, env=machine, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_trial_and_its_record(machine: dict[str, str], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for precision, step in (("fp32", "eager"), ("bf16", "captured")):
        albench(
            machine,
            runs,
            "run",
            "quickstart/digits",
            "--methods",
            "tod+cod",
            "--seeds",
            "0",
            "--device",
            "cuda",
            "--precision",
            precision,
            "--step",
            step,
            "--no-tracking",
            *SMALL,
        )
    records = [json.loads(path.read_text()) for path in runs.rglob("record.json")]
    assert len(records) == 2
    for record in records:
        environment = record["environment"]
        assert (environment["device"], environment["device_model"]) == ("cuda", PROPERTIES.name)
        assert (environment["isa"], environment["driver"]) == ("9.0", "580.65")
        assert environment["multiprocessors"] == PROPERTIES.multi_processor_count


def test_doctor_names_the_card(machine: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmark", "--runs", str(tmp_path / "runs"), "doctor"]
    done = subprocess.run(
        command, env=machine, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert PROPERTIES.name in done.stdout, done.stdout + done.stderr


def test_what_holds_on_the_device() -> None:
    """What `check --device cuda` starts, for one method: captured steps are replayed."""
    (made,) = find_suite("quickstart/digits", SUITES).trials(methods=["tod+cod"], seeds=[0])
    with pretended() as world:
        found = list(check_trial(made, "cuda"))
    assert len(found) == len(list_arithmetics("cuda")) and world.graphs
    assert not [one for one in found if one.failures]
    assert all(one.captures for one in found if one.step == "captured")

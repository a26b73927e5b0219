"""A part of the fault campaign: every kind of fault once, and its count and outcome printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.faults import FAULTS

ROOT = Path(__file__).parents[2]
MORE = 3


@pytest.mark.slow
def test_every_kind_of_fault_once() -> None:
    """In a process of its own: it forks, which a process that has computed with torch may not."""
    count = str(len(FAULTS) + MORE)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.campaign", "--faults", count, "--seed", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert f"{count} faults in" in done.stdout and "no wrong record accepted" in done.stdout
    interrupted = re.search(r"\| \*\*all\*\* \| seed 1 \| \d+ \| (\d+) \| 0 \|", done.stdout)
    assert interrupted is not None and int(interrupted[1]) >= 8, (
        "most faults must find something to interrupt"
    )


def test_a_broken_promise_is_noticed() -> None:
    """The campaign against a worker that forgets its state: it must say so."""
    code = (
        "import sys\n"
        "from benchmark.al.state.checkpoint import Checkpoint\n"
        "Checkpoint.load = lambda self, name: None\n"
        "sys.argv = ['campaign', '--faults', '12', '--seed', '3', '--only', "
        "'worker_killed_at_a_write']\n"
        "from tests.faults.campaign import main\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1
    assert "cycles were finished, and it went on at cycle 0" in done.stderr

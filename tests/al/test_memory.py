"""Memory: what a trial says it took, and what core-set selection takes beyond its features."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmark.al.loop import run
from benchmark.runs import events
from benchmark.runs.events import CycleFinished
from tests.helpers.trials import assembled, session, trial

MB = 2**20

# A process of its own: the peak of a process never sinks, and others' tests have been there.
CODE = """
import resource, torch
torch.set_num_threads(1)
from benchmark.al.functional.kcenter import k_center_greedy
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
points = torch.empty(52_000, 512).normal_(generator=torch.Generator().manual_seed(0))
k_center_greedy(points[:500], points[500:600], 5)  # libraries load what they need
before = peak()
picks = k_center_greedy(points[:50_000], points[50_000:], 100)
print(peak() - before, len(set(picks.tolist())))
"""


def test_core_set_of_50_000_by_512_stays_within_300_mb_above_the_features() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    above, picked = map(int, done.stdout.split())
    assert picked == 100
    assert above < 300 * MB, f"{above / MB:.0f} MB"


def test_every_cycle_tells_its_peak(tmp_path: Path) -> None:
    """More than the interpreter with torch takes, and never less than in the cycle before."""
    made = trial()
    strategy, learner = assembled(made, tmp_path / "cache")
    run(made.protocol, strategy, learner, session(made, tmp_path))
    told = [
        event
        for event, _ in events.read_events(tmp_path / "events.jsonl")
        if isinstance(event, CycleFinished)
    ]
    peaks = [event.peak_host_bytes for event in told]
    assert len(peaks) == made.protocol.acquisition.cycles
    assert peaks == sorted(peaks) and peaks[0] > 50 * MB
    assert all(event.peak_device_bytes >= 0 for event in told)

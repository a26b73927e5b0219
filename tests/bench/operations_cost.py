"""CPU seconds of verbs beside many finished runs: `python -m tests.bench.operations_cost FOLDER
[SEEDS] [VERB...]`.

Makes finished runs of quickstart/digits in FOLDER once (19 methods times SEEDS), one trial left
out, and then prints what each verb takes; `run` does the trial that is left, with tracking. A first
`sync` fills the tracker.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmark.al import datasets
from benchmark.runs import environment as provenance
from benchmark.runs.store import Store
from benchmark.spec.selectors import Selection, parse_selector
from tests.helpers.runs import finish

SUITES = Path("suites")
VERBS = ("first sync", "sync", "status", "report", "run", "sync after it")


def fill(runs: Path, seeds: int) -> int:
    """Finished runs of all methods and seeds but the last trial; how many there are."""
    selection = Selection([parse_selector("quickstart/digits")], seeds=tuple(range(seeds)))
    asked = selection.trials(SUITES)
    content = datasets.describe(asked[0].trial.protocol.data, Path("data"), runs / ".cache").digest
    environment, store = provenance.describe_environment("cpu"), Store(runs)
    for item in asked[:-1]:
        finish(
            store, item.trial.model_copy(update={"data_digest": content}), environment, data=content
        )
    return len(asked)


def measure(runs: Path, seeds: int, verb: str) -> str:
    """Wall seconds, CPU seconds of the host and its children, and the last line that a verb
    says."""
    options = {
        "run": [
            "run",
            "quickstart/digits",
            "--seeds",
            f"0-{seeds - 1}",
            "--device",
            "cpu",
            "--progress",
            "none",
        ],
        "report": [
            "report",
            "quickstart/digits",
            "--seeds",
            f"0-{seeds - 1}",
            "--out",
            str(runs / "report"),
        ],
        "status": ["status"],
    }.get(verb, ["sync"])
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", "--runs", str(runs), *options],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = (done.stdout + done.stderr).strip().splitlines()[-1:]
    return f"{verb}: {wall:.1f} s, {cpu:.1f} CPU-s, exit {done.returncode}: {said}"


def main() -> None:
    runs, seeds = Path(sys.argv[1]), int((sys.argv[2:3] or ["105"])[0])
    if not runs.exists():
        print(f"{fill(runs, seeds)} trials", flush=True)
    for verb in sys.argv[3:] or VERBS:
        print(measure(runs, seeds, verb), flush=True)


if __name__ == "__main__":
    main()

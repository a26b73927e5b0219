"""A host process for tests that end it: runs one prepared job and prints its outcome. Arguments: a
pickled (job, options)."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import docker

from benchmark.executors.docker.engine import create
from tests.helpers.waiting import patience

if __name__ == "__main__":
    job, address, options = pickle.loads(Path(sys.argv[1]).read_bytes())
    executor = create(
        client=docker.DockerClient(base_url=address, timeout=int(patience(30))), **options
    )
    (end,) = executor.run(
        [job], jobs_at_once=1, deadline=None, on_event=lambda job, event: print(event, flush=True)
    )
    print("END", end.state, end.kind, flush=True)

"""Waiting for what happens, however busy the machine is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds on an idle machine after which something counts as never happening."""


def patience(seconds: float = PATIENCE) -> float:
    """So many seconds of an idle machine, on this one as it is now: stretched by its load per
    core."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Return as soon as the condition holds; fails when it does not within `patience(seconds)`,
    asked anew all the time."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < patience(seconds), "it never happened"
        time.sleep(0.02)

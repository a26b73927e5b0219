"""Settings of all tests: property tests draw the same examples every time, and none is timed. The pretended CUDA device is
loaded before torch; it announces no device until a test asks for it. Signals that the caller ignores (`nohup`, a background
job of a script) are heard again, as several tests send them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.simcuda import build

settings.register_profile("albench", deadline=None, derandomize=True)
settings.load_profile("albench")
build.load()
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

KNOWN_FAILURES = Path(__file__).with_name("known_failures.txt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests named in known_failures.txt, by the beginning of their id, run without deciding."""
    named = [line for line in KNOWN_FAILURES.read_text().splitlines() if line and not line.startswith("#")]
    for item in items:
        if item.nodeid.startswith(tuple(named)):
            item.add_marker(pytest.mark.xfail(reason="named in tests/known_failures.txt", strict=False))

"""Settings of all tests: property tests draw the same examples every time, and none is timed. The pretended CUDA device is
loaded before torch; it announces no device until a test asks for it."""

from __future__ import annotations

from hypothesis import settings

from tests.simcuda import build

settings.register_profile("albench", deadline=None, derandomize=True)
settings.load_profile("albench")
build.load()

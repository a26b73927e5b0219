"""Settings of all tests: property tests draw the same examples every time, and none is timed."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("albench", deadline=None, derandomize=True)
settings.load_profile("albench")

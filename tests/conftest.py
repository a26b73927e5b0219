"""Settings of all tests: property tests draw the same examples every time, and none is timed. The
pretended CUDA device is loaded before torch; it announces no device until a test asks for it.
Signals that the caller ignores (`nohup`, a background job of a script) are heard again, as several
tests send them."""

from __future__ import annotations

import signal

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

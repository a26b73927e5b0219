"""On the path of a command under test: its processes that compute have the pretended device, and
only these import torch."""

import sys

COMPUTING = ("worker", "executors.local.child", "runs.device_probe", "conformance.device_check")

if {f"benchmark.{name}" for name in COMPUTING} & set(sys.orig_argv):
    from tests.simcuda import build

    build.load()

    from tests.simcuda.device import pretended

    device = pretended()
    device.__enter__()

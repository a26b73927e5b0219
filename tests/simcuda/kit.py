"""When tests on the pretended device run: everywhere it can be built, and always where CI asks for
it."""

from __future__ import annotations

import os

import pytest

from tests.simcuda import build

if build.missing and os.environ.get(build.REQUIRED):
    raise RuntimeError(f"{build.REQUIRED} is set, but there is {build.missing}")
needs_simcuda = pytest.mark.skipif(bool(build.missing), reason=build.missing or "there is one")

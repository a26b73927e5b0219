"""The `albench` command. Importing this imports nothing: each verb loads what it needs when it is
called."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Any


def main() -> None:
    """Entry point of the console script. Being asked to end is like Ctrl-C: temporary folders go,
    processes are ended."""
    if (
        signal.getsignal(signal.SIGTERM) != signal.SIG_IGN
    ):  # what the caller had ignored stays ignored
        signal.signal(signal.SIGTERM, _raise_interrupt)
    from benchmark.cli.process import prepare_process

    prepare_process()
    try:
        code = invoke(sys.argv[1:])
    except KeyboardInterrupt:  # before there was anybody to say so
        code = 130
    sys.exit(code)


def _raise_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code (see `benchmark.errors.Exit`). Errors a user can act on
    give a message only."""
    from benchmark.cli.group import run

    return run(list(arguments))

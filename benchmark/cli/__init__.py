"""The `albench` command. Importing this imports nothing: each verb loads what it needs when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main() -> None:
    """Entry point of the console script."""
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code (see `benchmark.errors.Exit`). Errors a user can act on give a message only."""
    from benchmark.cli.group import run

    return run(list(arguments))

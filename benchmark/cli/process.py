"""What a process may be started with or without, put right before anything runs: a home, streams,
encodings."""

from __future__ import annotations

import io
import os
import pwd
import sys
import tempfile
from typing import TextIO


class UnbreakableStream(io.FileIO):
    """A stream whose reader may go away (`albench ls | head`): the rest is dropped, and the exit
    code stays right."""

    def write(self, data: object) -> int:
        """Bytes taken, which is all of them when there is no reader left."""
        try:
            return super().write(data)  # type: ignore[arg-type]
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return memoryview(data).nbytes  # type: ignore[arg-type]


def open_stream(given: TextIO | None, number: int) -> TextIO:
    """A standard stream that survives its reader, writes what its encoding has not as `?`, and is
    there where it was closed."""
    try:
        os.fstat(number)
    except OSError:  # started with the stream closed (`>&-`)
        null = os.open(os.devnull, os.O_WRONLY)
        if null != number:
            os.dup2(null, number)
            os.close(null)
    encoding = given.encoding if given is not None else "utf-8"
    raw = UnbreakableStream(number, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, "replace", line_buffering=raw.isatty() or number == 2
    )


def ensure_home() -> None:
    """A user without a name or a home (`docker run -u`, OpenShift, cron): libraries that ask for
    them would fail."""
    home = os.environ.get("HOME")
    try:
        named = pwd.getpwuid(os.getuid())
    except KeyError:
        named = None
    if not home and named is None:
        os.environ["HOME"] = tempfile.gettempdir()
    if named is None and not os.environ.get("USER") and not os.environ.get("LOGNAME"):
        os.environ["USER"] = str(os.getuid())


def prepare_process() -> None:
    """All of that, once, for a console script."""
    ensure_home()
    for name, number in (("stdout", 1), ("stderr", 2)):
        given = getattr(sys, name)
        if given is not None:
            given.flush()
        setattr(sys, name, open_stream(given, number))

"""Errors a user can act on: each says what is wrong, where, and what to do, and carries its exit
code."""

from __future__ import annotations

from enum import IntEnum

from benchmark.text import escape_controls, without_secrets

__all__ = [
    "AlbenchError",
    "DataError",
    "ExecutorError",
    "Exit",
    "StoreError",
    "SuiteError",
    "UsageError",
    "without_secrets",
]


class Exit(IntEnum):
    """Exit codes of every command; a CI can branch on them."""

    OK = 0
    DISCREPANCY = 1
    USAGE = 2
    NOT_MEASURED = 3
    INCONCLUSIVE = 4
    INTERRUPTED = 130


class AlbenchError(Exception):
    """What is wrong (`message`), where (`where`, a file, line or field) and what to do about it
    (`remedy`)."""

    exit_code = Exit.NOT_MEASURED

    def __init__(self, message: str, *, where: str = "", remedy: str = "") -> None:
        self.message, self.where, self.remedy = (
            escape_controls(without_secrets(part)) for part in (message, where, remedy)
        )
        super().__init__(self.message)

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}\n  -> {self.remedy}" if self.remedy else head


class UsageError(AlbenchError):
    """The command line, a suite file or a plug-in is not valid."""

    exit_code = Exit.USAGE


class SuiteError(UsageError):
    """A suite file or one of its tables is not valid."""


class DataError(AlbenchError):
    """Data are missing, damaged, or not what the suite pins."""


class StoreError(AlbenchError):
    """The runs folder cannot be read or written, or holds something that is not a run."""


class ExecutorError(AlbenchError):
    """Trials could not be executed: engine, image, device or worker failed."""

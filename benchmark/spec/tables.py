"""Reading tables of comma-separated values: one reader for published numbers, committed
measurements and anybody's own.

A table is UTF-8, with or without the mark that some programs put in front (a byte order mark). What
cannot be read is said with file and line.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from benchmark.errors import AlbenchError


@dataclass(frozen=True)
class Table:
    """The header of a table, and its rows with the line each one ends at."""

    path: Path
    header: list[str]
    rows: list[tuple[int, list[str]]]

    def where(self, line: int) -> str:
        """Place of a line, for messages."""
        return f"{self.path}:{line}"


def read_table(path: Path, error: type[AlbenchError]) -> Table:
    """The table in a file (`.gz`: compressed); empty lines are left out. Raises `error`, which
    names file, line and remedy."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
        raise error(
            f"is not compressed text: {problem}", where=str(path), remedy="restore the file"
        ) from problem
    except OSError as problem:
        raise error(
            f"cannot be read: {problem.strerror}", where=str(path), remedy="give a file that exists"
        ) from problem
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise error(
            f"byte {problem.start} is not UTF-8",
            where=f"{path}:{line}",
            remedy="save the file as UTF-8",
        ) from problem
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise error(
            "holds a zero byte", where=f"{path}:{line}", remedy="save the file as plain UTF-8 text"
        )
    lines = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        header = next(lines, [])
        return Table(path, header, [(lines.line_num, cells) for cells in lines if cells])
    except csv.Error as problem:
        raise error(
            str(problem),
            where=f"{path}:{lines.line_num}",
            remedy="correct the quoting of this line",
        ) from problem


def cells_of(table: Table, error: type[AlbenchError]) -> Iterator[tuple[str, list[str]]]:
    """Place and cells of every row. Raises `error` at a row with more or fewer cells than the
    header."""
    wanted = len(table.header)
    for line, cells in table.rows:
        if len(cells) != wanted:
            raise error(
                f"{len(cells)} cells instead of {wanted}",
                where=table.where(line),
                remedy="quote commas inside cells",
            )
        yield table.where(line), cells


def parse_number(cell: str, *, whole: bool = False) -> float:
    """The finite number in a cell, or the whole number from 0 on. Raises ValueError for anything
    else.

    Python alone would also read blanks around digits, underscores between them, and digits of other
    scripts.
    """
    if not cell.isascii() or "_" in cell or cell != cell.strip():
        raise ValueError(cell)
    value = int(cell) if whole else float(cell)
    if not math.isfinite(value) or (whole and value < 0):
        raise ValueError(cell)
    return value

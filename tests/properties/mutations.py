"""Random edits of valid suite files: `python -m tests.properties.mutations --edits 4000`.

Each edited file is either refused, with file, line and remedy, or accepted with its meaning intact:
what was loaded is what the edited text says, value by value. A traceback is a failure. Seeded; two
runs do the same edits.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import re
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.errors import SuiteError, UsageError
from benchmark.spec.load import load_suite, suite_files
from benchmark.spec.published import COLUMNS, read_reported, write_reported
from tests.helpers.doc_tables import publish

SUITES = Path(__file__).parents[2] / "suites"
Edit = Callable[[str, random.Random], str]
LETTERS = "abz09_-+.,=[]{}\"'# \t\n\\é\x00\u202e"


# -------------------------------------------------------------------------------- edits of any text


def flip_bit(text: str, rng: random.Random) -> str:
    """One bit of the file's bytes; what is no longer UTF-8 stays so."""
    content = bytearray(text.encode())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content.decode(errors="surrogateescape")


def insert_character(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text))
    return text[:place] + rng.choice(LETTERS) + text[place:]


def delete_characters(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text))
    return text[:place] + text[place + rng.randint(1, 12) :]


def truncate(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text))]


def delete_line(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    return "".join(lines)


def repeat_line(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    return "".join([*lines[: place + 1], *lines[place:]])


def swap_lines(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return "".join(lines)


# ------------------------------------------------------------------------------------ edits of TOML


def _at(text: str, rng: random.Random, pattern: str, new: Callable[[re.Match[str]], str]) -> str:
    found = list(re.finditer(pattern, text, re.MULTILINE))
    if not found:
        return text
    match = rng.choice(found)
    return text[: match.start()] + new(match) + text[match.end() :]


VALUES = [
    "0",
    "-1",
    "1e400",
    "nan",
    "inf",
    "true",
    '"5"',
    "[]",
    "{}",
    "1.0",
    "99_999_999_999",
    '""',
    "1979-05-27",
    "0x10",
    "[[1]]",
    '"\\u0000"',
    "-0.0",
    "9223372036854775808",
    "'../../etc'",
]


def change_number(text: str, rng: random.Random) -> str:
    return _at(
        text,
        rng,
        r"(?<== )-?[0-9][0-9_.e+-]*",
        lambda _: str(rng.choice([0, 1, 7, -3, 10**6, 0.5, 1e-9])),
    )


def change_value(text: str, rng: random.Random) -> str:
    return _at(text, rng, r"(?<= = )[^\n]+$", lambda _: rng.choice(VALUES))


def rename_key(text: str, rng: random.Random) -> str:
    return _at(
        text,
        rng,
        r"^\w+(?= = )",
        lambda match: rng.choice([match[0] + "s", match[0][:-1] or "x", match[0].upper()]),
    )


def rename_table(text: str, rng: random.Random) -> str:
    return _at(text, rng, r"^\[+[^\]\n]+\]+$", lambda match: match[0].replace("e", "a", 1))


def new_key(text: str, rng: random.Random) -> str:
    return _at(
        text,
        rng,
        r"^(?=\w+ = )",
        lambda _: (
            f"{rng.choice(['epochs', 'extra', 'base', 'seed', 'set'])} = {rng.choice(VALUES)}\n"
        ),
    )


def change_string(text: str, rng: random.Random) -> str:
    return _at(
        text,
        rng,
        r'"[^"\n]*"',
        lambda match: rng.choice(['"x"', '""', '"paper"', match[0][:-1] + '!"']),
    )


# ------------------------------------------------------------------------------------- edits of CSV


def change_cell(text: str, rng: random.Random) -> str:
    rows = [line.split(",") for line in text.split("\n")]
    row = rng.choice(rows)
    row[rng.randrange(len(row))] = rng.choice(
        [
            "",
            "nan",
            "inf",
            "-1",
            "1e999",
            "0",
            "x",
            '"',
            '"a,b"',
            "50",
            "target",
            "1_000",
            " 5",
            "５",
            "\x00",
            "sd",
        ]
    )
    return "\n".join(",".join(cells) for cells in rows)


def move_cell(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    place = rng.randrange(len(lines))
    cells = lines[place].split(",")
    one, two = rng.randrange(len(cells)), rng.randrange(len(cells))
    cells[one], cells[two] = cells[two], cells[one]
    lines[place] = ",".join(cells)
    return "\n".join(lines)


ANY: tuple[Edit, ...] = (
    flip_bit,
    insert_character,
    delete_characters,
    truncate,
    delete_line,
    repeat_line,
    swap_lines,
)
TOML: tuple[Edit, ...] = (
    *ANY,
    change_number,
    change_value,
    rename_key,
    rename_table,
    new_key,
    change_string,
)
CSV: tuple[Edit, ...] = (*ANY, change_cell, move_cell)


# ---------------------------------------------------------------------------------------- judgement


@dataclass
class Tally:
    """What became of one kind of edit."""

    accepted: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)


class Wrong(Exception):
    """An edit that was neither accepted with its meaning intact nor refused as it should be."""


def judge_toml(path: Path, root: Path) -> bool:
    """Whether an edited suite is accepted. Raises Wrong."""
    try:
        suite = load_suite(path, root)
        for profile in ("paper", *suite.suite.profiles):
            suite.trials(profile, "as_published", seeds=[0])
        suite.trials("paper", "corrected", seeds=[0])
    except UsageError as error:
        _demand_helpful(error, path)
        return False
    said = tomllib.loads(path.read_text(encoding="utf-8"))
    loaded = json.loads(suite.suite.model_dump_json(exclude_unset=True))
    if said.pop("base", None) is not None:
        return True  # its values are spread over two files
    if _plain(said) != _plain(loaded):
        raise Wrong("accepted, but what was loaded is not what the file says")
    return True


def judge_csv(path: Path) -> bool:
    """Whether an edited table is accepted. Raises Wrong."""
    try:
        rows = read_reported(path)
    except SuiteError as error:
        _demand_helpful(error, path)
        return False
    text = path.read_bytes().decode()
    cells = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row][1:]
    again = list(csv.reader(io.StringIO(write_reported(rows), newline=""), strict=True))[1:]
    for said, loaded in zip(cells, again, strict=True):
        for column, one, two in zip(COLUMNS, said, loaded, strict=True):
            default = {"metric": "accuracy", "reading_error": "0.0"}.get(column, "")
            if one != two and not _same_number(one or default, two):
                raise Wrong(f"{column} is {one!r} in the file and was read as {two!r}")
    return True


def _same_number(one: str, two: str) -> bool:
    try:
        return float(one) == float(two) and re.fullmatch(r"[0-9.eE+-]+", one) is not None
    except ValueError:
        return one == two


def _demand_helpful(error: UsageError, path: Path) -> None:
    if not error.remedy:
        raise Wrong(f"refused without a remedy: {error}")
    if not error.where.startswith(str(path.parent)):
        raise Wrong(f"refused without the file: {error.where!r}: {error.message}")
    if (
        not re.search(r":\d+($|:)", error.where)
        and "profile" not in error.where
        and "cannot be read" not in error.message
    ):
        raise Wrong(f"refused without a line: {error.where!r}: {error.message}")


def _plain(value: Any) -> Any:
    """Without the difference between arrays and tuples, and between -0.0, 0.0 and 0 where a number
    is a number."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def campaign(edits: int, seed: int) -> dict[str, Tally]:
    """Edit random suites and tables so many times, kinds in turn."""
    kinds = [("toml", edit) for edit in TOML] + [("csv", edit) for edit in CSV]
    tallies = {f"{suffix}: {edit.__name__.replace('_', ' ')}": Tally() for suffix, edit in kinds}
    suites = list(suite_files(SUITES))
    tables = sorted(SUITES.glob("*/*.reported.csv"))
    bases = sorted(SUITES.glob("*/_*.toml"))
    texts = {path: path.read_text(encoding="utf-8") for path in [*suites, *bases, *tables]}
    for number in range(edits):
        suffix, edit = kinds[number % len(kinds)]
        rng = random.Random(f"{seed}/{number}")
        source = rng.choice(suites if suffix == "toml" else tables)
        tally = tallies[f"{suffix}: {edit.__name__.replace('_', ' ')}"]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / source.parent.name / source.name
            path.parent.mkdir()
            for beside in [*suites, *bases]:  # a suite may name any of these as its base
                if beside.parent == source.parent:
                    (path.parent / beside.name).write_text(texts[beside], encoding="utf-8")
            text = (
                texts[source]
                if suffix == "toml"
                else "\n".join(texts[source].split("\n")[:40]) + "\n"
            )
            path.write_bytes(edit(text, rng).encode(errors="surrogateescape"))
            try:
                accepted = judge_toml(path, Path(folder)) if suffix == "toml" else judge_csv(path)
                tally.accepted += accepted
                tally.refused += not accepted
            except Exception as error:
                what = str(error) if isinstance(error, Wrong) else traceback.format_exc()
                tally.failures.append(
                    f"edit {number} (--seed {seed}) of {source.parent.name}/{source.name}: {what}"
                )
    return tallies


def table(tallies: dict[str, Tally], seed: int, seconds: float) -> str:
    """What happened, as Markdown."""
    rows = [
        "| edit | accepted, meaning intact | refused with place and remedy | failures |",
        "| --- | ---: | ---: | ---: |",
    ]
    total = Counter[str]()
    for name, tally in tallies.items():
        total.update(accepted=tally.accepted, refused=tally.refused, failures=len(tally.failures))
        rows.append(f"| {name} | {tally.accepted} | {tally.refused} | {len(tally.failures)} |")
    rows.append(
        f"| **all**, seed {seed} | {total['accepted']} | {total['refused']} | {total['failures']} |"
    )
    return "\n".join(
        [*rows, "", f"{total.total()} edits in {seconds:.0f} s: {total['failures']} failures."]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edits", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--publish",
        type=Path,
        metavar="PAGE",
        help="also put the table into this page of the documentation",
    )
    options = parser.parse_args()
    begin = time.monotonic()
    tallies = campaign(options.edits, options.seed)
    for tally in tallies.values():
        for failure in tally.failures:
            print(failure, file=sys.stderr)
    text = table(tallies, options.seed, time.monotonic() - begin)
    print(text)
    if options.publish is not None:
        publish(options.publish, "mutations", text)
    return int(any(tally.failures for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())

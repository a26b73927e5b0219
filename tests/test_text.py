"""Text from outside is cleaned in one place, and comes clean to every place where it is shown or
kept."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
from rich.table import Table

from benchmark import worker
from benchmark.cli import invoke
from benchmark.cli import tables as printing
from benchmark.errors import AlbenchError
from benchmark.executors.docker.image import _build_remedy
from benchmark.executors.jobs import tail_log
from benchmark.reports import markdown
from benchmark.runs import events
from benchmark.runs.events import TrialFailed
from benchmark.runs.store import Store, last_event
from benchmark.text import LONG, SHORT, clean_line, clean_text, escape_controls, without_secrets
from tests.helpers.runs import ENVIRONMENT, fail, toy_trial

EVIL = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b1m \u202egnp.exe http://bob:s3cretpw@tracker/x "
    "[bold]not bold[/] [/nothing]"
)
HARMFUL = "\x1b\x07\x9b\u202e"


def harmless(said: str) -> None:
    assert not set(said) & set(HARMFUL), repr(said)
    assert "s3cretpw" not in said


def test_control_characters_are_written_out() -> None:
    assert (
        escape_controls("a\x1b[31mb\x00\x7f\x85\u202e\u200b")
        == "a\\x1b[31mb\\x00\\x7f\\x85\\u202e\\u200b"
    )
    assert (
        escape_controls("tab\t, line\nline\r\nend, ä, 漢, 😀")
        == "tab\t, line\nline\nend, ä, 漢, 😀"
    )
    assert escape_controls("over\rwritten") == "over\\x0dwritten"
    assert escape_controls("\ud800") == "\\ud800"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("http://bob:pw@host/x", "http://***@host/x"),
        ("https://bob:p@ss:w@rd@host:1/x and y@z", "https://***@host:1/x and y@z"),
        ("postgresql+psycopg2://bob:pw@db:5432/x", "postgresql+psycopg2://***@db:5432/x"),
        ("http://token@host", "http://***@host"),
        ("http://host/x@y", "http://host/x@y"),
        ("http://host?mail=a@b", "http://host?mail=a@b"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
    ],
)
def test_addresses_lose_their_passwords(said: str, shown: str) -> None:
    assert without_secrets(said) == shown


def test_what_is_too_long_is_cut_and_says_so() -> None:
    assert clean_text("x" * LONG) == "x" * LONG
    long = clean_text("y" * 10_000_000)
    assert len(long) < LONG + 50 and long.endswith("[... 10,000,000 characters]")
    assert clean_line("a\n\n  b\tc") == "a b c"
    assert len(clean_line("word " * 1_000_000)) < SHORT + 50


def test_a_failure_is_clean_wherever_it_is_read(tmp_path: Path) -> None:
    """As the event is made, and as it is read from a file that somebody else wrote."""
    assert events.TrialFailed(time=1.0, kind=EVIL, message=EVIL).message == clean_text(EVIL)
    folder = fail(Store(tmp_path / "runs"), toy_trial())
    raw = TrialFailed.model_construct(
        type="failed", time=1.0, kind="E", message=EVIL + "z" * 30_000
    ).model_dump_json()
    with (folder / "events.jsonl").open("a") as file:
        file.write(raw + "\n")
    found = last_event(folder)
    harmless(found.message)
    assert len(found.message) < LONG + 50
    note = Store(tmp_path / "runs").status(toy_trial(), ENVIRONMENT).note
    harmless(note)
    assert len(note) < SHORT + 50


def test_logs_and_errors_are_clean(tmp_path: Path) -> None:
    (tmp_path / "worker.log").write_text(f"{EVIL}\n{'w' * 9000}\n")
    for said in tail_log(tmp_path / "worker.log"):
        harmless(said)
        assert len(said) < LONG + 50
    error = AlbenchError(EVIL, where=EVIL, remedy=EVIL)
    harmless(str(error))


def test_status_shows_a_hostile_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither escapes nor markup of what is shown reach the terminal, and nothing breaks on
    them."""
    fail(Store(tmp_path / "runs"), toy_trial(), message=EVIL)
    assert invoke(["--runs", str(tmp_path / "runs"), "status"]) == 0
    said = capsys.readouterr().out
    harmless(said)
    assert "[bold]" in said.replace("\n", "")


def test_every_console_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    out = printing.make_console()
    table = Table("head")
    table.add_row(printing.escape(EVIL))
    out.print(table)
    out.print(printing.escape(EVIL))
    harmless(stream.getvalue())


def test_markdown_is_clean() -> None:
    harmful = markdown.escape_cell(f"<script>alert(1)</script> | {EVIL}")
    assert "<script" not in harmful and not set(harmful) & set(HARMFUL)


def test_a_full_disk_is_named_through_groups_and_causes(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/cache/x")
    for raised in (full, ExceptionGroup("two", [ValueError("x"), ExceptionGroup("one", [full])])):
        path = tmp_path / "out"
        path.mkdir(exist_ok=True)
        assert worker._report_failure(path, raised) == 3
        last = last_event(path)
        assert isinstance(last, TrialFailed)
        assert (
            last.message
            == "/cache/x: the disk is full: No space left on device\n  -> free space there"
        )
    try:
        try:
            raise full
        except OSError as error:
            raise RuntimeError("a library's own words") from error
    except RuntimeError as error:
        worker._report_failure(path, error)
    assert "free space" in last_event(path).message
    worker._report_failure(path, OSError(errno.EACCES, "denied", "/x"))
    assert "free space" not in last_event(path).message


@pytest.mark.parametrize(
    ("lines", "error", "remedy"),
    [
        ([], "pull access denied", "make_base.sh"),
        (
            ["Step 1/9 : ARG BASE=x", "Step 2/9 : FROM ${BASE} AS base"],
            "Get https://registry: dial tcp",
            "ALBENCH_DOCKER_BASE",
        ),
        (
            [
                "Step 1/9 : FROM x",
                "Step 8/9 : RUN pip",
                "NewConnectionError: Temporary failure in name resolution",
            ],
            "code: 1",
            "ALBENCH_DOCKER_NETWORK=host",
        ),
        (
            ["Step 1/9 : FROM x", "Step 8/9 : RUN pip", "hash mismatch"],
            "returned a non-zero code: 1",
            "read the lines above",
        ),
    ],
)
def test_a_build_that_fails_says_what_to_do(lines: list[str], error: str, remedy: str) -> None:
    assert remedy in _build_remedy(error, lines)

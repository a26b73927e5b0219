"""What the caller has set up is inherited: ignored signals stay ignored; long folders and closed
pipes do no harm."""

from __future__ import annotations

import getpass
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from benchmark.cli import process
from benchmark.executors import base
from benchmark.executors.jobs import FailureKind, Job, JobOutcome
from tests.helpers.waiting import patience, wait_for

ROOT = Path(__file__).parents[2]
DIGITS = ["run", "quickstart/digits/random@0,1", "--device", "cpu", "--no-tracking", "--jobs", "1"]


@pytest.mark.parametrize(
    "ignored", [(), (signal.SIGHUP,), (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)]
)
def test_the_loop_of_all_executors_leaves_ignored_signals_ignored(
    ignored: tuple[signal.Signals, ...],
) -> None:
    seen: dict[signal.Signals, object] = {}

    class Looks:
        where = "here"

        def poll(self) -> int:
            seen.update({number: signal.getsignal(number) for number in base.ASKED})
            return 0

        def stop(self) -> None: ...

        def kill(self) -> None: ...

    before = {number: signal.getsignal(number) for number in base.ASKED}
    try:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        job = Job(
            name="x",
            trial_id="t",
            out=Path("none"),
            data=Path(),
            cache=Path(),
            device="cpu",
            precision="fp32",
            threads=1,
        )
        drive = base.JobLoop(
            lambda job, limit: Looks(),
            lambda job, status: JobOutcome(job, "finished"),
            lambda *_: None,
        )
        drive([job], 1, None)
        after = {number: signal.getsignal(number) for number in base.ASKED}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in base.ASKED:
        assert (seen[number] == signal.SIG_IGN) == (number in ignored)
        assert callable(seen[number]) or number in ignored
        assert after[number] == (signal.SIG_IGN if number in ignored else before[number])


@pytest.mark.slow
def test_a_run_under_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    """As `nohup albench run ... &` of docs: SIGHUP comes while the first trial runs, and both
    trials finish."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        run = subprocess.Popen(
            ["nohup", sys.executable, "-m", "benchmark", "--runs", str(tmp_path / "runs"), *DIGITS],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        wait_for(
            lambda: list((tmp_path / "runs").glob("*/*/events.jsonl")) or run.poll() is not None
        )
        os.killpg(run.pid, signal.SIGHUP)
        assert run.wait(patience(300)) == 0, log.read_text()
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    assert "2 finished" in log.read_text()


def test_a_background_job_of_a_script_does_not_hear_ctrl_c() -> None:
    """A shell without job control starts `command &` with SIGINT ignored, and the console script
    keeps that for SIGTERM too."""
    code = (
        "import signal, benchmark.cli as c; c.invoke = lambda a: "
        "print(repr(signal.getsignal(signal.SIGTERM))) or 0; c.main()"
    )
    for trap, expected in (
        ("trap '' TERM; ", "<Handlers.SIG_IGN"),
        ("", "<function _raise_interrupt"),
    ):
        done = subprocess.run(
            ["sh", "-c", f'{trap}exec "$0" -c "$1"', sys.executable, code],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert done.stdout.startswith(expected), done


@pytest.mark.slow
def test_a_long_folder_for_temporary_files_is_worked_round(tmp_path: Path) -> None:
    """A UNIX socket's name has 107 characters; on clusters TMPDIR alone may have more."""
    long = tmp_path / "/".join(["scratch-of-this-job"] * 6)
    long.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", "--runs", str(tmp_path / "runs"), *DIGITS],
        env={**os.environ, "TMPDIR": str(long)},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 finished" in done.stdout


def test_what_the_system_refuses_to_start_is_told_with_a_remedy() -> None:
    """`daemon` is the container engine's failure; a process table that is full is not."""

    def refuse(job: Job, limit: float | None) -> base.Running:
        raise OSError(11, "Resource temporarily unavailable")

    job = Job(
        name="x",
        trial_id="t",
        out=Path("none"),
        data=Path(),
        cache=Path(),
        device="cpu",
        precision="fp32",
        threads=1,
    )
    (end,) = base.JobLoop(refuse, lambda job, status: JobOutcome(job, "finished"), lambda *_: None)(
        [job], 1, None
    )
    assert (end.state, end.kind) == ("failed", FailureKind.program)
    assert "temporarily unavailable" in end.message
    assert "ulimit -u" in end.message


# ------------------------------------------------------------------------------------------ streams


def albench(shell: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which $A is the command; the exit code is that of the whole line."""
    env = {**os.environ, "A": f"{sys.executable} -m benchmark"} | variables
    return subprocess.run(
        ["bash", "-c", shell], env=env, capture_output=True, text=True, errors="replace", cwd=ROOT
    )


def test_a_reader_that_goes_away_changes_no_exit_code() -> None:
    """README's exit codes hold for `albench ... | head` too: 0 stays 0, 2 stays 2."""
    done = albench("$A show tod/cifar10 | head -n 1; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (0, "")
    done = albench("$A show tod/cifar10 | true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (0, "")
    done = albench("($A show no/such 2>&1) | true; exit ${PIPESTATUS[0]}")
    assert done.returncode == 2


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_change_no_exit_code(closed: str) -> None:
    assert albench(f"$A ls {closed}").returncode == 0
    assert albench(f"$A show no/such {closed}").returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_encoding_can_show_a_suite(encoding: str) -> None:
    done = albench("$A show tod/cifar10", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("〃" in done.stdout) == (encoding == "utf-8")
    assert "protocol.training.epochs" in done.stdout


def test_a_user_without_a_name_or_a_home_gets_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As `docker run -u`, OpenShift and some crons start programs: `Path.home()` would raise in
    libraries."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(RuntimeError):
        Path.home()
    monkeypatch.setenv("HOME", "")
    monkeypatch.setenv("USER", "")  # so that both are put back afterwards
    process.ensure_home()
    assert Path.home() == Path(tempfile.gettempdir())
    assert getpass.getuser() == str(os.getuid())

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "me")
    process.ensure_home()
    assert (Path.home(), getpass.getuser()) == (tmp_path, "me")

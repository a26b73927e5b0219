"""Stand-ins for Slurm's commands on PATH: `install(folder)` writes them, and this file is what they
run. Jobs are processes of this machine; what Slurm knows of one is a folder of small files.

A job: `state`, `restarts`, `pid` of the program that srun became, `script`, `array`. A file
`requeue` makes the end of the program a return into the queue, `hold` keeps a job in the queue.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scancel", "scontrol")
FOLDER = "FAKE_SLURM"
"""Variable that names the folder of jobs."""


def install(folder: Path) -> dict[str, str]:
    """Variables under which the commands are found; `folder` receives them and the jobs."""
    tools, jobs = folder / "tools", folder / "jobs"
    tools.mkdir(parents=True)
    jobs.mkdir()
    for name in COMMANDS:
        path = tools / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -ISs {__file__} {name} "$@"\n')
        path.chmod(0o755)
    return {FOLDER: str(jobs), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}


def jobs(folder: Path) -> list[Path]:
    """Folders of all jobs, in the order of their submission."""
    return sorted(folder.glob("*"), key=lambda path: [int(n) for n in path.name.split("_")])


def put(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def sbatch(script: str) -> None:
    root = Path(os.environ[FOLDER])
    if (root.parent / "refuse").exists():
        sys.exit("sbatch: error: Invalid account or account/partition combination specified")
    text = Path(script).read_text()
    array = re.search(r"^#SBATCH --array=0-(\d+)%\d+$", text, re.MULTILINE)
    number = 100 + len({path.name.partition("_")[0] for path in root.glob("*")})
    indices = [None] if array is None else range(int(array[1]) + 1)
    for index in indices:
        job = root / (f"{number}" if index is None else f"{number}_{index}")
        job.mkdir()
        put(job / "script", text)
        put(job / "state", "PENDING")
        put(job / "restarts", "0")
        subprocess.Popen(
            [sys.executable, "-ISs", __file__, "supervise", str(job)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    print(f"Submitted batch job {number}")


def supervise(folder: str) -> None:
    """Run a job's script until it ends and is not to be queued again."""
    job = Path(folder)
    number, _, index = job.name.partition("_")
    while True:
        while (job.parent.parent / "hold").exists() and state(job) == "PENDING":
            time.sleep(0.05)
        if state(job) == "CANCELLED":
            return
        restarts = int((job / "restarts").read_text())
        variables = {"SLURM_JOB_ID": number, "FAKE_JOB": str(job)}
        variables |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index} if index else {}
        variables |= {"SLURM_RESTART_COUNT": str(restarts)} if restarts else {}
        put(job / "state", "RUNNING")
        code = subprocess.run(
            ["bash", str(job / "script")], env={**os.environ, **variables}, start_new_session=True
        ).returncode
        (job / "pid").unlink(missing_ok=True)
        if (job / "requeue").exists():
            (job / "requeue").unlink()
            put(job / "restarts", str(restarts + 1))
            put(job / "state", "PENDING")
            continue
        if (job / "fate").exists():  # Slurm ended it
            put(job / "state", (job / "fate").read_text())
        else:
            put(job / "state", "COMPLETED" if code == 0 else "FAILED")
        return


def srun(*words: str) -> None:
    """Become the program, with its output where it belongs."""
    job, rest = Path(os.environ["FAKE_JOB"]), list(words)
    places = {}
    while rest[0].startswith("--"):
        option = rest.pop(0)
        if option in ("--output", "--error"):
            places[option] = rest.pop(0)
    name = job.name
    for option, handle in (("--output", 1), ("--error", 2)):
        path = places[option].replace("%A_%a", name).replace("%j", name).replace("%t", "0")
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(target, handle)
    put(job / "pid", str(os.getpid()))
    os.execvp(rest[0], rest)


def sacct(*words: str) -> None:
    print("JobID|State|NodeList")
    wanted = {word for word in words if word.isdecimal()}
    for job in jobs(Path(os.environ[FOLDER])):
        if job.name.partition("_")[0] in wanted:
            print(f"{job.name}|{state(job)}|node1")


def scancel(*words: str) -> None:
    job = Path(os.environ[FOLDER]) / words[-1]
    if "--state=PENDING" in words:
        if state(job) == "PENDING":
            put(job / "state", "CANCELLED")
    elif "--signal=TERM" in words:
        send(job, signal.SIGTERM)
    elif state(job) == "PENDING":
        put(job / "state", "CANCELLED")
    elif state(job) == "RUNNING":
        put(job / "fate", "CANCELLED by 1000")
        send(job, signal.SIGTERM)
        send(job, signal.SIGKILL)


def scontrol(verb: str, name: str) -> None:
    assert verb == "requeue"
    put(Path(os.environ[FOLDER]) / name / "requeue", "")


def state(job: Path) -> str:
    return (job / "state").read_text()


def send(job: Path, number: int) -> None:
    """Send a signal to a job's program, if it has begun."""
    if (job / "pid").exists():
        os.kill(int((job / "pid").read_text()), number)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {
        "sbatch": sbatch,
        "srun": srun,
        "sacct": sacct,
        "scancel": scancel,
        "scontrol": scontrol,
        "supervise": supervise,
    }[command](*arguments)

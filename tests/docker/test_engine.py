"""The container contract and every way a trial can end, on a real engine with a tiny image."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import ExecutorError
from benchmark.executors.docker.sandbox import NOBODY, Limits
from benchmark.executors.jobs import FailureKind, Job, JobOutcome, JobStarted
from benchmark.runs.events import TrialFinished, TrialStarted
from benchmark.runs.lock import lock_run
from benchmark.runs.store import check_record
from tests.helpers.docker_host import MEMORY, Bench
from tests.helpers.waiting import patience, wait_for

pytestmark = pytest.mark.docker

EXPECTED_USER = NOBODY if os.geteuid() == 0 else (os.getuid(), os.getgid())
WAITS = (
    "trap 'echo asked; exit 75' TERM; echo ready; touch /out/ready; while true; do sleep 0.1; done"
)
"""A worker that stops when it is asked to."""


def execute(
    bench: Bench, job: Job, deadline: float | None = None, **options: Any
) -> tuple[JobOutcome, list[Any]]:
    seen: list[Any] = []
    limit = None if deadline is None else time.monotonic() + deadline
    (end,) = bench.executor(**options).run(
        [job], jobs_at_once=1, deadline=limit, on_event=lambda _, event: seen.append(event)
    )
    return end, seen


def until(condition: Callable[[], Any]) -> Any:
    """What the condition gives as soon as it is true; see `wait_for`."""
    found: list[Any] = []
    wait_for(lambda: (now := condition()) and found.append(now) is None)
    return found[0]


def meanwhile(act: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def log(job: Job) -> str:
    return (job.out / "worker.log").read_text()


# ------------------------------------------------------------------------------------- the contract


def test_a_trial_runs_and_answers_through_files(bench: Bench) -> None:
    job = bench.job("echo working; finish")
    end, seen = execute(bench, job)
    assert end == JobOutcome(job, "finished")
    assert isinstance(seen[0], JobStarted)
    assert [type(event) for event in seen[1:3]] == [TrialStarted, seen[2].__class__]
    assert isinstance(seen[-2], TrialFinished)
    assert seen[-1] == end
    assert check_record(job.out).trial_id == job.trial_id
    assert log(job) == "working\n"
    written = job.out / "work" / "record.json"
    assert (written.stat().st_uid, written.stat().st_gid) == EXPECTED_USER


def test_what_a_container_may_do(bench: Bench) -> None:
    refused = ["/x", "/in/x", "/in/trial.json", "/data/x", "/etc/x", "/bin/x"]
    tries = "; ".join(f"touch {path} 2>/dev/null && echo wrote {path}" for path in refused)
    script = f"""
{tries}
for path in /out/ok /cache/ok /tmp/ok; do touch $path && echo may $path; done
echo 'echo ran' > /tmp/program; chmod +x /tmp/program; sh -c /tmp/program
echo user $(id -u) $(id -g)
echo nets $(ls /sys/class/net)
grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null
echo pids $(cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null)
env
echo first $(cat /proc/1/cmdline)
echo args "$@"
finish"""
    job = bench.job(script, save_every=5.0)
    end, _ = execute(bench, job, deadline=60, limits=Limits(MEMORY, pids=77))
    assert end.state == "finished"
    said = log(job)
    lines = said.splitlines()
    assert "wrote" not in said
    assert [line for line in lines if line.startswith("may")] == [
        "may /out/ok",
        "may /cache/ok",
        "may /tmp/ok",
    ]
    assert "ran" in lines, "compiled kernels need an executable /tmp"
    assert f"user {EXPECTED_USER[0]} {EXPECTED_USER[1]}" in lines
    assert "nets lo" in lines
    fields = dict(line.split(":\t") for line in lines if ":\t" in line)
    assert {int(fields[name], 16) for name in ("CapEff", "CapBnd")} == {0}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert str(MEMORY) in lines
    assert "pids 77" in lines
    variables = {
        "HOME=/tmp",
        "PYTHONHASHSEED=0",
        "OMP_NUM_THREADS=1",
        "TZ=UTC",
        f"ALBENCH_IMAGE={bench.engine.image}",
    }
    assert variables <= set(lines)
    assert not [line for line in lines if "proxy" in line.lower()]
    arguments = next(line for line in lines if line.startswith("args "))
    assert arguments.startswith(
        "args /in/trial.json /out --data /data --cache /cache --device cpu --precision fp32"
    )
    assert "--time-limit 5" in arguments
    assert "--save-every 5" in arguments
    assert "init" in next(line for line in lines if line.startswith("first "))


def test_the_image_is_named_by_its_id_and_labels_tell_whose_it_is(bench: Bench) -> None:
    job = bench.job(WAITS)
    found: list[Any] = []

    def look() -> None:
        until((job.out / "work" / "ready").exists)
        found.extend(container.attrs for container in bench.containers())

    meanwhile(look)
    end, _ = execute(bench, job, deadline=patience(4))
    assert end.state == "stopped"
    (attributes,) = found
    assert attributes["Image"] == attributes["Config"]["Image"] == bench.engine.image
    labels = attributes["Config"]["Labels"]
    assert labels["albench.trial"] == job.trial_id
    assert labels["albench.env"] == job.out.name
    assert labels["albench.lease"].endswith(f"/{os.getpid()}")


def test_data_behind_links_and_plug_ins_are_seen(bench: Bench, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "images").write_text("pixels")
    plugin = tmp_path / "mine.py"
    plugin.write_text("# mine")
    job = bench.job(f"cat /data/linked/images; cat {plugin}; finish")
    (job.data / "linked").symlink_to(elsewhere)
    path = job.out / "trial.json"
    path.write_text(path.read_text().replace('"name": "random"', f'"name": "{plugin}:Mine"', 1))
    execute(bench, job)
    assert log(job) == "pixels# mine"


def test_several_at_once(bench: Bench) -> None:
    """Each waits for all the others, in the cache that they share."""
    meet = "; ".join(f"while [ ! -e /cache/{seed} ]; do sleep 0.1; done" for seed in range(4))
    chosen = [bench.job(f"touch /cache/{seed}; {meet}; finish", seed) for seed in range(4)]
    limit = time.monotonic() + patience()
    ends = bench.executor().run(chosen, jobs_at_once=4, deadline=limit, on_event=lambda *_: None)
    assert [end.state for end in ends] == ["finished"] * 4


# --------------------------------------------------------------------------------- how a trial ends


def test_a_deadline_is_kept(bench: Bench) -> None:
    end, _ = execute(bench, bench.job(WAITS), deadline=patience(2))
    assert (end.state, end.kind) == ("stopped", None)


def test_who_does_not_stop_is_killed(bench: Bench) -> None:
    job = bench.job("trap '' TERM; while true; do sleep 0.1; done")
    start = time.monotonic()
    end, _ = execute(bench, job, deadline=1, grace=1.0)
    assert (end.state, end.kind) == ("failed", FailureKind.timeout)
    assert time.monotonic() - start < patience(10)


def test_out_of_memory(bench: Bench) -> None:
    job = bench.job("echo starving; exec tail /dev/zero")
    end, _ = execute(bench, job)
    assert (end.state, end.kind) == ("failed", FailureKind.oom)
    assert end.log == ("starving",)


def test_a_program_that_fails(bench: Bench) -> None:
    job = bench.job("echo it broke here >&2; exit 3")
    end, _ = execute(bench, job)
    assert (end.state, end.kind) == ("failed", FailureKind.program)
    assert end.log == ("it broke here",)


def test_a_container_that_somebody_kills(bench: Bench) -> None:
    job = bench.job(WAITS)
    meanwhile(lambda: until((job.out / "work" / "ready").exists) and bench.containers()[0].kill())
    end, _ = execute(bench, job)
    assert (end.state, end.kind) == ("failed", FailureKind.program)
    assert "signal 9" in end.message


def test_a_container_that_somebody_removes(bench: Bench) -> None:
    job = bench.job(WAITS)
    meanwhile(
        lambda: (
            until((job.out / "work" / "ready").exists) and bench.containers()[0].remove(force=True)
        )
    )
    end, _ = execute(bench, job)
    assert (end.state, end.kind) == ("failed", FailureKind.cancelled)


def test_a_missing_image(bench: Bench) -> None:
    end, _ = execute(bench, bench.job(), image_id="sha256:" + "0" * 64)
    assert (end.state, end.kind) == ("failed", FailureKind.image)
    with pytest.raises(ExecutorError):
        bench.executor(image_id="sha256:" + "0" * 64).environment("cpu", "fp32", 1)


def test_an_image_without_the_worker(bench: Bench) -> None:
    end, _ = execute(bench, bench.job(), command=("python", "-m", "benchmark.worker"))
    assert (end.state, end.kind) == ("failed", FailureKind.image)
    with pytest.raises(ExecutorError):
        bench.executor().environment("cpu", "fp32", 1)


def test_a_gpu_where_there_is_none(bench: Bench) -> None:
    if "nvidia" in bench.engine.client.info().get("Runtimes", {}):
        pytest.skip("this engine has GPUs")
    end, _ = execute(bench, bench.job(device="cuda"), gpus=["0"])
    assert (end.state, end.kind) == ("failed", FailureKind.gpu_lost)
    assert "toolkit" in end.message
    with pytest.raises(ExecutorError, match="GPU"):
        bench.executor(gpus=["0"]).environment("cuda", "fp32", 1)


def test_a_run_folder_in_use(bench: Bench) -> None:
    job = bench.job()
    with lock_run(job.out):
        end, _ = execute(bench, job)
    assert (end.state, end.kind) == ("failed", FailureKind.busy)


def test_a_folder_that_cannot_be_mounted(bench: Bench, tmp_path: Path) -> None:
    job = bench.job()
    (job.out / "trial.json").unlink()
    end, _ = execute(bench, job)
    assert (end.state, end.kind) == ("failed", FailureKind.daemon)
    assert not (job.out / "trial.json").exists(), "nothing was made in its place"


# -------------------------------------------------------------------------- when the host goes away


def host(bench: Bench, job: Job, tmp_path: Path) -> subprocess.Popen[str]:
    """A process of its own that runs the job."""
    options = {
        "image_id": bench.engine.image,
        "limits": Limits(MEMORY),
        "command": ("sh", "/data/script.sh"),
        "grace": 20.0,
    }
    given = tmp_path / "host.pickle"
    given.write_bytes(pickle.dumps((job, bench.engine.host, options)))
    command = [sys.executable, str(Path(__file__).with_name("host.py")), str(given)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_saves_and_leaves_nothing(bench: Bench, tmp_path: Path) -> None:
    job = bench.job(WAITS)
    process = host(bench, job, tmp_path)
    until((job.out / "work" / "ready").exists)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=patience())
    assert "END stopped cancelled" in said
    assert "asked" in log(job)
    assert not bench.containers()


def test_a_killed_host_loses_nothing(bench: Bench, tmp_path: Path) -> None:
    script = "echo began >> /out/count; while [ ! -e /out/go ]; do sleep 0.1; done; finish"
    job = bench.job(script)
    process = host(bench, job, tmp_path)
    until((job.out / "work" / "count").exists)
    process.kill()
    process.wait()
    (container,) = bench.containers()
    assert bench.executor().sweep() == [], "it is still at work"
    meanwhile(lambda: time.sleep(1) or (job.out / "work" / "go").touch())
    end, seen = execute(bench, job)
    assert end.state == "finished"
    assert container.short_id in seen[0].where, "the same container was taken over"
    assert (job.out / "work" / "count").read_text() == "began\n"
    assert not bench.containers()


@pytest.mark.parametrize("changed", [{"precision": "tf32"}, {"fresh": True}])
def test_a_left_container_of_another_question_is_ended(
    bench: Bench, tmp_path: Path, changed: dict[str, Any]
) -> None:
    job = bench.job(
        "echo began >> /out/count; [ $(grep -c began /out/count) = 1 ] || { finish; exit 0; }; "
        + WAITS
    )
    process = host(bench, job, tmp_path)
    until((job.out / "work" / "ready").exists)
    process.kill()
    process.wait()
    end, _ = execute(bench, replace(job, **changed))
    assert end.state == "finished"
    assert "asked" in log(job)


def test_sweeping_takes_only_what_nobody_holds(bench: Bench, tmp_path: Path) -> None:
    job = bench.job("echo began; touch /out/ready; sleep 3")
    process = host(bench, job, tmp_path)
    until((job.out / "work" / "ready").exists)
    foreign = bench.engine.client.containers.create(
        bench.engine.image, ["true"], labels={"other": "1"}
    )
    labels = dict(bench.containers()[0].labels)
    elsewhere = bench.engine.client.containers.create(
        bench.engine.image, ["true"], labels=labels | {"albench.host": "else"}
    )
    try:
        assert bench.executor().sweep(running=True) == [], "its host process lives"
        process.kill()
        process.wait()
        until(
            lambda: (
                [found.status for found in bench.containers() if found.id != elsewhere.id]
                == ["exited"]
            )
        )
        assert len(bench.executor().sweep()) == 1
        assert "began" in log(job)
        assert {foreign.id, elsewhere.id} <= {
            found.id for found in bench.engine.client.containers.list(all=True)
        }
    finally:
        foreign.remove(force=True)
        elsewhere.remove(force=True)


# ------------------------------------------------------------------------ when the engine goes away


def needs_own(bench: Bench) -> None:
    if bench.engine.folder is None:
        pytest.skip("only an engine of our own may be restarted")


def test_an_engine_restarted_in_the_middle(bench: Bench) -> None:
    needs_own(bench)
    job = bench.job(
        "echo began >> /out/count; [ $(grep -c began /out/count) = 1 ] || { finish; exit 0; }; "
        + WAITS
    )

    def restart() -> None:
        until((job.out / "work" / "ready").exists)
        bench.engine.stop()
        bench.engine.start()

    thread = meanwhile(restart)
    end, seen = execute(bench, job)
    thread.join()
    assert end.state == "finished"
    assert [event for event in seen if isinstance(event, JobOutcome)] == [end], (
        "only the last word is told"
    )
    assert (job.out / "work" / "count").read_text() == "began\nbegan\n"


def test_an_engine_that_does_not_come_back(bench: Bench) -> None:
    needs_own(bench)
    job = bench.job(WAITS)
    thread = meanwhile(lambda: until((job.out / "work" / "ready").exists) and bench.engine.stop())
    try:
        end, seen = execute(bench, job, patience=2.0)
    finally:
        thread.join()
        bench.engine.start()
    assert (end.state, end.kind) == ("failed", FailureKind.daemon)
    assert seen[-1] == end
    assert len(bench.executor().sweep()) == 1

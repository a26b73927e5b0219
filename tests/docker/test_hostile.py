"""What code in a container may try against the host, on a real engine: one test per attack of
docs/threat-model.md.

The worker is a shell script that does its worst in what it can write to. Whatever it leaves there,
the host's files stay as they are, nothing of them is taken for the trial's, the host comes to an
end, and it says what it found.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.executors.jobs import Job, JobOutcome
from benchmark.runs.events import TrialStarted
from benchmark.runs.store import Store, check_record
from benchmark.spec.suite import Component
from tests.docker.test_engine import execute
from tests.helpers.docker_host import Bench
from tests.helpers.runs import say_started, toy_trial

pytestmark = pytest.mark.docker

SECRET = "TOP-SECRET"
GUEST = Component(name="their.package:Strategy", code="e" * 64)
SECONDS = 25.0
"""In which the host must be done with a worker that would go on for a minute."""


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of the host's user, outside of everything that a container sees."""
    path = tmp_path / "home" / "authorized_keys"
    path.parent.mkdir()
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


def untouched(victim: Path) -> None:
    assert victim.read_text() == SECRET
    assert (victim.stat().st_mode & 0o777, victim.stat().st_uid) == (
        0o600,
        victim.parent.stat().st_uid,
    )


def attack(
    bench: Bench, script: str, job: Job | None = None, **changes: object
) -> tuple[Job, JobOutcome]:
    job = bench.job(script, **changes) if job is None else job  # type: ignore[arg-type]
    began = time.monotonic()
    end, seen = execute(bench, job)
    assert time.monotonic() - began < SECONDS, "the host waited for its guest"
    assert not any(isinstance(event, TrialStarted) and event.cycle == 99 for event in seen), (
        "a file of the host was read"
    )
    assert not bench.containers()
    return job, end


# ------------------------------------------------------------------------------------- what it sees


def test_it_sees_nothing_that_is_the_hosts(bench: Bench) -> None:
    job, end = attack(
        bench,
        'echo there: $(ls -A /out); echo "see $(cat /in/trial.json | grep -c trial_id)"; finish',
    )
    assert end.state == "finished"
    assert "there:\n" in (job.out / "worker.log").read_text()
    assert sorted(path.name for path in job.out.iterdir()) == [
        "lease",
        "trial.json",
        "work",
        "worker.log",
    ]


def test_hard_links_to_what_it_can_read(bench: Bench) -> None:
    (bench.root / "cache").mkdir()
    (bench.root / "cache" / "entry").write_text("shared")
    tries = "; ".join(
        f"ln {path} /out/hard && echo linked {path}"
        for path in ("/in/trial.json", "/data/script.sh", "/cache/entry")
    )
    job, end = attack(bench, f"{tries}; finish")
    assert end.state == "finished"
    assert "linked" not in (job.out / "worker.log").read_text()
    assert not (job.out / "work" / "hard").exists()


# ----------------------------------------------------------------------------------- files by links


def test_a_log_that_leads_to_another_file(bench: Bench, victim: Path) -> None:
    job, _ = attack(bench, f"ln -s {victim} /out/worker.log; echo ATTACKERS-KEY; finish")
    untouched(victim)
    assert "ATTACKERS-KEY" in (job.out / "worker.log").read_text()


def test_a_lease_that_leads_to_another_file(bench: Bench, victim: Path) -> None:
    job, _ = attack(bench, f"ln -s {victim} /out/lease; ln -s {victim} /out/trial.json; finish")
    attack(bench, "", replace(job, fresh=True))
    untouched(victim)


@pytest.mark.parametrize("name", ["indices.npz", "notes", "state"])
def test_results_that_lead_to_another_file(bench: Bench, victim: Path, name: str) -> None:
    """The trial is not finished: what it left is named, and nobody takes it for a result later."""
    job, end = attack(bench, f"finish; ln -s {victim} /out/{name}")
    untouched(victim)
    assert end.state == "failed"
    assert f"{name} is a link" in end.message
    with pytest.raises(ValueError, match=f"{name} is a link"):
        check_record(job.out)
    assert bench.store.records() == []


@pytest.mark.parametrize("name", ["record.json", "events.jsonl"])
def test_a_record_and_events_that_lead_to_another_file(
    bench: Bench, victim: Path, name: str
) -> None:
    say_started(victim.parent, toy_trial(5))
    foreign = victim.parent / "events.jsonl"
    foreign.write_text(foreign.read_text().replace('"cycle":0', '"cycle":99'))
    target = foreign if name == "events.jsonl" else victim
    _, end = attack(bench, f"finish; rm -f /out/{name}; ln -s {target} /out/{name}; sleep 1")
    untouched(victim)
    assert end.state == "failed"
    assert "is a link" in end.message


def test_a_state_that_leads_to_another_folder(bench: Bench, victim: Path) -> None:
    for name in ("cycle.state", ".x.partial"):
        (victim.parent / name).write_text(SECRET)
    job, _ = attack(bench, f"ln -s {victim.parent} /out/state; exit 3")
    assert bench.store.status(toy_trial(0), job.out.name).state != "resumable", (
        "what lies elsewhere"
    )
    assert bench.store.clean() == []
    attack(bench, "", job)  # root gives what the container may write to the container's user
    untouched(victim)
    assert (victim.parent / "cycle.state").stat().st_uid == victim.stat().st_uid
    assert (victim.parent / ".x.partial").exists()


def test_events_exchanged_for_a_link_again_and_again(bench: Bench, victim: Path) -> None:
    """Between a look at a file and its opening."""
    say_started(victim.parent, toy_trial(5))
    foreign = victim.parent / "events.jsonl"
    foreign.write_text(foreign.read_text().replace('"cycle":0', '"cycle":99') * 50)
    turn = (
        f"ln -s {foreign} /out/l; mv /out/l /out/events.jsonl; cp /data/events.jsonl /out/f; mv "
        "/out/f /out/events.jsonl"
    )
    attack(bench, f"i=0; while [ $i -lt 400 ]; do {turn}; i=$((i+1)); done; exit 3")
    untouched(victim)


# ------------------------------------------------------------------------------ what makes one wait


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ("mkfifo /out/events.jsonl", "is a FIFO"),
        ("ln -s /dev/zero /out/events.jsonl", "is a link"),
        ("mkdir /out/events.jsonl", "is a folder"),
        ("truncate -s 1000G /out/events.jsonl", "has 1,073,741,824,000 bytes"),
    ],
    ids=["fifo", "endless", "folder", "sparse giant"],
)
def test_events_that_cannot_be_read(bench: Bench, make: str, said: str) -> None:
    """The worker is ended at once, and its trial says why."""
    _, end = attack(bench, f"rm -f /out/events.jsonl; {make}; sleep 60")
    assert (end.state, str(end.kind)) == ("failed", "program")
    assert said in end.message


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ("mkfifo /out/record.json", "is a FIFO"),
        ("truncate -s 1000G /out/record.json", "bytes, more than"),
        (
            "dd if=/dev/zero bs=1k count=100 2>/dev/null | tr '\\0' '[' > /out/record.json",
            "is not a record",
        ),
        (
            "dd if=/dev/zero bs=1M count=1 2>/dev/null | tr '\\0' '9' > /out/record.json",
            "is not a record",
        ),
    ],
    ids=["fifo", "sparse giant", "deep", "long number"],
)
def test_a_record_that_cannot_be_read(bench: Bench, make: str, said: str) -> None:
    _, end = attack(bench, f"finish; rm /out/record.json; {make}; exit 0")
    assert end.state == "failed"
    assert said in end.message


def test_a_fifo_in_the_place_of_the_log(bench: Bench) -> None:
    job, end = attack(bench, "mkfifo /out/worker.log; echo said; finish")
    assert "worker.log is a FIFO" in end.message
    assert (job.out / "worker.log").read_text().endswith("said\n")


def test_an_event_of_forty_megabytes(bench: Bench) -> None:
    long = (
        "dd if=/dev/zero bs=1M count=40 2>/dev/null | tr '\\0' 'x' >> /out/events.jsonl; echo >> "
        "/out/events.jsonl"
    )
    job, end = attack(bench, f"{long}; finish")
    assert end.state == "finished", "what is no event is passed over"
    assert check_record(job.out)


# ------------------------------------------------------------------------------------- what it says


def test_words_that_are_escapes(bench: Bench) -> None:
    evil = "printf '\\033]0;owned\\007\\033[2Jhttp://bob:s3cretpw@tracker/x\\n'"
    _, end = attack(bench, f"{evil}; : > \"/out/$(printf '\\033[31mname')\"; exit 3")
    shown = "\n".join([end.message, *end.log])
    assert "\x1b" not in shown and "\x07" not in shown
    assert "s3cretpw" not in shown and "tracker/x" in shown


# ---------------------------------------------------------------------------------- what others use


def test_the_shared_cache_is_not_a_guests(bench: Bench) -> None:
    """Decoded data, the index of what is published, and first trainings: what baselines are made
    from."""
    for name in ("data/index/a.json", "data/digits/entry.json", "trainings/b.state"):
        (bench.root / "cache" / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.root / "cache" / name).write_text("ours")
    before = sorted((bench.root / "cache").rglob("*"))
    tries = (
        "for path in data/index/a.json data/digits/entry.json trainings/b.state new trainings/new; "
        "do\n"
        "  { echo theirs > /cache/$path; } 2>/dev/null && echo wrote $path\n"
        "  rm -f /cache/$path 2>/dev/null && [ ! -e /cache/$path ] && echo gone $path\n"
        "done; mkdir -p /out/state/cache && echo own > /out/state/cache/x && echo may; echo args "
        '"$@"'
    )
    job, _ = attack(bench, tries, strategy=GUEST)
    said = (job.out / "worker.log").read_text()
    assert "wrote" not in said
    assert "gone data" not in said and "gone trainings/b" not in said
    assert "may\n" in said
    assert "--cache /out/state/cache --shared /cache" in said
    assert sorted((bench.root / "cache").rglob("*")) == before
    assert {path.read_text() for path in before if path.is_file()} == {"ours"}


def test_code_of_ours_shares_what_it_makes(bench: Bench) -> None:
    job, end = attack(bench, 'echo made > /cache/x && echo may; echo args "$@"; finish')
    assert end.state == "finished"
    said = (job.out / "worker.log").read_text()
    assert "may\n" in said and "--cache /cache" in said and "--shared" not in said
    assert Store(bench.root / "runs").records()

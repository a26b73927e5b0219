"""The command line, end to end with a fake worker: verbs, exit codes, messages, what is
imported."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

import benchmark.api.plan as planning
from benchmark.api.suites import describe, schema_text
from benchmark.cli import guide, invoke
from benchmark.cli.group import VERBS, albench, hoist
from benchmark.cli.options import Seconds
from benchmark.cli.tables import make_ticker
from benchmark.errors import AlbenchError
from benchmark.executors.local import executor as local
from benchmark.planning.plan import DataStatus, Plan, data_key
from benchmark.runs import environment as provenance
from benchmark.runs.store import Store
from benchmark.spec.load import find_suite
from benchmark.spec.suite import Cost
from tests.executors import fake_worker as fake
from tests.helpers.runs import ENVIRONMENT, SUITE, write_suite
from tests.helpers.waiting import patience, wait_for

ROOT = Path(__file__).parents[2]
GOOD = DataStatus(name="digits", present=True, digest="d" * 64, canonical=True, note="")


class Cli:
    """Runs command lines in this process and keeps what they said."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        places = [
            "--suites",
            str(self.folder / "suites"),
            "--runs",
            str(self.folder / "runs"),
            "--data",
            str(self.folder),
        ]
        code = invoke([*places, *arguments])
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.out + self.err
        return code

    def run(self, *arguments: str) -> int:
        return self("run", "--no-tracking", "--device", "cpu", "--jobs", "4", *arguments)

    @property
    def store(self) -> Store:
        return Store(self.folder / "runs")


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A toy suite, data that are there, and the fake worker."""
    write_suite(tmp_path / "suites")
    monkeypatch.setattr(local, "WORKER", "tests.executors.fake_worker")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(provenance, "describe_environment", lambda *_, **__: ENVIRONMENT)
    data_are(monkeypatch, GOOD)
    return Cli(tmp_path, capsys)


def data_are(monkeypatch: pytest.MonkeyPatch, status: DataStatus) -> None:
    monkeypatch.setattr(
        planning,
        "data_statuses",
        lambda asked, _: {data_key(item.trial.protocol.data): status for item in asked},
    )


# --------------------------------------------------------------------------------- what is imported

HEAVY = {
    "numpy",
    "torch",
    "torchvision",
    "mlflow",
    "docker",
    "ray",
    "scipy",
    "matplotlib",
    "sklearn",
    "statsmodels",
}


@pytest.mark.parametrize(
    ("arguments", "banned"),
    [
        (["--help"], HEAVY | {"pydantic"}),
        (["run", "--help"], HEAVY),
        (["ls"], HEAVY | {"pydantic"}),
        (["show", "tod/cifar10"], HEAVY),
        (
            ["compare", "quickstart/digits", "--runs", "nowhere"],
            HEAVY - {"numpy", "scipy"} | {"pandas", "jinja2"},
        ),
        (["show", "tod/cifar10", "--json"], HEAVY),
    ],
)
def test_light_verbs_import_nothing_heavy(arguments: list[str], banned: set[str]) -> None:
    code = (
        f"import sys; from benchmark.cli import invoke; c = invoke({arguments}); print('LOADED', "
        "c, *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = done.stdout.splitlines()[-1].split()
    assert loaded[:2] == ["LOADED", "3" if arguments[0] == "compare" else "0"]
    assert not banned & {name.partition(".")[0] for name in loaded}


def test_being_asked_to_end_is_an_interrupt_that_leaves_nothing_behind(tmp_path: Path) -> None:
    code = (
        "import sys, tempfile, time; from benchmark import cli\n"
        "def invoke(_):\n"
        "    with tempfile.TemporaryDirectory(): print('here', flush=True); time.sleep(60)\n"
        "cli.invoke = invoke; cli.main()"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=patience(30))
    assert (process.returncode, said) == (130, "")
    assert not list(tmp_path.iterdir())


def test_every_verb_has_help(cli: Cli) -> None:
    assert cli("--help") == 0
    listed = re.findall(r"^│ ([\w-]+) ", cli.out, re.MULTILINE)
    assert sorted(name for name in listed if not name.startswith("-")) == sorted(VERBS), (
        "each once, in its group"
    )
    assert (
        {verb for verbs in guide.VERBS.values() for verb in verbs}
        == set(VERBS)
        == set(guide.EXAMPLES)
    )
    for verb in VERBS:
        assert cli(verb, "--help") == 0, verb
        assert cli.out.split()[:3] == ["Usage:", "albench", verb]
        shown = [line.strip() for line in cli.out.partition("Examples:")[2].splitlines()]
        assert set(guide.EXAMPLES[verb]) <= set(shown), "each on a line of its own"


@pytest.mark.parametrize(
    "line", sorted({line for lines in guide.EXAMPLES.values() for line in lines})
)
def test_examples_are_valid_command_lines(line: str) -> None:
    name, *rest = shlex.split(line)[1:]
    with albench.make_context("albench", [name, *rest]) as context:
        albench.get_command(context, name).make_context(name, rest, parent=context)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("typed", "word", "found"),
    [("albench comp", 1, "compare"), ("albench compare quickstart/digits --ju", 3, "--junit")],
)
def test_shell_completion(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    word: int,
    found: str,
) -> None:
    monkeypatch.setenv("_ALBENCH_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(word))
    assert invoke([]) == 0
    assert capsys.readouterr().out.splitlines() == [f"plain,{found}"]
    monkeypatch.setenv("_ALBENCH_COMPLETE", "zsh_source")
    assert invoke([]) == 0
    assert capsys.readouterr().out.startswith("#compdef albench")


def test_bare_albench_says_how_to_begin(cli: Cli) -> None:
    assert invoke([]) == 2
    said = cli.capsys.readouterr().out
    for command, _ in guide.BEGIN:
        assert f"  {command}  " in said
        name, *rest = shlex.split(command)[1:]
        with albench.make_context("albench", [name, *rest]) as context:
            albench.get_command(context, name).make_context(name, rest, parent=context)  # type: ignore[union-attr]


def test_global_options_may_stand_anywhere() -> None:
    assert hoist(["run", "x", "--runs", "r", "--data=d", "--", "--runs"]) == [
        "--runs",
        "r",
        "--data=d",
        "run",
        "x",
        "--",
        "--runs",
    ]


def test_options_come_from_the_environment(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALBENCH_SUITES", str(tmp_path / "suites"))
    monkeypatch.setenv("ALBENCH_PLAN_SEEDS", "3")
    monkeypatch.setenv("ALBENCH_RUNS", str(tmp_path / "elsewhere"))
    assert invoke(["plan", "toy/one/random", "--device", "cpu"]) == 0
    assert "toy/one/random@3" in cli.capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Usage"),
        (("nothing",), "No such command"),
        (("plan", "toy/one", "--runs"), "'--runs' requires an argument"),
        (("ls", "toys"), "--suites"),
        (("plan", "toys/*"), "--suites"),
        (("show", "toy/one", "--variant", "correct"), "did you mean corrected"),
        (("plan", "toy/one", "--method", "mine.py"), "mine.py:Class"),
        (("sync", "toy/two"), "did you mean toy/one"),
        (("run",), "SELECTOR"),
        (("run", "toy/one", "--jobs", "0"), "--jobs"),
        (("run", "toy/one", "--time-limit", "soon"), "90s, 9m"),
        (("run", "toy/one", "--device", "gpu"), "cuda:N"),
        (("run", "toy/two"), "did you mean toy/one"),
        (("run", "toy/one", "--methods", "entropie"), "did you mean entropy"),
        (("run", "toy/one", "--profile", "smoky"), "did you mean smoke"),
        (("run", "toy/one", "--method", "gone.py:Mine"), "gone.py"),
        (("plan", "toy/one@x"), "0,1,2 or 0-4"),
        (("plan", "toy/one", "--set", "protocol.training.epochs=many"), "TOML"),
        (("plan", "toy/one", "--set", "protocol.acquisition.budget=1000"), "labels"),
        (
            ("plan", "toy/one", "--set", "protocol.training.epocks=1"),
            "with --set protocol.training.epocks",
        ),
        (
            ("plan", "toy/one", "--set", "protocol.trainings.epochs=1"),
            "--set: 'protocol.trainings.epochs' names nothing",
        ),
        (("show", "toy/none"), "toy/one"),
        (("compare", "toy/none"), "toy/one"),
        (("verify", "toy/one", "--level", "some"), "bitwise"),
        (("fetch", "cifar11"), "cifar10"),
        (("report", "toy/one", "--out", "x", "--publish"), "--publish"),
    ],
)
def test_wrong_usage_is_code_2_with_a_remedy(
    cli: Cli, arguments: tuple[str, ...], words: str
) -> None:
    assert cli(*arguments) == 2
    assert words in cli.out + cli.err


@pytest.mark.parametrize("verb", ["run", "plan", "verify"])
def test_steps_that_a_cpu_cannot_make_are_wrong_usage(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [
        "--runs",
        str(tmp_path),
        verb,
        "quickstart/digits/random@0",
        "--device",
        "cpu",
        "--step",
    ]
    assert invoke([*wanted, "captured"]) == 2
    assert "--step together" in capsys.readouterr().err
    assert invoke([*wanted, "fast"]) == 2


def test_spans_of_time() -> None:
    convert = [Seconds().convert(text, None, None) for text in ("90", "90s", "9m", "1.5h", "2d")]
    assert convert == [90, 90, 540, 5400, 172800]


# ------------------------------------------------------------------------------------------ showing


def test_ls(cli: Cli) -> None:
    assert cli("ls") == 0
    assert cli.out.startswith("toy/one")
    (cli.folder / "suites" / "toy" / "bad.toml").write_text("[")
    assert cli("ls", "toy") == 0
    assert "not valid" in cli.out
    assert cli("ls", "none") == 2


def test_ls_of_a_suite_on_a_base(cli: Cli) -> None:
    write_suite(
        cli.folder / "suites",
        "toy/one-2",
        'base = "one.toml"\ntitle = "Two"\nheadline = "also none"\n',
    )
    write_suite(cli.folder / "suites", "toy/one-3", 'base = "one-2.toml"\ntitle = "Three"\n')
    write_suite(cli.folder / "suites", "toy/round", 'base = "round.toml"\n')
    assert cli("ls") == 0
    assert [line.split()[0] for line in cli.out.splitlines()] == [
        "toy/one",
        "toy/one-2",
        "toy/one-3",
        "toy/round",
    ]
    assert "3 methods  2 seeds  Two; also none" in cli.out
    assert "3 methods  2 seeds  Three; also none" in cli.out
    assert "toy/round  not valid" in cli.out


def test_show(cli: Cli) -> None:
    assert cli("show", "toy/one", "--json") == 0
    facts = json.loads(cli.out)
    values = {item["path"]: item for item in facts["values"]}
    assert values["protocol.training.epochs"] == {
        "path": "protocol.training.epochs",
        "value": 4,
        "source": "a paper, page 3",
        "unknown": False,
    }
    assert values["protocol.training.batch_size"]["unknown"]
    assert all(item["source"] for item in facts["values"])
    assert facts["deviations"]["Q1"]["switches"][0]["corrected"] == 5
    assert cli("show", "toy/one", "--profile", "smoke", "--variant", "corrected", "--json") == 0
    values = {item["path"]: item for item in json.loads(cli.out)["values"]}
    assert (
        values["protocol.acquisition.cycles"]["value"],
        values["protocol.acquisition.cycles"]["pinned"],
    ) == (2, 3)
    assert values["protocol.training.epochs"]["value"] == 5
    assert values["protocol.training.epochs"]["source"] == "deviation Q1, corrected: epochs"
    assert values["protocol.acquisition.cycles"]["source"].startswith("profile smoke: ")
    assert values["protocol.training.batch_size"]["source"] == "ours", "neither of them changes it"
    assert cli("show", "toy/one") == 0
    for words in (
        "protocol.training.epochs",
        "a paper, page 3",
        "Q1",
        "UNKNOWN",
        "Profile smoke",
        "random+cod",
    ):
        assert words in cli.out


def test_a_changed_value_has_the_source_of_its_change() -> None:
    """What a variant replaces by a whole table is its own only where it differs."""
    facts = describe(find_suite("st-conal/cifar10", ROOT / "suites"), variant="cosine_restarts")
    sources = {item["path"]: item["source"] for item in facts["values"]}
    assert sources["protocol.training.schedule.kind"].startswith(
        "variant cosine_restarts: the option lr_CLR_cosine"
    )
    assert sources["protocol.training.schedule.gamma"].startswith("config/ milestones")
    assert sources["protocol.training.epochs"] == "config/ at 43cb8c9"


def test_every_value_of_a_paper_suite_has_a_source() -> None:
    command = [sys.executable, "-m", "benchmark", "show", "tod/cifar10", "--json"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    facts = json.loads(done.stdout)
    assert len(facts["values"]) > 60
    assert all(item["source"] for item in facts["values"])


def test_check_and_schema(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("check", "--quick") == 2
    assert "albench schema" in cli.out
    assert cli("schema", "--check") == 2
    assert cli("schema") == 0
    assert cli("schema", "--check") == 0
    assert cli("check", "--quick") == 0
    schema = json.loads((cli.folder / "suites" / "schema.json").read_text())
    assert schema["properties"]["protocol"]
    write_suite(cli.folder / "suites", "toy/two", SUITE.replace("epochs = 4", "epochs = 0"))
    assert cli("check", "--quick") == 2
    assert re.search(r"two\.toml:\d+: protocol\.training\.epochs", cli.out)
    assert "ok   toy/one" in cli.out


HEADER = "method,labelled,metric,mean,dispersion,dispersion_kind,n,source,reading_error,role,note\n"


@pytest.mark.parametrize(
    ("row", "code", "words"),
    [
        ("random,10,accuracy,50,,,,Table 1,0,target,", 0, ""),
        (
            "rnadom,10,accuracy,50,,,,Table 1,0,target,",
            2,
            "reported.csv:2: 'rnadom' is not a method",
        ),
        ("VAAL,10,accuracy,50,,,,Table 1,0,external,", 0, ""),
        ("random,11,accuracy,50,,,,Table 1,0,target,", 0, "never trains on 11"),
        ("random,ten,accuracy,50,,,,Table 1,0,target,", 2, "reported.csv:2"),
        (
            "random,10,accuracy,50,,,,Table 1,0,target,\nrandom,10,accuracy,51,,,,Table "
            "1,0,target,",
            2,
            "twice",
        ),
    ],
)
def test_check_of_reported_tables(cli: Cli, row: str, code: int, words: str) -> None:
    cli("schema")
    (cli.folder / "suites" / "toy" / "one.reported.csv").write_text(HEADER + row + "\n")
    assert cli("check", "--quick") == code
    assert words in cli.out


def test_check_finds_a_data_set_beside_its_suite(cli: Cli) -> None:
    """A relative path of one's own data set begins at the folder of the suite file, wherever the
    command is given."""
    cli("schema")
    words = (ROOT / "docs/add-a-data-set.md").read_text(encoding="utf-8")
    code = words.partition("```python\n# squares.py\n")[2].partition("```")[0]
    (cli.folder / "suites" / "toy" / "squares.py").write_text(code)
    write_suite(
        cli.folder / "suites", "toy/one", SUITE.replace('"digits"', '"squares.py:Squares"', 1)
    )
    assert cli("check", "--quick") == 0, cli.out
    assert "squares is not there" in cli.out
    (cli.folder / "suites" / "toy" / "squares.py").unlink()
    assert cli("check", "--quick") == 2
    assert "cannot read the plug-in squares.py" in cli.out


# ------------------------------------------------------------------------------------------ running


def test_plan_is_a_value(cli: Cli) -> None:
    assert cli("plan", "toy/one@0", "--device", "cpu", "--json") == 0
    first = Plan.model_validate_json(cli.out)
    assert cli("plan", "toy/one@0", "--device", "cpu", "--json") == 0
    assert Plan.model_validate_json(cli.out).digest == first.digest
    assert [planned.trial.method_name for planned in first.trials] == [
        "random",
        "entropy",
        "random+cod",
    ]
    assert not (cli.folder / "runs").exists(), "planning writes nothing"
    assert cli("plan", "toy/one@0", "--device", "cpu", "--only", "toy/one/entropy") == 0
    assert "1 trial: 1 new" in cli.out


def test_run_then_nothing_to_do(cli: Cli) -> None:
    assert cli.run("toy/one/random@0,9") == 0, cli.err
    assert "2 finished" in cli.out
    assert "finished  toy/one/random@0  52.00 % at 30" in cli.out
    assert {record.trial.seed for record in cli.store.records()} == {0, 9}
    assert cli.run("toy/one/random@0,9") == 0
    assert "nothing to do" in cli.out
    (saved,) = (cli.folder / "runs" / ".plans").glob("*.json")
    plan = Plan.model_validate_json(saved.read_bytes())
    assert plan.digest.startswith(saved.stem)
    assert cli("status") == 0
    assert cli.out.count("finished") == 2
    assert cli("status", "toy/one/entropy") == 0
    assert "no runs" in cli.out


def test_failures_do_not_stop_others_and_say_how_to_go_on(cli: Cli) -> None:
    seeds = f"{fake.FINE},{fake.FAILS},{fake.DIES}"
    assert cli.run(f"toy/one/random@{seeds}", "--fresh") == 3
    assert "1 finished, 2 failed" in cli.out
    assert "something broke" in cli.out
    assert "| about to die" in cli.out
    assert "killed by signal 9" in cli.out
    resume = re.search(r"resume with: albench (.*)", cli.err)
    assert resume is not None
    assert f"toy/one/random@{seeds}" in resume[1]
    assert "--fresh" not in resume[1]
    assert "worker.log" in cli.err
    assert cli("status") == 0
    assert cli.out.count("failed") == 2


def test_trials_that_cannot_be_built_are_code_2(cli: Cli) -> None:
    assert cli.run(f"toy/one/random@{fake.INVALID}") == 2
    assert "no such strategy" in cli.out


def test_unknown_components_are_blocked(cli: Cli) -> None:
    write_suite(
        cli.folder / "suites", text=SUITE.replace('{ name = "entropy" }', '{ name = "entrophy" }')
    )
    assert cli.run("toy/one/entropy") == 3
    assert "there is no 'entrophy' among the strategies" in cli.out
    assert cli.run("toy/one@0", "--methods", "random,entropy") == 3
    assert "1 finished, 1 blocked" in cli.out


def test_time_limit_is_incomplete_and_goes_on(cli: Cli) -> None:
    assert cli.run(f"toy/one/random@{fake.SLOW}", "--time-limit", f"{patience(3):.0f}s") == 3
    assert "stopped with its state saved" in cli.out
    assert cli("plan", f"toy/one/random@{fake.SLOW}", "--device", "cpu") == 0
    assert "resumable" in cli.out
    (state,) = (cli.folder / "runs").glob("*/*/state/cycle.state")
    state.write_text("2")
    assert cli.run(f"toy/one/random@{fake.SLOW}") == 0


def test_interrupt_is_130(cli: Cli) -> None:
    def send() -> None:
        wait_for(lambda: list((cli.folder / "runs").glob("*/*/state/cycle.state")))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    assert cli.run(f"toy/one/random@{fake.SLOW},{fake.STEADY}", "--jobs", "1") == 130
    thread.join()
    assert "resume with" in cli.err
    assert "1 stopped, 1 not started" in cli.out


ABSENT = DataStatus(
    name="digits", present=False, digest=None, canonical=False, note="digits: put it there"
)
ALTERED = DataStatus(
    name="digits", present=True, digest="d" * 64, canonical=False, note="md5 differs"
)


@pytest.mark.parametrize(
    ("status", "flags", "code", "words"),
    [
        (ABSENT, [], 3, "put it there"),
        (ALTERED, [], 3, "--allow-noncanonical-data"),
        (ALTERED, ["--allow-noncanonical-data"], 0, "NOT CANONICAL digits: md5 differs"),
    ],
)
def test_data(
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    status: DataStatus,
    flags: list[str],
    code: int,
    words: str,
) -> None:
    data_are(monkeypatch, status)
    assert cli.run("toy/one/random@0", *flags) == code
    assert words in " ".join((cli.out + cli.err).split())


def test_empty_plan_is_3(cli: Cli) -> None:
    assert cli.run("toy/one/random@0", "--only", "toy/one/entropy") == 3
    assert "the plan is empty" in cli.err
    assert "--only toy/one/entropy matches no trial" in cli.err
    assert cli("plan", "toy/one/random", "--only", "toy/one/entropy", "--device", "cpu") == 3
    assert "the plan is empty" in cli.err


def test_unwritable_runs(cli: Cli) -> None:
    assert (
        invoke(
            [
                "--suites",
                str(cli.folder / "suites"),
                "--runs",
                "/proc/x",
                "run",
                "toy/one",
                "--no-tracking",
            ]
        )
        == 3
    )
    assert "--runs" in cli.capsys.readouterr().err
    file = cli.folder / "file"
    file.write_text("")
    assert invoke(["--suites", str(cli.folder / "suites"), "--runs", str(file), "status"]) == 3
    assert "not a folder" in cli.capsys.readouterr().err


def test_missing_executors_say_what_to_do(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "benchmark.executors.ray.executor", None)
    monkeypatch.setitem(sys.modules, "benchmark.executors.docker.engine", None)
    assert cli.run("toy/one/random@0", "--executor", "ray") == 3
    assert "--executor local" in cli.err
    assert cli.run("toy/one/random@0", "--executor", "auto") == 0
    assert "running locally" in cli.err


def test_plugin(cli: Cli) -> None:
    (cli.folder / "my.py").write_text("class Mine: ...")
    assert cli.run("toy/one@0", "--method", f"{cli.folder}/my.py:Mine", "--methods", "random") == 0
    assert {record.trial.method_name for record in cli.store.records()} == {"random", "Mine"}


def test_a_dead_tracker_does_not_harm(cli: Cli) -> None:
    code = cli("run", "toy/one/random@0", "--device", "cpu", "--tracking-uri", "http://127.0.0.1:9")
    assert code == 0
    assert "1 finished" in cli.out
    assert "tracking:" in cli.err
    assert "sync --tracking-uri http://127.0.0.1:9" in cli.err


def test_clean(cli: Cli) -> None:
    assert cli("clean") == 2
    assert "leftovers" not in cli.out
    cli.run("toy/one/random@0")
    leftover = next((cli.folder / "runs").glob("*/*/state"))
    assert cli("clean", "--dry-run") == 0
    assert str(leftover) in cli.out
    assert leftover.exists()
    assert cli("clean") == 0
    assert not leftover.exists()


def test_run_until_decided_adds_planned_seeds(cli: Cli) -> None:
    (cli.folder / "runs").mkdir(exist_ok=True)
    (cli.folder / "runs" / fake.HURRY).touch()  # seed 1 is slow, and is waited for here
    assert cli.run("toy/one/random", "--until-decided", "--max-seeds", "3") == 3
    assert "toy/one: looks at 2, 3 seeds" in cli.out
    assert "2 finished" in cli.out
    assert "seeds decide nothing" in cli.err
    assert {record.trial.seed for record in cli.store.records()} == {0, 1}
    assert cli.run("toy/one/random", "--max-seeds", "3") == 2
    assert cli.run("toy/one/random@0", "--until-decided") == 2


# ------------------------------------------------------------------------------------------ judging


def test_compare_and_report(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("compare", "toy/one", "--methods", "random") == 3
    assert cli("report", "toy/one", "--methods", "random") == 3
    assert "nothing was measured" in cli.err
    assert cli.run("toy/one/random@0,9") == 0
    assert cli("report", "toy/one", "--methods", "random", "--publish") == 0
    committed = tmp_path / "results" / "toy" / "one" / "records.csv"
    assert committed.read_text().count("\n") == 1 + 2 * 3
    assert cli("compare", "toy/one", "--methods", "random") == 0, cli.out
    text = committed.read_text()
    for record in cli.store.records():
        text = text.replace(record.digest, "0" * 64)
    committed.write_text(
        text.replace(",50.0", ",90.0").replace(",51.0", ",91.0").replace(",52.0", ",92.0")
    )
    assert cli("compare", "toy/one", "--methods", "random") == 1
    assert cli("report", "toy/one", "--methods", "random", "--out", "elsewhere") == 0
    assert (tmp_path / "elsewhere" / "toy" / "one" / "verdicts.json").is_file()


def test_methods_that_do_not_fit_a_profile_are_no_obstacle_to_comparing(cli: Cli) -> None:
    late = '[methods.late]\ntitle = "Late"\nstrategy = { name = "random" }\n'
    late += '[methods.late.set]\n"training.trajectory" = { start = 3, every = 1 }\n'
    short = SUITE.replace('cycles" = 2\n', 'cycles" = 2\n"protocol.training.epochs" = 2\n')
    short = short.replace("milestones = [3]", "milestones = [1]")
    write_suite(
        cli.folder / "suites",
        "toy/one",
        short.replace("[profiles.smoke]", f"{late}[profiles.smoke]"),
    )
    assert cli("plan", "toy/one", "--profile", "smoke", "--methods", "late", "--device", "cpu") == 2
    assert cli.run("toy/one@0", "--profile", "smoke") == 0
    assert cli("compare", "toy/one", "--profile", "smoke") == 0
    assert "random" in cli.out
    assert cli("report", "toy/one", "--profile", "smoke", "--out", str(cli.folder / "out")) == 0


def test_what_is_missing_is_offered_only_where_something_is(cli: Cli) -> None:
    assert cli.run("toy/one/random@0") == 0
    cli("compare", "toy/one/random@0")
    assert "Run what is missing" not in cli.out
    assert "albench compare toy/one/random@0 --all" in cli.out
    cli("compare", "toy/one/random@0", "--all")
    assert "albench verify toy/one/random@0" in cli.out
    cli("compare", "toy/one", "--methods", "random", "--seeds", "0,1")
    assert "albench run toy/one --methods random --seeds 0,1" in cli.out
    cli("compare", "toy/o*")
    assert "albench run toy/one\n" in cli.out


def test_a_run_ends_in_the_answer(cli: Cli) -> None:
    assert cli.run("toy/one/random@0,9") == 0
    assert "2 trials of random." in cli.out
    assert "52.00 ± 0.00" in cli.out, "accuracy after the last cycle, and its spread over trials"
    assert "`albench compare` exits with" in cli.out
    assert "compared" not in cli.out.partition("albench compare toy/one")[2]
    assert cli.run("toy/one/random@0,9", "--quiet") == 0
    (line,) = cli.out.splitlines()
    assert line.startswith("toy/one, profile paper, as_published: ")
    assert cli.run("toy/one/random@0,9", "--no-verdicts") == 0
    assert "trials of random" not in cli.out
    assert cli.run("toy/one/random@0", "--set", "protocol.training.epochs=2") == 0
    assert "albench compare toy/one/random@0 --set protocol.training.epochs=2 --all" in cli.out


def test_quiet_comparisons_are_one_sentence(cli: Cli) -> None:
    cli.run("toy/one/random@0")
    code = cli("compare", "toy/one/random@0", "-q")
    (line,) = cli.out.splitlines()
    assert line.startswith("toy/one, profile paper, as_published: ") and line.endswith(
        f"(exit {code})"
    )


def test_a_report_is_written_again_only_where_something_changed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cli.run("toy/one/random@0")
    assert cli("report", "toy/one/random") == 0
    assert cli.out.startswith("wrote report/toy/one/report.html and ")
    page = tmp_path / "report/toy/one/report.html"
    first = page.stat().st_mtime_ns
    assert cli("report", "toy/one/random") == 0
    assert cli.out.startswith("unchanged report/toy/one/report.html and ")
    assert page.stat().st_mtime_ns == first
    page.write_text("somebody's own")
    assert cli("report", "toy/one/random") == 0
    assert cli.out.startswith("wrote ") and "somebody's own" not in page.read_text()
    cli.run("toy/one/random@9")
    assert cli("report", "toy/one/random") == 0
    assert cli.out.startswith("wrote ")


def test_publishing_keeps_rows_of_other_profiles(cli: Cli, tmp_path: Path) -> None:
    cli.run("toy/one/random@0,9")
    cli.run("toy/one/random@0", "--profile", "smoke")
    assert cli("report", "toy/one/random", "--publish") == 0
    assert cli("report", "toy/one", "--profile", "smoke", "--publish") == 0
    assert cli("report", "toy/one/random", "--publish") == 0
    rows = (tmp_path / "results" / "toy" / "one" / "records.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == ["paper"] * 6 + ["smoke"] * 2


def test_comparison_counts_any_seed_and_names_damaged_records(cli: Cli) -> None:
    cli.run("toy/one/random@0,9,10")
    folder = next(
        folder
        for folder in cli.store.folders()
        if '"seed":9' in (folder / "trial.json").read_text().replace(" ", "")
    )
    record = folder / "record.json"
    record.write_text(record.read_text().replace("51.0", "99.0"))
    cli("compare", "toy/one/random", "-v")
    assert f"ignored {record}" in cli.err
    assert "2 trials took" in cli.out
    cli("compare", "toy/one/random@0", "--all")
    assert "1 trial took" in cli.out


def test_plugins_stand_in_the_comparison_only_under_the_pinned_protocol(cli: Cli) -> None:
    (cli.folder / "my.py").write_text("class Mine: ...")
    plugin = f"{cli.folder}/my.py:Mine"
    assert cli.run("toy/one@0,9", "--method", plugin, "--set", "protocol.training.epochs=2") == 0
    assert cli.run("toy/one@0,9", "--methods", "random") == 0
    cli("compare", "toy/one")
    assert "Mine" not in cli.out
    assert cli.run("toy/one@0,9", "--method", plugin) == 0
    cli("compare", "toy/one")
    assert "Mine" in cli.out


NET = "class Net: ..."


@pytest.mark.parametrize(
    "own",
    [
        ("--set", "protocol.training.epochs=5"),
        ("--network", "net.py:Net(width=4)"),
        ("--set", 'protocol.data.name="my_data:Data"'),
    ],
    ids=["a value", "a network", "data"],
)
def test_every_verb_shows_what_run_made_with_values_of_ones_own(
    cli: Cli, own: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cli.folder)
    monkeypatch.setattr(planning, "measured_price", lambda _: Cost(forward_macs=7))
    Path("net.py").write_text(NET)
    write_suite(cli.folder / "suites", "toy/one", SUITE.replace('reference = "records"\n', ""))
    Path("suites/toy/one.reported.csv").write_text(
        "method,labelled,metric,mean,dispersion,dispersion_kind,n,source,reading_error,role,note\n"
        "random,10,accuracy,99.0,1,sd,3,Table 1,0,target,\n"
    )
    assert cli.run("toy/one/random@0,9", *own) == 0
    assert cli.run("toy/one/random@0,9") == 0
    assert cli("status", "toy/one/random") == 0 and cli.out.count("toy/one/random") == 4
    assert cli("status", "toy/one/random@0,9", *own) == 0 and cli.out.count("toy/one/random") == 2
    assert cli("compare", "toy/one/random", *own) == 0, cli.out
    assert (
        "2 trials of random" in cli.out
        and "not comparable" in cli.out
        and "not the published protocol" in cli.out
    )
    assert "--all" in cli.out and own[0] in cli.out, (
        "the commands that are offered are about the same trials"
    )
    assert cli("compare", "toy/one/random") == 1, (
        "the published number is still that of the suite as it is"
    )
    assert cli("report", "toy/one/random", *own, "--no-tracking") == 0
    (page,) = Path("report/toy/one").glob("changed-*/report.html")
    assert "not the published protocol" in page.read_text()
    assert (
        cli("report", "toy/one/random", "--no-tracking") == 0
        and Path("report/toy/one/report.html").is_file()
    )
    assert (
        cli("export", "toy/one/random", *own) == 0
        and len(re.findall(r"^random,\d,\d+,accuracy,", cli.out, re.M)) == 2 * 3
    )
    assert cli("report", "toy/one/random", *own, "--publish") == 2
    assert cli("compare", "toy/one/random", *own, "--regress") == 2


def test_every_verb_shows_a_method_of_ones_own_as_its_file_stands(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cli.folder)
    Path("my.py").write_text("class Mine: ...")
    own = ("--method", "my.py:Mine")
    assert cli.run("toy/one@0,9", *own, "--methods", "random") == 0
    Path("my.py").write_text("class Mine: 'edited'")
    assert cli.run("toy/one@0", *own) == 0
    assert cli("export", "toy/one@0,9", *own) == 0
    assert len(re.findall(r"^Mine,0,\d+,accuracy,", cli.out, re.M)) == 3, (
        "one trial of three cycles: the other one was made by the former file"
    )
    assert "\nrandom,0," in cli.out, "with the random sampling that it is held against"
    assert cli("status", "toy/one", *own) == 0 and cli.out.count("toy/one/Mine") == 1
    assert cli("report", "toy/one@0", *own, "--no-tracking") == 0
    assert cli("compare", "toy/one@0", *own, "--methods", "all,modern", "--seeds", "0") == 3
    assert "albench run toy/one@0 --methods all,modern --method my.py:Mine --seeds 0" in cli.out


def test_networks_replace_those_of_the_suite_and_no_others(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "measured_price", lambda _: Cost(forward_macs=7))
    two = '[methods.two]\ntitle = "Two"\nstrategy = { name = "random" }\n'
    two += '[methods.two.set]\nmodels = [{ name = "small_cnn" }, { name = "small_cnn" }]\n'
    write_suite(
        cli.folder / "suites",
        "toy/one",
        SUITE.replace("[profiles.smoke]", f"{two}[profiles.smoke]"),
    )
    net = cli.folder / "net.py"
    net.write_text(NET)
    own = ("--network", f"{net}:Net( width = 4 )", "--device", "cpu")
    assert cli("plan", "toy/one@0", *own, "--json") == 0
    plan = Plan.model_validate_json(cli.out)
    assert {trial.trial.method_name for trial in plan.trials} == {"random", "entropy", "random+cod"}
    (model,) = plan.trials[0].trial.protocol.models
    assert (model.name, model.params) == (f"{net}:Net", {"width": 4}) and model.code is not None
    assert plan.trials[0].total.macs == 7 * plan.trials[0].total.forward_equivalents
    assert cli("plan", "toy/one/two@0", *own) == 2 and "networks of its own" in cli.err
    assert cli("plan", "toy/one@0", "--network", "net.py:Net(width", "--device", "cpu") == 2
    assert (
        cli("plan", "toy/one@0", "--weights", str(net), "--device", "cpu") == 2
        and "--network" in cli.err
    )


def test_a_copy_of_a_suite_with_other_data_is_measured_with_nothing_to_compare(cli: Cli) -> None:
    """As the quickstart, whose rule compares with committed records, copied: there are none of the
    copy."""
    (cli.folder / "results" / "toy" / "one").mkdir(parents=True)
    assert 'reference = "records"' in SUITE
    write_suite(
        cli.folder / "suites", "own/copy", SUITE.replace('name = "digits"', 'name = "mnist"')
    )
    assert cli.run("own/copy/random@0") == 0
    assert cli("compare", "own/copy/random@0") == 0
    assert "nothing to compare" in cli.out


def test_verify(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import benchmark.api.verify as verifying

    real = verifying.verify_trials
    monkeypatch.setattr(
        verifying,
        "verify_trials",
        lambda *given, **options: real(*given, worker="tests.executors.fake_worker", **options),
    )
    assert cli("verify", f"toy/one/random@{fake.STEADY}", "--device", "cpu") == 0, cli.err
    assert "reached: bitwise" in cli.out
    assert cli("verify", f"toy/one/random@{fake.WOBBLY}", "--device", "cpu") == 1
    assert "cycle 0: " in cli.out
    assert not (cli.folder / "runs").exists()


def test_verify_without_data_is_3(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    data_are(
        monkeypatch,
        DataStatus(name="digits", present=False, digest=None, canonical=False, note="gone"),
    )
    assert cli("verify", "toy/one", "--device", "cpu") == 3
    assert "gone" in cli.err


def test_a_port_in_use_is_named(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli("ui", "--port", port) == 2
    assert port in cli.err
    assert "--port" in cli.err


def test_ticker_is_silent_at_first_and_then_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with make_ticker(every=60.0) as tick:
        tick("at once")
    with make_ticker(every=0.0) as tick:
        tick("later")
    assert capsys.readouterr().err == "later\n"


@pytest.mark.slow
def test_check_builds_methods_and_leaves_nothing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "temporary"
    empty.mkdir()
    monkeypatch.setenv("TMPDIR", str(empty))
    monkeypatch.setattr(tempfile, "tempdir", None)
    cli("schema")
    assert cli("check") == 2
    assert "BAD: toy/one/random+cod: the student needs two heads" in cli.out
    assert "toy/one/entropy" not in cli.out
    two = SUITE.replace('"small_cnn"', '"small_cnn"\nparams = { heads = 2 }')
    write_suite(cli.folder / "suites", "toy/one", two)
    assert cli("check") == 0, cli.out
    assert "ok   methods" in cli.out
    assert not list(empty.iterdir())


@pytest.mark.slow
def test_an_interrupted_check_takes_its_rehearsal_along(cli: Cli, tmp_path: Path) -> None:
    empty = tmp_path / "temporary"
    empty.mkdir()
    command = [
        sys.executable,
        "-m",
        "benchmark",
        "--suites",
        str(ROOT / "suites"),
        "check",
        "tod/*",
        "bal/*",
    ]
    environment = os.environ | {"TMPDIR": str(empty)}
    with subprocess.Popen(
        command, stdout=-1, stderr=-1, text=True, cwd=ROOT, env=environment
    ) as process:
        wait_for(lambda: any(path.is_dir() for path in empty.iterdir()))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=patience(60))
    assert process.returncode == 130
    assert "Traceback" not in said
    assert not list(empty.iterdir())


def test_errors_of_ours_have_no_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise AlbenchError("bad luck", where="here", remedy="try again")

    monkeypatch.setattr(planning, "prepare_environment", fails)
    assert cli("plan", "toy/one") == 3
    assert cli.err == "Error: here: bad luck\n  -> try again\n"
    monkeypatch.setattr(
        planning,
        "prepare_environment",
        lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device", "/x")),
    )
    assert cli("plan", "toy/one") == 3
    assert "/x: No space left on device" in cli.err


def test_the_committed_schema_is_current() -> None:
    assert (ROOT / "suites" / "schema.json").read_text(encoding="utf-8") == schema_text(), (
        "run `albench schema`"
    )

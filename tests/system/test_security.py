"""What docs/threat-model.md promises and no other test holds: read from the source where that is
surest, tried where it can be.

Elsewhere: the reader of CIFAR's pickles (al/data/test_data_unpickle.py), archives
(test_data_archive.py), containers and compose (docker/), downloads with checksums
(test_data_fetch.py), damaged states and records (faults/, test_store.py).
"""

from __future__ import annotations

import ast
import io
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmark.al import registry
from benchmark.al.state.checkpoint import MAGIC, decode, encode
from benchmark.errors import AlbenchError, UsageError, without_secrets
from benchmark.spec.suite import Component
from benchmark.tracking.background import BackgroundSync
from benchmark.tracking.mlflow import check, ui_argv

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "benchmark").rglob("*.py"))
HARM = Path("harm-done-by-a-pickle")
ALLOWED = {("benchmark/al/parameters.py", "eval")}
"""Annotations and defaults of the project's own files are evaluated, without built-ins, so that a
plan needs no torch."""


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Dotted names of everything that a file calls."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def argument(call: ast.Call, name: str) -> object:
    return next(
        (ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg == name), None
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_unpickled_evaluated_or_given_to_a_shell(path: Path) -> None:
    for name, call in calls(path):
        if (path.relative_to(ROOT).as_posix(), name) in ALLOWED:
            continue
        assert name not in (
            "eval",
            "exec",
            "os.system",
            "os.popen",
            "pickle.load",
            "pickle.loads",
            "pickle.Unpickler",
        ), name
        assert not re.fullmatch(r"(joblib|dill|cloudpickle|shelve|marshal|yaml)\..*", name), name
        if name == "torch.load":
            assert argument(call, "weights_only") is True
        if name in ("np.load", "numpy.load"):
            assert argument(call, "allow_pickle") in (False, None), "numpy's own default is False"
        if name.startswith("subprocess."):
            assert not argument(call, "shell")
            assert not (call.args and isinstance(call.args[0], ast.Constant | ast.JoinedStr)), (
                "a list, never a string"
            )
        if name.endswith((".extractall", ".extract")):
            pytest.fail(f"{name}: archives are unpacked by al/datasets/archive.py")
        if name in ("tempfile.mktemp", "ssl._create_unverified_context"):
            pytest.fail(name)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (str(HARM),)


def test_a_state_that_holds_code_is_not_a_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even with the right magic word and a right checksum, which anybody can compute."""
    import hashlib

    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save({"owner": Harmful()}, buffer)
    for payload in (buffer.getvalue(), pickle.dumps(Harmful())):
        assert decode(MAGIC + hashlib.sha256(payload).digest() + payload) is None
    assert not HARM.exists()
    assert decode(encode({"fine": 1})) == {"fine": 1}


def test_a_plug_in_runs_only_when_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    registry.component_names("strategies")
    registry.build_component("strategies", Component(name="random"))
    with pytest.raises(UsageError):
        registry.build_component("strategies", Component(name="mine"))
    assert not Path("ran").exists()
    with pytest.raises(UsageError, match="is not a Strategy"):
        registry.find_class("strategies", "mine.py:Mine")
    assert Path("ran").exists()


# ------------------------------------------------------------------------------------------ secrets

ADDRESS = "https://someone:hunter2@tracker.example:8443/path"


def test_addresses_lose_their_password_and_nothing_else() -> None:
    assert without_secrets(f"at {ADDRESS}?x=1 and sqlite:///a@b.db") == (
        "at https://***@tracker.example:8443/path?x=1 and sqlite:///a@b.db"
    )
    error = AlbenchError(f"no answer from {ADDRESS}", where=ADDRESS, remedy=f"curl {ADDRESS}")
    for said in (str(error), error.message, error.where, error.remedy, repr(error)):
        assert "hunter2" not in said and "someone" not in said
    assert "tracker.example" in str(error)


def test_a_tracker_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    address = "http://someone:hunter2@127.0.0.1:9"
    with pytest.raises(AlbenchError) as caught:
        check(address, runs=tmp_path)
    assert "hunter2" not in str(caught.value) and "127.0.0.1:9" in str(caught.value)


def test_what_a_library_says_about_an_address_is_cleaned(tmp_path: Path) -> None:
    def make() -> None:
        raise RuntimeError(f"HTTPConnectionPool: cannot reach {ADDRESS}")

    background = BackgroundSync(make, every=0.01)  # type: ignore[arg-type]
    background.watch([tmp_path])
    background.close(5)
    assert background.problem is not None and "hunter2" not in background.problem


def test_the_tracker_we_start_listens_on_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.tracking.mlflow.check", lambda uri, runs: "sqlite:///x.db")
    command = ui_argv(runs=tmp_path)
    assert command[command.index("--host") + 1] == "127.0.0.1"

"""`check --device`: what it finds to hold, and that it notices what does not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark.al.training.numerics import Numerics
from benchmark.cli import main
from benchmark.conformance import device_check
from benchmark.conformance.device_check import (
    Held,
    Played,
    check_trial,
    compare_losses,
    list_arithmetics,
)
from benchmark.errors import Exit
from benchmark.runs import gpus
from benchmark.runs.events import CycleResult
from benchmark.spec.load import load_suite
from benchmark.spec.suite import Trial

SUITES = Path(__file__).parents[2] / "suites"


def trial(method: str) -> Trial:
    suite = load_suite(SUITES / "quickstart" / "digits.toml", SUITES)
    return suite.trials("paper", "as_published", [method], [0])[0]


def played(loss: float | None, weights: str = "a", *, drew: bool = False) -> Played:
    metrics = {"accuracy": 50.0} | ({} if loss is None else {"loss/last": loss})
    result = CycleResult(
        cycle=0,
        labelled=8,
        metrics=metrics,
        per_class=(),
        training="t",
        weights=weights,
        labelled_digest="l",
        picks_digest="p",
    )
    return Played((result,), drew)


def test_arithmetics_of_devices() -> None:
    assert list_arithmetics("cpu") == [
        ("fp32", "eager"),
        ("fp32", "together"),
        ("bf16", "eager"),
        ("bf16", "together"),
    ]
    assert len(list_arithmetics("cuda")) == 4 * 3


def test_a_trial_holds_on_the_cpu() -> None:
    """The reference is the first row, so their difference is exactly zero; the other precision
    differs, but not by much."""
    found = list(check_trial(trial("tod+cod"), "cpu"))
    assert [(one.precision, one.step) for one in found] == list_arithmetics("cpu")
    assert [one.failures for one in found] == [()] * 4
    assert found[0].difference == 0.0 and found[0].repeats and found[0].captures is None
    assert (
        found[2].difference is not None
        and 0 < found[2].difference < device_check.TOLERANCES["bf16"]
    )


def fake(outcomes: dict[tuple[str, str], Any]) -> Any:
    """`play` by device and step: a value, an error, or a list of values that are taken in turn."""

    def play(_: Trial, numerics: Numerics) -> Played:
        found = outcomes[numerics.precision, numerics.step]
        found = found.pop(0) if isinstance(found, list) else found
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, Played)
        return found

    return play


def test_it_notices_what_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = {
        ("fp32", "eager"): played(1.0),
        ("fp32", "together"): played(1.0005),
        ("fp32", "captured"): played(1.0005, "b"),
        ("tf32", "eager"): [played(1.0), played(1.0, "c")],
        ("tf32", "together"): RuntimeError("no kernel"),
        ("tf32", "captured"): played(1.5),
        ("tf32-conv", "eager"): played(1.0005),
        ("tf32-conv", "together"): played(1.0005),
        ("tf32-conv", "captured"): played(1.0005),
        ("bf16", "eager"): played(None),
        ("bf16", "together"): played(1.05, drew=True),
        ("bf16", "captured"): played(1.05, "b", drew=True),
    }
    monkeypatch.setattr(device_check, "play", fake(outcomes))
    monkeypatch.setattr(
        device_check,
        "prepare",
        lambda device, precision, _, step="eager": Numerics(device, precision, step=step),
    )
    found = {
        (one.precision, one.step): one.failures for one in check_trial(trial("random"), "cuda")
    }
    assert found["fp32", "eager"] == found["fp32", "together"] == ()
    assert found["fp32", "captured"] == ("captured differs from together",)
    assert found["tf32", "eager"] == ("other bits when repeated",)
    assert found["tf32", "together"] == ("no kernel",)
    assert found["tf32", "captured"] == ("0.5 from the CPU (limit 0.02)",)
    assert {found["tf32-conv", step] for step in ("eager", "together", "captured")} == {()}
    assert found["bf16", "eager"] == ("no finite loss where the CPU has one",)
    assert found["bf16", "together"] == found["bf16", "captured"] == (), (
        "each device and step draws its own dropout"
    )


def test_a_trial_that_fails_on_the_cpu_fails_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_check, "play", fake({("fp32", "eager"): ValueError("wrong suite")}))
    assert {one.failures for one in check_trial(trial("random"), "cpu")} == {
        ("on the CPU: wrong suite",)
    }


def test_differences_of_losses() -> None:
    assert compare_losses(played(2.2).results, played(2.0).results) == pytest.approx(0.1)
    assert compare_losses(played(0.2).results, played(0.1).results) == pytest.approx(0.1), (
        "small losses by what they are"
    )
    assert compare_losses(played(1.0).results, played(None).results) is None
    assert compare_losses(played(None).results, played(1.0).results) == float("inf")


def run(monkeypatch: pytest.MonkeyPatch, device: str) -> int:
    monkeypatch.setattr(
        sys, "argv", ["albench", "--suites", str(SUITES), "check", "--device", device]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "benchmark.api.check._device_trials", lambda *_: [trial("random").model_dump_json()]
    )
    assert run(monkeypatch, "cpu") == Exit.OK
    said = capfd.readouterr().out
    assert "quickstart/digits/random" in said and said.count("holds") == 4
    assert "1 of 1 methods hold on cpu" in said


def test_a_device_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpus, "survey_gpus", gpus.Survey)
    monkeypatch.delenv(gpus.NAMES, raising=False)
    assert run(monkeypatch, "cuda") == Exit.NOT_MEASURED
    assert "none can be used" in capfd.readouterr().err


def test_words_name_the_limit() -> None:
    plain = Held(name="x", precision="fp32", step="eager", repeats=True, difference=0.0)
    assert plain.failures == ()
    assert plain.model_copy(update={"difference": 0.002}).failures == (
        "0.002 from the CPU (limit 0.001)",
    )

"""Pictures: the same bytes every time, the right things in them, colours that can be told apart."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmark.reports import curves, leaderboard, plots
from benchmark.verdicts.judge import judge_suite
from tests.helpers import toy_suite as toy
from tests.reports.conftest import Judged


def test_the_same_judgement_gives_the_same_bytes(judged: Judged) -> None:
    first, second = (
        plots.draw_pictures(judged.suite, judged.judgement, rows)
        for rows in (judged.measurements, judged.measurements[::-1])
    )
    assert [(one.png, one.svg) for one in first] == [(two.png, two.svg) for two in second]
    assert [one.name for one in first] == ["curves", "gain"]


def test_no_clock_and_no_version_in_the_files(judged: Judged) -> None:
    for picture in plots.draw_pictures(judged.suite, judged.judgement, judged.measurements):
        assert b"<dc:date>" not in picture.svg
        assert b"Software" not in picture.png
        assert picture.png.startswith(b"\x89PNG")
        ElementTree.fromstring(picture.svg.decode())


def texts(picture: plots.Picture) -> list[str]:
    return [
        node.text or ""
        for node in ElementTree.fromstring(picture.svg.decode()).iter(
            "{http://www.w3.org/2000/svg}text"
        )
    ]


def test_panels_and_legend(judged: Judged) -> None:
    curves, gain = plots.draw_pictures(judged.suite, judged.judgement, judged.measurements)
    assert {
        "random",
        "margin",
        "entropy",
        "ours",
        "published",
        "labelled images",
        "accuracy (%)",
    } <= set(texts(curves))
    assert {"margin", "published", "gain over random (points)"} <= set(texts(gain))
    assert "entropy" not in texts(gain), "nothing was measured of it"


def test_other_profiles_are_drawn_without_published_numbers(tmp_path: Path) -> None:
    suite, rows = toy.suite(tmp_path), toy.trials(profile="smoke", seeds=[0])
    found = plots.draw_pictures(suite, judge_suite(suite, rows, profile="smoke"), rows)
    assert all("published" not in texts(picture) for picture in found)
    assert (
        plots.draw_pictures(toy.suite(tmp_path, []), judge_suite(toy.suite(tmp_path, []), []), [])
        == []
    )


def test_published_spread_is_drawn(tmp_path: Path) -> None:
    rows = toy.trials()
    sizes = []
    for table in (toy.reported(), toy.reported(sd=2.0, n=3)):
        suite = toy.suite(tmp_path, table)
        sizes.append(
            plots.draw_pictures(suite, judge_suite(suite, rows), rows)[0].svg.count(
                b"LineCollection"
            )
        )
    assert (sizes[0], sizes[1]) == (0, 3)


def vision(colour: str, kind: str) -> np.ndarray:
    """Linear RGB as a dichromat sees it (Vienot, Brettel and Mollon 1999, full deficiency)."""
    values = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    lms = np.array(
        [[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]]
    )
    loss = {
        "normal": np.eye(3),
        "protan": np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]),
        "deutan": np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]),
    }[kind]
    return np.linalg.inv(lms) @ loss @ lms @ linear


@pytest.mark.parametrize("kind", ["normal", "protan", "deutan"])
def test_colours_can_be_told_apart(kind: str) -> None:
    for first, second in combinations(curves.COLOURS, 2):
        assert np.abs(vision(first, kind) - vision(second, kind)).max() > 0.05, (first, second)


def test_methods_with_the_same_colour_differ_by_marker() -> None:
    looks = [
        (curves.COLOURS[at % len(curves.COLOURS)], curves.MARKERS[at % len(curves.MARKERS)])
        for at in range(24)
    ]
    assert len(set(looks)) == 24


def test_inline_pictures_carry_nothing_of_their_own(judged: Judged) -> None:
    for picture in plots.draw_pictures(judged.suite, judged.judgement, judged.measurements):
        text = plots.inline(picture)
        root = ElementTree.fromstring(text)
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"].startswith(picture.title)
        assert not {"width", "height"} & set(root.attrib)
        assert "viewBox" in root.attrib
        assert plots.INK not in text
        assert "<style" not in text
        ids = re.findall(r' id="([^"]+)"', text)
        assert all(f"#{one}" in text for one in ids), "what is left has a reference to it"
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)


def test_leaderboard_pictures(tmp_path: Path) -> None:
    judgements = []
    for place in range(3):
        suite = toy.suite(tmp_path, name=f"set{place}")
        judgements.append(judge_suite(suite, toy.trials(suite=f"toy/set{place}", rng=place)))
    found = leaderboard.make_leaderboard(judgements)
    assert found is not None
    picture = leaderboard.draw_diagram(found)
    assert picture is not None
    assert {"1", "2", "3"} <= set(texts(picture))
    assert any("margin (1.00)" in text for text in texts(picture))
    assert picture == leaderboard.draw_diagram(found)
    costs = {
        (one.suite, method): cost
        for one in judgements
        for method, cost in (("random", 2.0), ("margin", 3.0), ("entropy", 2.5))
    }
    money = leaderboard.cost_picture(judgements, costs)
    assert money is not None
    assert {"margin", "entropy"} <= set(texts(money))
    assert leaderboard.cost_picture(judgements, {}) is None
    assert leaderboard.draw_diagram(replace(found, places=())) is None


def test_reports_draw_without_pyplot(judged: Judged) -> None:
    code = (
        "import sys, benchmark.reports, benchmark.verdicts.judge; print([m for m in sys.modules if "
        "m in %r])"
    )
    heavy = ("scipy", "matplotlib", "statsmodels", "jinja2", "pandas", "torch")
    assert (
        subprocess.run(
            [sys.executable, "-c", code % (heavy,)], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )
    plots.draw_pictures(judged.suite, judged.judgement, judged.measurements)
    assert "matplotlib.pyplot" not in sys.modules

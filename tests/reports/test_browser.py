"""The pages in a real browser: no complaint, filters that filter, names for everything, both
themes, a phone's width."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.reports.curves import COLOURS
from tests.helpers.chromium import PROGRAM, Browser
from tests.reports.conftest import Judged

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not PROGRAM.exists(), reason=f"needs Debian's Chromium at {PROGRAM}"),
]
PAGES = ("index.html", "toy/digits/report.html", "toy/letters/report.html", "methods/margin.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = Browser()
    yield found
    found.close()


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("page", PAGES)
def test_no_complaints_and_no_sideways_scrolling(
    browser: Browser, site: Path, page: str, dark: bool, width: int
) -> None:
    browser.open(site / page, width=width, dark=dark)
    assert browser.complaints == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    light, ink = browser.run(
        "['backgroundColor', 'color'].map(k => "
        "getComputedStyle(document.body)[k].match(/\\d+/g).map(Number)"
        ".reduce((a, b) => a + b))"
    )
    assert (light < ink) is dark


def contrast(browser: Browser) -> list[tuple[str, float]]:
    """WCAG contrast of every piece of text with the background it lies on."""
    return browser.run("""(() => {
        const curve = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const part = v => curve(v / 255);
        const light = c => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
        const numbers = text => text.match(/[\\d.]+/g).map(Number);
        const behind = e => {
            for (; e; e = e.parentElement) {
                const c = numbers(getComputedStyle(e).backgroundColor);
                if (c.length < 4 || c[3] > 0) return c;
            }
            return [255, 255, 255];
        };
        const found = [];
        for (const e of document.body.querySelectorAll('*')) {
            const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
            const unseen = ['SCRIPT', 'STYLE', 'OPTION'].includes(e.tagName);
            if (!own || !e.checkVisibility() || unseen) continue;
            const style = getComputedStyle(e), svg = e.namespaceURI.endsWith('svg');
            const ink = light(numbers(svg ? style.fill : style.color)), ground = light(behind(e));
            const ratio = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
            found.push([e.tagName + ': ' + e.textContent.trim().slice(0, 30), ratio]);
        }
        return found;
    })()""")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("page", PAGES)
def test_text_can_be_read_in_both_themes(
    browser: Browser, site: Path, page: str, dark: bool
) -> None:
    browser.open(site / page, dark=dark)
    measured = contrast(browser)
    assert len(measured) > 40
    assert [(text, ratio) for text, ratio in measured if ratio < 4.5] == []


def shown(browser: Browser, table: str) -> int:
    return browser.run(
        f"[...document.querySelectorAll('#{table} tbody tr')].filter(r => "
        "r.checkVisibility()).length"
    )


def choose(browser: Browser, table: str, field: str, value: str) -> None:
    browser.run(
        f"(() => {{ const e = document.querySelector('form[data-table={table}] [name={field}]'); "
        f"e.value = '{value}';"
        " e.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def test_filters_of_a_report(browser: Browser, site: Path) -> None:
    browser.open(site / "toy/digits/report.html")
    assert shown(browser, "table-numbers") == 9
    choose(browser, "table-numbers", "verdict", "missing")
    assert shown(browser, "table-numbers") == 3
    choose(browser, "table-numbers", "labels", "200")
    assert shown(browser, "table-numbers") == 1
    assert (
        browser.run("document.querySelector('form[data-table=table-numbers] output').textContent")
        == "1 of 9 rows"
    )
    browser.run(
        "new Promise(r => { document.querySelector('form[data-table=table-numbers] "
        "button').click(); setTimeout(r, 50); })"
    )
    assert shown(browser, "table-numbers") == 9
    choose(browser, "table-numbers", "text", "MARGIN")
    assert shown(browser, "table-numbers") == 3


def test_a_column_head_sorts_its_table(browser: Browser, site: Path) -> None:
    browser.open(site / "toy/digits/report.html")
    cells = (
        "[...document.querySelectorAll('#table-numbers tbody tr')].map(row => "
        "row.cells[%d].textContent)"
    )
    press = (
        "document.querySelectorAll('#table-numbers thead th')[%d].querySelector('button').click()"
    )
    browser.run(press % 1)
    assert [int(text) for text in browser.run(cells % 1)] == sorted([100, 200, 300] * 3)
    browser.run(press % 1)
    assert [int(text) for text in browser.run(cells % 1)] == sorted(
        [100, 200, 300] * 3, reverse=True
    )
    assert (
        browser.run("document.querySelectorAll('#table-numbers [aria-sort=descending]').length")
        == 1
    )
    browser.run(press % 0)
    assert browser.run(cells % 0) == sorted(["random", "margin", "entropy"] * 3)


def test_long_tables_are_paged_and_the_rest_is_one_click_away(browser: Browser, site: Path) -> None:
    browser.open(site / "toy/digits/report.html")
    browser.run("""(() => {
        const body = document.querySelector('#table-numbers tbody');
        for (let k = 0; k < 100; k++) body.append(body.rows[k % 9].cloneNode(true));
        document.querySelector('form[data-table=table-numbers]').dispatchEvent(new Event('input'));
    })()""")
    form = "document.querySelector('form[data-table=table-numbers] %s')"
    assert shown(browser, "table-numbers") == 50
    assert browser.run(form % "output" + ".textContent") == "50 of 109 rows, 109 match"
    browser.run(form % "[data-more]" + ".click()")
    assert shown(browser, "table-numbers") == 109
    assert browser.run(form % "[data-more]" + ".hidden")


def test_the_first_screen_holds_the_answer(browser: Browser, site: Path) -> None:
    """Verdicts, claims and the command that fills what is missing stand above the fold of a usual
    window."""
    browser.open(site / "toy/digits/report.html", width=1400, height=1000)
    for place in (".lead", ".tilegroups", ".claims", "#table-matrix", "#answer pre"):
        assert (
            browser.run(f"document.querySelector('{place}').getBoundingClientRect().bottom") <= 1000
        ), place
    words = browser.run("document.querySelector('#answer').innerText")
    assert "reproduced" in words and "C1" in words and "albench run toy/digits" in words
    assert "9 published numbers" in words and "2 claims" in words
    assert "Missing: 3 published numbers without a measurement; no trial of entropy." in words
    assert "5 trials of each of 2 methods." in browser.run(
        "document.querySelector('.lead').innerText"
    )


# --------------------------------------------------------------------------------------- the figure

FIGURE = "document.querySelector('figure.live')"


def drawn(browser: Browser, method: str) -> int:
    """Pixels of the figure in the very colour of a method."""
    colour = COLOURS[("random", "margin", "entropy").index(method)]
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return browser.run(f"""new Promise(done => {{
        const later = requestAnimationFrame;
        later(() => later(() => {{
        const canvas = {FIGURE}.querySelector('.uplot canvas');
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        const colour = [{red}, {green}, {blue}, 255];
        let found = 0;
        for (let k = 0; k < data.length; k += 4)
            found += colour.every((value, part) => data[k + part] === value);
        done(found);
        }}));
    }})""")


def press_button(browser: Browser, selector: str) -> None:
    browser.run(f"{FIGURE}.querySelector(`{selector}`).click()")


def shown_curves(browser: Browser) -> dict[str, bool]:
    return {name: drawn(browser, name) > 30 for name in ("random", "margin", "entropy")}


def test_the_legend_hides_a_curve_and_isolates_one(browser: Browser, site: Path) -> None:
    """Entropy was not measured: its published curve is drawn."""
    browser.open(site / "toy/digits/report.html")
    press_button(browser, "[data-part=bands]")
    assert shown_curves(browser) == {"random": True, "margin": True, "entropy": True}
    press_button(browser, "[data-name=margin]")
    assert drawn(browser, "margin") == 0
    assert shown_curves(browser) == {"random": True, "margin": False, "entropy": True}
    assert browser.run(f"{FIGURE}.querySelector('[data-name=margin]').ariaPressed") == "false"
    press_button(browser, "[data-only=margin]")
    assert shown_curves(browser) == {"random": False, "margin": True, "entropy": False}
    press_button(browser, "[data-only=margin]")
    assert shown_curves(browser) == {"random": True, "margin": True, "entropy": True}
    press_button(browser, "[data-name=random]")
    press_button(browser, "[data-part=all]")
    assert shown_curves(browser) == {"random": True, "margin": True, "entropy": True}


def reading(browser: Browser) -> str:
    return browser.run(f"{FIGURE}.querySelector('[data-part=reading]').textContent")


def expected(judged: Judged, method: str, size: int, less: str = "") -> list[float]:
    """Mean of five trials and the ends of its 95 % interval, by the textbook's t of 4 degrees of
    freedom; or of the differences to another method by seed."""

    def values(name: str) -> dict[int, float]:
        rows = [row for row in judged.measurements if (row.method, row.labelled) == (name, size)]
        return {row.seed: row.metrics["accuracy"] for row in rows}

    found = [
        value - (values(less)[seed] if less else 0.0) for seed, value in values(method).items()
    ]
    assert len(found) == 5
    mean, half = statistics.mean(found), 2.776445 * statistics.stdev(found) / 5**0.5
    return [mean, mean - half, mean + half]


def parsed(text: str) -> tuple[str, list[float], str]:
    """What is read: method and size, our mean with its interval, and the rest."""
    lead, _, rest = text.partition(": ours ")
    numbers, _, end = rest.partition("], ")
    return lead, [float(part) for part in re.findall(r"[-+]?[0-9.]+", numbers)], end


def test_the_figure_is_read_with_the_keyboard(browser: Browser, site: Path, judged: Judged) -> None:
    browser.open(site / "toy/digits/report.html")
    browser.run(f"{FIGURE}.querySelector('[data-part=area]').focus()")
    browser.press("ArrowRight", 39)
    near = pytest.approx(expected(judged, "random", 100), abs=0.006)
    assert parsed(reading(browser)) == ("random at 100", near, "n=5; published 70.00")
    browser.press("ArrowRight", 39)
    browser.press("ArrowDown", 40)
    near = pytest.approx(expected(judged, "margin", 200), abs=0.006)
    assert parsed(reading(browser)) == ("margin at 200", near, "n=5; published 81.00")
    browser.press("ArrowDown", 40)
    assert reading(browser) == "entropy at 200: published 82.00"
    browser.press("Escape", 27)
    assert reading(browser) == ""


def test_the_figure_is_read_with_the_mouse(browser: Browser, site: Path, judged: Judged) -> None:
    """Along the right edge all three methods are met."""
    browser.open(site / "toy/digits/report.html", width=1400)
    left, top, width, height = browser.run(
        f"(() => {{ {FIGURE}.scrollIntoView(); const b = "
        f"{FIGURE}.querySelector('.u-over').getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; })()"
    )
    place = f"{FIGURE}.querySelector('[data-part=reading]').textContent"
    seen = {}
    for share in range(2, 99, 4):
        browser.call(
            "Input.dispatchMouseEvent",
            type="mouseMoved",
            x=left + width - 3,
            y=top + height * share / 100,
        )
        text = browser.run(
            f"new Promise(done => requestAnimationFrame(() => setTimeout(() => done({place}))))"
        )
        seen[text.partition(" at ")[0]] = text
    assert parsed(seen["margin"])[:2] == (
        "margin at 300",
        pytest.approx(expected(judged, "margin", 300), abs=0.006),
    )
    assert parsed(seen["random"])[:2] == (
        "random at 300",
        pytest.approx(expected(judged, "random", 300), abs=0.006),
    )
    assert seen["entropy"] == "entropy at 300: published 88.00"


def test_gain_over_random_replaces_accuracy(browser: Browser, site: Path, judged: Judged) -> None:
    browser.open(site / "toy/digits/report.html")
    press_button(browser, "[data-view='1']")
    assert drawn(browser, "random") == 0, "random sampling is the zero line"
    browser.run(f"{FIGURE}.querySelector('[data-part=area]').focus()")
    for _ in range(3):
        browser.press("ArrowRight", 39)
    near = pytest.approx(expected(judged, "margin", 300, less="random"), abs=0.006)
    assert parsed(reading(browser)) == ("margin at 300", near, "n=5; published -1.00")


def test_panels_are_printed_in_place_of_the_figure(browser: Browser, site: Path) -> None:
    browser.open(site / "toy/digits/report.html")
    panels = (
        "[...document.querySelectorAll('#pictures svg')].filter(one => "
        "one.checkVisibility()).length"
    )
    assert browser.run(panels) == 0
    browser.call("Emulation.setEmulatedMedia", media="print")
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run(panels) == 2
    assert not browser.run(f"{FIGURE}.checkVisibility()")
    browser.call("Emulation.setEmulatedMedia", media="")


def test_equal_rows_are_folded_and_unfold(browser: Browser, site: Path) -> None:
    browser.open(site / "toy/digits/report.html")
    form = "document.querySelector('form[data-table=table-numbers] %s')"
    assert not browser.run(form % "[data-fold]" + ".checked"), "nine rows need no folding"
    browser.run(form % "[data-fold]" + ".click()")
    key = "row => row.cells[0].textContent + row.querySelector('td.verdict').textContent"
    kinds = browser.run(
        f"new Set([...document.querySelectorAll('#table-numbers tbody tr')].map({key})).size"
    )
    assert kinds < 9
    assert shown(browser, "table-numbers") == kinds
    more = browser.run(
        "[...document.querySelectorAll('#table-numbers button.unfold')].map(one => one.textContent)"
    )
    assert sum(int(text.split()[1]) for text in more) == 9 - kinds
    browser.run(
        "document.querySelectorAll('#table-numbers button.unfold').forEach(() => "
        "document.querySelector('button.unfold').click())"
    )
    assert shown(browser, "table-numbers") == 9


def test_filters_of_the_index(browser: Browser, site: Path) -> None:
    browser.open(site / "index.html")
    assert (shown(browser, "table-suites"), shown(browser, "table-entries")) == (2, 5)
    choose(browser, "table-suites", "dataset", "letters")
    choose(browser, "table-entries", "method", "margin")
    assert (shown(browser, "table-suites"), shown(browser, "table-entries")) == (1, 2)
    href = browser.run("document.querySelector('#table-suites tbody tr:not([hidden]) a').href")
    assert href == (site / "toy/letters/report.html").as_uri()


@pytest.mark.parametrize("page", PAGES)
def test_everything_has_an_accessible_name(browser: Browser, site: Path, page: str) -> None:
    browser.open(site / page)
    nodes = browser.accessible()
    needs = {
        "link",
        "button",
        "combobox",
        "searchbox",
        "image",
        "img",
        "table",
        "region",
        "navigation",
        "heading",
    }
    needs |= {"columnheader", "rowheader"}
    assert [node for node in nodes if node[0] in needs and not node[1].strip()] == []
    roles = [role for role, _ in nodes]
    assert roles.count("main") == 1
    assert {"banner", "contentinfo", "heading", "table", "rowheader"} <= set(roles)
    assert browser.run("document.title") != ""
    images = [name for role, name in nodes if role in ("image", "img")]
    assert all(len(name) > 40 for name in images), "pictures are described in words"


def test_the_keyboard_reaches_what_the_mouse_does(browser: Browser, site: Path) -> None:
    browser.open(site / "toy/digits/report.html")
    reached = []
    for _ in range(250):
        browser.press("Tab", 9)
        tag = browser.run(
            "(() => { const e = document.activeElement; return [e.tagName, e.className, "
            "e.getAttribute('href'), "
            "getComputedStyle(e).outlineStyle]; })()"
        )
        if tag[0] == "BODY":
            break
        reached.append(tag)
    assert reached[0][:3] == ["A", "skip", "#main"]
    assert {"A", "SELECT", "INPUT", "BUTTON", "DIV", "PRE"} <= {tag for tag, *_ in reached}
    assert all(outline != "none" for *_, outline in reached), "what has the focus shows it"

"""Pictures of the committed pages for the README: `make pictures`, which needs Debian's
Chromium."""

from __future__ import annotations

import base64
from pathlib import Path

from tests.helpers.chromium import Browser

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
WIDTH, QUALITY = 1400, 75
SHOWN = {
    "report": ("quickstart/digits/report.html", 900),
    "claims": ("index.html", 700),
}
"""By name of the picture: page below results/, and how many pixels of it are shown from its top."""


def take_picture(browser: Browser, page: Path, height: int) -> bytes:
    """The top of a page in the light theme, as WebP."""
    browser.open(page, width=WIDTH, height=height)
    browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    taken = browser.call("Page.captureScreenshot", format="webp", quality=QUALITY)
    return base64.b64decode(taken["data"])


def main() -> None:
    """Write every picture."""
    FOLDER.mkdir(exist_ok=True)
    browser = Browser()
    try:
        for name, (page, height) in SHOWN.items():
            (FOLDER / f"{name}.webp").write_bytes(
                take_picture(browser, ROOT / "results" / page, height)
            )
    finally:
        browser.close()


if __name__ == "__main__":
    main()

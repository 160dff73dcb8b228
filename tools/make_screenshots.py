#!/usr/bin/env python3
"""The pictures of docs/report.md: the pages of the fixture run and of SmolLM2's in Debian's Chromium.

    tools/make_screenshots.py BIN_FOLDER DOCS_FOLDER [PAGE]     # make screenshots

PAGE: the page that `make real` has written, run/real/run/page.html; without it that picture is left as it is.
"""
import pathlib
import sys
import tempfile

from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "conformance"))
from browser import Browser  # noqa: E402
from page_runs import Commands, expansion_run, fixture_run, page_of  # noqa: E402

# The first base whose states differ most in value.
SHOW_MIXED = """(() => {
  const spread = (base) => { const values = base.states.map((state) => state.value); return Math.max(...values) - Math.min(...values); };
  const spreads = overview.expansion.bases.map(spread), list = document.querySelector('main select');
  list.value = String(spreads.indexOf(Math.max(...spreads)));
  list.dispatchEvent(new Event('change'));
})()"""

# A palette of so many shows no difference to the eye.
COLOURS = 256

# Name, page, address, dark, height, and what is done before the picture is taken.
PICTURES = [
    ("overview", "run", "#overview", False, 600, ""),
    ("forks", "run", "#forks", False, 520, ""),
    ("rollouts", "run", "#rollouts/add-21-0003-05", False, 680, "document.querySelector('#rollout-text .e7').click()"),
    ("plans", "run", "#rollouts/add-21-0003-05", True, 520, "document.querySelector('[data-option=plans]').click()"),
    ("expansions", "expansion", "#expansions", False, 600, SHOW_MIXED),
]
# Of the page of make real.
REAL_PICTURES = [("smollm2", "real", "#forks", False, 620, "")]


def main():
    crux, docs = Commands(sys.argv[1]), pathlib.Path(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="crux-pictures-") as folder, Browser() as browser:
        work = pathlib.Path(folder)
        run = fixture_run(crux, work)
        pages = {"run": page_of(crux, run, work / "page.html"), "expansion": expansion_run(crux, run)[0]}
        if len(sys.argv) > 3:
            pages["real"] = pathlib.Path(sys.argv[3])
        for name, which, address, dark, height, act in PICTURES + (REAL_PICTURES if "real" in pages else []):
            page = browser.open(pages[which], address, width=1040, height=height, dark=dark)
            page.wait("document.querySelector('#rollout:not([data-rollout])') === null")
            page.evaluate(act or "0")
            picture = docs / f"report-{name}.png"
            page.screenshot(picture)
            Image.open(picture).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)
            page.close()


if __name__ == "__main__":
    main()

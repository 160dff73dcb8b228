#!/usr/bin/env python3
"""The pictures of docs/report.md: the page of the fixture run in Debian's Chromium.

    tools/make_screenshots.py BIN_FOLDER DOCS_FOLDER     # make screenshots
"""
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "conformance"))
from browser import Browser  # noqa: E402
from page_runs import Commands, expansion_run, fixture_run, page_of  # noqa: E402

# Name, page, address, dark, height, and what is done before the picture is taken.
PICTURES = [
    ("overview", "run", "#overview", False, 860, ""),
    ("forks", "run", "#forks", False, 620, ""),
    ("rollouts", "run", "#rollouts/add-21-0003-05", False, 640, "document.getElementById('rollout-text').querySelector('.e7').click()"),
    ("plans", "run", "#rollouts/add-21-0003-05", True, 640, "document.querySelector('[data-option=plans]').click()"),
    ("expansions", "expansion", "#expansions", False, 640, "document.querySelectorAll('details.state')[0].open = true"),
]


def main():
    crux, docs = Commands(sys.argv[1]), pathlib.Path(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="crux-pictures-") as folder, Browser() as browser:
        work = pathlib.Path(folder)
        run = fixture_run(crux, work)
        pages = {"run": page_of(crux, run, work / "page.html"), "expansion": expansion_run(crux, run)[0]}
        for name, which, address, dark, height, act in PICTURES:
            page = browser.open(pages[which], address, width=1120, height=height, dark=dark)
            page.wait("document.querySelector('#rollout:not([data-rollout])') === null")
            page.evaluate(act or "0")
            page.screenshot(docs / f"report-{name}.png")
            page.close()


if __name__ == "__main__":
    main()

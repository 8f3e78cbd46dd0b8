"""The page of a run in a browser: it draws, answers to keys, and says in words what the picture shows.

Needs a Chromium: one that FANMAP_CHROMIUM names, or that is on the path.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html import unescape

import pytest

from fanmap import parallel_map
from fanmap.testing import VirtualTime

from .test_trace import run_for

CHROMIUM = os.environ.get("FANMAP_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: set FANMAP_CHROMIUM")


def opened(path, tmp_path, script="", *, width=1280):
    """The page's DOM after its script, and this one, have run."""
    if script:
        text = path.read_text(encoding="utf-8")
        path = path.with_suffix(".more.html")
        path.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1200", "--virtual-time-budget=3000",
            "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=600, encoding="utf-8",
    )  # fmt: skip
    return done.stdout


def data(dom):
    """What the script says of what it has drawn."""
    head = re.search(r"<html[^>]*>", dom)
    assert head is not None
    return dict(re.findall(r'data-([a-z]+)="([^"]*)"', head.group()))


def text_of(dom, name):
    found = re.search(rf'<(\w+)[^>]* id="{name}"[^>]*>(.*?)</\1>', dom, re.DOTALL)
    assert found is not None, name
    return unescape(re.sub(r"<[^>]+>", " ", found.group(2))).strip()


@pytest.mark.parametrize(
    ("reason", "said", "cause"),
    [
        ("slots", "Too few slots", "Every slot was busy"),
        ("rate", "The rate held the run up", "Waiting for the rate"),
        ("gate", "The server asked to wait", "The server had asked to wait"),
        ("tail", "One slow item at the end: item 57", "The last calls were under way"),
        ("outage", "The server was down", "The server was down"),
    ],
)
def test_a_reader_sees_what_held_the_run_up(reason, said, cause, tmp_path):
    with VirtualTime():
        run_for(reason, tmp_path / "run.html")
    for width in (1280, 500):
        dom = opened(tmp_path / "run.html", tmp_path, width=width)
        assert text_of(dom, "why").startswith(said)
        assert text_of(dom, "causes").startswith(cause)
        assert int(data(dom)["drawn"]) >= 60
        assert int(data(dom)["lanes"]) == (4 if reason == "slots" else 8)
        label = re.search(r'<canvas[^>]*aria-label="([^"]*)"', dom)
        assert label is not None and said in unescape(label.group(1))


KEYS = """
const chart = document.getElementById("chart");
const press = (key) => chart.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
"""


def test_keys_zoom_move_and_step_from_call_to_call(tmp_path):
    with VirtualTime():
        run_for("rate", tmp_path / "run.html")
    whole = data(opened(tmp_path / "run.html", tmp_path))
    for _ in range(20):  # a browser on a busy machine may end before it has drawn once more
        zoomed = data(opened(tmp_path / "run.html", tmp_path, KEYS + 'press("+"); press("+"); press("ArrowRight");'))
        if zoomed["to"] != whole["to"]:
            break
    length = float(whole["to"])
    assert float(zoomed["to"]) - float(zoomed["from"]) == pytest.approx(length / 4, abs=0.01)
    assert float(zoomed["from"]) == pytest.approx(length * (3 / 8 + 1 / 32), abs=0.01)
    dom = opened(
        tmp_path / "run.html", tmp_path, KEYS + 'press("+"); press("0"); press("ArrowDown"); press("ArrowDown");'
    )
    assert data(dom)["to"] == whole["to"]
    assert re.match(r"item \d: returned, .*took ", text_of(dom, "readout"))


def test_pointing_at_a_bar_says_what_it_is(tmp_path):
    with VirtualTime():
        run_for("slots", tmp_path / "run.html")
    point = """
    const box = document.getElementById("chart").getBoundingClientRect();
    for (const kind of ["pointermove", "pointerup"]) document.getElementById("chart").dispatchEvent(
        new PointerEvent(kind, { clientX: box.left + 60, clientY: box.top + 205, pointerId: 1, pointerType: "touch", bubbles: true }));
    """
    dom = opened(tmp_path / "run.html", tmp_path, point)
    assert re.match(r"item \d: returned\s+took ", text_of(dom, "tip"))
    assert text_of(dom, "readout").startswith("item ")


def test_a_run_of_no_call_and_of_very_many_are_drawn(tmp_path):
    parallel_map()(lambda item: item).map([], trace=tmp_path / "none.html")
    dom = opened(tmp_path / "none.html", tmp_path)
    assert (text_of(dom, "why"), data(dom)["drawn"]) == ("No call was made.", "0")
    parallel_map(max_concurrency=8)(lambda item: item).map(range(20_000), trace=tmp_path / "many.html")
    dom = opened(tmp_path / "many.html", tmp_path)
    assert data(dom)["drawn"] == "20000"
    assert "Calls narrower than a pixel share it" in text_of(dom, "help")

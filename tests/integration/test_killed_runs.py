"""A process that is killed loses no result that anybody has seen, and pays again for no more than was under way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_runs.py")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")


def play(rounds, seed, directory):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(rounds), str(seed), str(directory)],
        capture_output=True,
        text=True,
        timeout=1800,  # it waits for progress, and says itself where there is none
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.whole
def test_fifty_kills_lose_nothing(tmp_path):
    count = play(50, 1, tmp_path)
    assert count["rounds"] == 50
    assert count["killed held"] == 18
    assert count["killed torn"] == 16
    assert count["killed while calling"] >= count["killed held"]


@pytest.mark.nightly
def test_a_thousand_kills_lose_nothing(tmp_path):
    assert play(1000, 2, tmp_path)["rounds"] == 1000

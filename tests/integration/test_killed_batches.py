"""A batch job is killed at every step: no request is paid twice, no answer is lost."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fanmap.testing import BatchScript, serve

KILLS = int(os.environ.get("FANMAP_BATCH_KILLS", "30"))
SEED = int(os.environ.get("FANMAP_BATCH_SEED", "1"))
LINES = ("intent", "handed_in", "answer", "over", "result")
REQUESTS = ("upload", "creation", "poll", "list", "download")
PLACES = {f"{when} {what}" for when in ("before", "after") for what in (*LINES, *REQUESTS, "replay")} | {
    f"within {line}" for line in LINES
}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


def expected(name: str, prompt: str) -> str:
    if name != "awaiting":
        return f"[simulated] [simulated] {prompt}!"
    return f"[simulated] [simulated] {prompt}[simulated] {prompt}"


def killed(directory: Path, *, seed: int, kills: int) -> Counter[str]:
    """Jobs that are killed so often in all, none of which pays twice or loses an answer; where each kill was."""
    with serve() as server:
        server.batches.script = BatchScript(shuffled=True)
        here = Path(__file__).with_name("killed_batches.py")
        done = subprocess.run(
            [sys.executable, str(here), server.url, str(seed), str(kills), str(directory)],
            capture_output=True, text=True, timeout=600 + 10 * kills,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        jobs: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
        for batch in server.batches.made:  # one that nobody has looked at is paid all the same
            server.batches.find(batch.id, math.inf)
        paid = Counter(
            json.dumps([batch.requests[key].path, dict(batch.requests[key].body)], sort_keys=True)
            for batch in server.batches.made
            for key in batch.answered
        )
    for job in jobs:
        assert job["answers"] == [expected(job["name"], prompt) for prompt in job["prompts"]]
    assert [asked for asked, times in paid.items() if times > 1] == []
    # Each was paid: three requests an awaiting item, two any other.
    assert sum(paid.values()) == sum(3 * (3 if job["name"] == "awaiting" else 2) for job in jobs)
    places = Counter((directory / f"{seed}.places").read_text(encoding="utf-8").splitlines())
    # Two threads may come to the end of one process at once.
    assert sum(places.values()) >= sum(job["kills"] for job in jobs) >= kills
    assert places.keys() <= PLACES
    return places


@pytest.mark.whole
def test_a_job_that_is_killed_at_any_step_pays_nothing_twice_and_loses_no_answer(tmp_path: Path) -> None:
    killed(tmp_path, seed=SEED, kills=KILLS)


@pytest.mark.nightly
def test_a_thousand_kills_at_every_step(tmp_path: Path) -> None:
    places = killed(tmp_path, seed=SEED + 1, kills=1000)
    assert PLACES - places.keys() == set()

"""What a call costs is the user's code, which may take its time: a run that was stopped meanwhile calls nothing more."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fanmap import Rate, parallel_map
from fanmap._drive.runs.run import Run
from fanmap.testing import VirtualTime, sleep


class Slow:
    """Two workers: one says for long what its item costs, while the other one's call goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slow: int) -> None:
        self.called: list[int] = []
        self.counting, self.stopped = threading.Event(), threading.Event()
        self.left = threading.Semaphore(0)
        left = Run.left

        def leaving(run, worker):
            left(run, worker)
            self.left.release()

        monkeypatch.setattr(Run, "left", leaving)

        def cost(item):
            if item >= slow:
                self.counting.set()
                assert self.stopped.wait(60)
            return 1

        @parallel_map(max_concurrency=2, rate=Rate(1e9, cost=cost))
        def ask(item):
            self.called.append(item)
            if item == slow - 1:
                assert self.counting.wait(60)
                raise ValueError("the first failure")
            return item

        self.ask = ask

    def ends(self) -> list[int]:
        """Both workers have gone: which items were called?"""
        self.stopped.set()
        for _ in range(2):
            assert self.left.acquire(timeout=60)
        return sorted(self.called)


@pytest.mark.parametrize("slow", [1, 2])  # the first item of its worker, or the next one
@pytest.mark.parametrize("way", ["map", "imap", "as_completed"])
def test_nothing_is_called_after_a_failure(monkeypatch, way, slow):
    one = Slow(monkeypatch, slow)
    with pytest.raises(ValueError, match="the first failure"):
        for outcome in getattr(one.ask, way)(range(20)):
            if way == "as_completed" and outcome.error is not None:
                raise outcome.error
    assert one.ends() == list(range(slow))


@pytest.mark.parametrize("slow", [1, 2])
def test_nothing_is_called_after_a_cancellation(monkeypatch, slow):
    one = Slow(monkeypatch, slow)

    async def main():
        asking = asyncio.create_task(one.ask.amap(range(20), return_exceptions=True))
        await asyncio.to_thread(one.counting.wait, 60)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(main())
    assert one.ends() == list(range(slow))


def test_it_is_asked_for_once_an_item_though_the_item_waits_for_its_rate():
    asked: list[int] = []

    @parallel_map(max_concurrency=4, rate=Rate(5, cost=lambda item: asked.append(item) or 1))
    def ask(item):
        sleep(0.1)
        return item

    with VirtualTime():
        assert ask.map(range(20)) == list(range(20))
    assert sorted(asked) == list(range(20))

"""A slot that passes from an item to a call in another thread while the item ends: in every interleaving, used once.

One of two threads is stopped before its k-th moment, the other goes on as far as it can, then the first goes on; for
every k. A moment is a line or a return; with `FANMAP_SEEDS`, where the interpreter bears that (3.11), a byte code.
Nothing is left to chance.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
import time
from pathlib import Path

import pytest

import fanmap
from fanmap import Limits, gather_bounded, parallel_map

pytestmark = pytest.mark.usefixtures("nothing_left")
HERE = str(Path(fanmap.__file__).parent)
PATIENCE = 120.0  # seconds without progress after which it hangs
FEWEST = 20  # moments in each story
# 3.12 and 3.13 crashed by it; it takes a quarter of a minute, so only where all is tried
BY_BYTE_CODE = sys.version_info < (3, 12) and "FANMAP_SEEDS" in os.environ


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it hangs"
        time.sleep(0)


class Stop:
    """Stops this thread once, before the k-th moment that it runs in fanmap and holds no lock at."""

    def __init__(self, k, locks, meanwhile):
        self.k, self.locks, self.meanwhile = k, locks, meanwhile
        self.reached = False
        # Held for as long as this is: 3.11 frees a trace function that nobody else holds while it still calls it.
        self._on_call, self._on_step = self._call, self._step

    def begin(self):
        sys.settrace(self._on_call)

    def end(self):
        sys.settrace(None)

    def _call(self, frame, event, argument):
        if self.reached or not frame.f_code.co_filename.startswith(HERE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = BY_BYTE_CODE, not BY_BYTE_CODE
        return self._on_step

    def _step(self, frame, event, argument):
        if event != "exception" and not self.reached and not any(lock.locked() for lock in self.locks):
            self.k -= 1
            if self.k < 0:
                self.reached = True
                self.end()
                self.meanwhile()
        return self._on_step


class Story:
    """Two items on one slot, and a call that the first has started in another thread and does not wait for."""

    def __init__(self, way):
        self.account = Limits(1)
        self.way = way
        self.inside = self.most = 0
        self.context = None
        self.in_body, self.go, self.second_began = threading.Event(), threading.Event(), threading.Event()
        self.nested = None
        self.failures = []
        self.ask = parallel_map(limits=self.account)(self.body)

    def enter(self):
        self.inside += 1
        self.most = max(self.most, self.inside)

    def body(self, x):
        self.enter()
        self.in_body.set()
        assert self.go.wait(PATIENCE)
        self.inside -= 1

    def start_nested(self, stop=None):
        def main():
            if stop is not None:
                stop.begin()
            try:
                self.context.run(self.ask, 1)
            except BaseException as error:
                self.failures.append(error)
            finally:
                if stop is not None:
                    stop.end()

        self.nested = threading.Thread(target=main, daemon=True)
        self.nested.start()

    def locked(self):
        return bool(self.account._budget._holder)

    def in_line(self):
        return self.account._budget.admission.waiting() > 0

    def nested_is_settled(self):
        return self.in_body.is_set() or self.in_line() or not self.nested.is_alive()

    def worker_is_settled(self):
        return self.second_began.is_set() or self.in_line() or self.go.is_set()

    async def second(self):
        self.second_began.set()
        self.enter()
        while not self.nested_is_settled():
            await asyncio.sleep(0)
        self.inside -= 1

    async def tell(self):
        """The call in the other thread ends once the second item waits for its slot, or has begun."""
        while not self.worker_is_settled():
            await asyncio.sleep(0)
        self.go.set()

    async def run(self, first):
        telling = asyncio.create_task(self.tell())
        if self.way == "taken over":
            await gather_bounded(first(), self.second(), limits=self.account)
        else:
            items = [first, self.second]
            await parallel_map(limits=self.account)(self.nth(items)).amap([0, 1])
        await telling

    @staticmethod
    def nth(items):
        async def item(x):
            return await items[x]()

        return item

    def check(self):
        self.nested.join(PATIENCE)
        assert not self.nested.is_alive(), "it hangs"
        for failure in self.failures:
            raise failure  # with its own traceback
        assert self.most == 1, "one slot was used twice"
        stats = self.account.stats
        assert (stats.in_flight, stats.waiting) == (0, 0)


@pytest.mark.parametrize("way", ["taken over", "lent"])
def test_a_call_may_come_at_any_moment_of_its_items_end(way):
    k, reached = 0, True
    while reached:
        story = Story(way)

        def meanwhile(story=story):
            story.start_nested()
            until(story.nested_is_settled)

        stop = Stop(k, [story], meanwhile)

        async def first(story=story, stop=stop):
            story.context = contextvars.copy_context()
            stop.begin()

        async def main(story=story, first=first, stop=stop):
            try:
                await story.run(first)
            finally:
                stop.end()

        second, story.second = story.second, None

        async def ended(second=second, stop=stop, story=story):
            stop.end()
            if story.nested is None:
                stop.reached = False
                story.start_nested()
            await second()

        story.second = ended
        asyncio.run(main())
        story.check()
        k, reached = k + 1, stop.reached
    assert k > FEWEST


@pytest.mark.parametrize("way", ["taken over", "lent"])
@pytest.mark.whole
def test_an_item_may_end_at_any_moment_of_a_call_that_it_began(way):
    k, reached = 0, True
    while reached:
        story, stopped = Story(way), threading.Event()

        def meanwhile(story=story, stopped=stopped):
            stopped.set()
            until(story.worker_is_settled)

        stop = Stop(k, [story], meanwhile)

        async def first(story=story, stop=stop, stopped=stopped):
            story.context = contextvars.copy_context()
            story.start_nested(stop)
            while not (stopped.is_set() or story.nested_is_settled()):
                await asyncio.sleep(0)

        asyncio.run(story.run(first))
        story.check()
        k, reached = k + 1, stop.reached
    assert k > FEWEST

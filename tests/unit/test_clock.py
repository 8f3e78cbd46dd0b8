"""How a thread is started, and what comes out where Ctrl-C comes in between."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fanmap import parallel_map
from fanmap._drive import clock
from fanmap._drive.drivers import portal, warm_threads


def interrupted(self):
    """What `Thread.start` did once in three full runs of the tests."""
    try:
        try:
            raise KeyboardInterrupt("the key")
        finally:
            raise ValueError("in between")
    finally:
        raise RuntimeError("release unlocked lock")


def test_ctrl_c_in_the_start_of_a_thread_comes_out_as_itself(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt, match="the key"):
        clock.Real().start_thread(lambda: None, "a thread")


def test_a_thread_that_cannot_be_started_is_a_runtime_error(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        clock.Real().start_thread(lambda: None, "a thread")


@pytest.mark.parametrize("refuses", ["start", "__init__"])  # the system, or a subinterpreter
def test_a_background_loop_for_which_there_is_no_thread_is_closed(refuses, monkeypatch):
    made = []

    def refuse(*_, **__):
        raise RuntimeError("can't start new thread")

    def new_event_loop():
        made.append(asyncio.new_event_loop())
        return made[-1]

    here = portal.use(None)
    try:
        monkeypatch.setattr(clock.world, "new_event_loop", new_event_loop, raising=False)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, refuses, refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                portal.loop()
        assert [loop.is_closed() for loop in made] == [True]
    finally:
        portal.use(here)


def test_a_run_ends_with_ctrl_c_that_came_while_it_started_its_second_thread(monkeypatch):
    """Taken for "no more threads" the run would go on with one."""
    idle = warm_threads.current.idle
    warm = list(idle)  # put away, so that threads must be started
    idle.clear()
    start, starts = threading.Thread.start, []

    def second(self):
        starts.append(self)
        return interrupted(self) if len(starts) == 2 else start(self)

    monkeypatch.setattr(threading.Thread, "start", second)
    called, over = [], threading.Event()

    @parallel_map(max_concurrency=2)
    def ask(item):
        called.append(item)
        over.wait()

    try:
        with pytest.raises(KeyboardInterrupt, match="the key"):
            ask.map(range(1000))
    finally:
        over.set()
        idle.extendleft(warm)
    assert called in ([], [0])


class Alarm(Exception):
    """A signal handler's own, as timeouts by alarms and task queues have it."""


@pytest.fixture
def no_warm_threads():
    """Threads must be started, also where those of another test come back meanwhile."""
    before = warm_threads.use(warm_threads.WarmThreads())
    yield
    warm_threads.use(before)


@pytest.mark.usefixtures("no_warm_threads")
@pytest.mark.parametrize("kind", [Alarm, RuntimeError, MemoryError])
@pytest.mark.parametrize("begun", [True, False])
def test_a_run_ends_with_what_a_signal_handler_raised_while_it_started_a_thread(monkeypatch, kind, begun):
    """Taken for "no more threads", a worker that has begun would be counted out twice, and the run would not end."""
    start, starts = threading.Thread.start, []

    def handler():
        raise kind("the alarm")

    def second(self):
        starts.append(self)
        if begun or len(starts) != 2:
            start(self)
        if len(starts) == 2:
            handler()

    monkeypatch.setattr(threading.Thread, "start", second)
    over = threading.Event()

    @parallel_map(max_concurrency=2)
    def ask(item):
        over.wait()  # or the first thread would be idle again before a second is started
        return item

    with pytest.raises(kind, match="the alarm"):
        ask.map(range(1000))
    over.set()
    assert ask.map(range(4)) == [0, 1, 2, 3]  # calls that were left behind end


@pytest.mark.usefixtures("no_warm_threads")
def test_a_run_goes_on_with_the_threads_there_are(monkeypatch):
    start, starts = threading.Thread.start, []

    second = threading.Event()

    def only_one(self):
        starts.append(self)
        if len(starts) > 1:
            second.set()
            raise RuntimeError("can't start new thread")
        start(self)

    def tried(item):
        second.wait()
        return item

    monkeypatch.setattr(threading.Thread, "start", only_one)
    assert parallel_map(max_concurrency=4)(tried).map(range(100)) == list(range(100))


def test_a_background_loop_whose_thread_cannot_be_started_is_closed(monkeypatch):
    """It holds three files; the next call makes another one."""
    made = []

    def new_event_loop():
        made.append(asyncio.new_event_loop())
        return made[-1]

    def start(self):
        raise RuntimeError("can't start new thread")

    @parallel_map
    async def ask(item):
        return item

    before = portal.use(None)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(clock.Real, "new_event_loop", staticmethod(new_event_loop))
            patched.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                ask.map([1])
        assert [loop.is_closed() for loop in made] == [True]
    finally:
        portal.use(before)
    assert ask.map([1]) == [1]


def test_a_thread_that_was_taken_out_for_a_job_that_never_came_ends(monkeypatch):
    """Ctrl-C between taking it and giving it the job."""
    monkeypatch.setattr(warm_threads, "_KEEP_WARM", 0.001)
    threads = warm_threads.WarmThreads()
    thread = warm_threads._Thread(threads, lambda: None)
    thread.job = None  # and it is not among the idle
    body = threading.Thread(target=thread.main, daemon=True)
    body.start()
    body.join(120)
    assert not body.is_alive()

"""How a thread is started, and what comes out where Ctrl-C comes in between."""

from __future__ import annotations

import threading

import pytest

from fanmap import parallel_map
from fanmap._drive import clock
from fanmap._drive.drivers import warm_threads


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

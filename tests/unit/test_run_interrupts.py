"""Which signal stops a run, and which one leaves at once: a terminal, a shell and `timeout` may each send the same."""

from __future__ import annotations

import signal

import pytest

from fanmap._run import interrupts
from fanmap._run.interrupts import Interrupts


class Left(BaseException):
    pass


@pytest.fixture
def clock():
    return [100.0]


@pytest.fixture
def one(clock, monkeypatch):
    def leave(status):
        raise Left(status)

    monkeypatch.setattr(interrupts, "_leave", leave)
    return Interrupts(now=lambda: clock[0])


def test_the_first_is_noted(one):
    assert one.signal_received is None
    one._handle(signal.SIGTERM, None)
    assert (one.signal_received, one.status, one.name) == (signal.SIGTERM, 143, "SIGTERM")


def test_the_same_again_at_once_is_its_echo(one, clock):
    one._handle(signal.SIGTERM, None)
    clock[0] += 0.19
    one._handle(signal.SIGTERM, None)
    assert not one.announce()


def test_it_is_announced_once_its_echoes_have_come_and_then_the_next_one_leaves(one, clock):
    assert not one.announce()
    one._handle(signal.SIGINT, None)
    clock[0] += 0.25
    assert one.announce()
    assert not one.announce()
    with pytest.raises(Left, match="130"):
        one._handle(signal.SIGINT, None)


def test_what_could_not_be_announced_counts_after_a_second(one, clock):
    one._handle(signal.SIGINT, None)
    clock[0] += 0.75
    one._handle(signal.SIGINT, None)
    clock[0] += 0.25
    with pytest.raises(Left, match="130"):
        one._handle(signal.SIGINT, None)


def test_another_signal_is_a_second_request(one):
    one._handle(signal.SIGINT, None)
    with pytest.raises(Left, match="143"):
        one._handle(signal.SIGTERM, None)


def test_handlers_are_put_back_and_what_is_ignored_stays_so():
    if not hasattr(signal, "SIGHUP"):
        pytest.skip("no SIGHUP here")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        were = [signal.getsignal(number) for number in numbers]
        with Interrupts() as one:
            assert [signal.getsignal(number) == one._handle for number in numbers] == [True, True, False]
        assert [signal.getsignal(number) for number in numbers] == were
    finally:
        signal.signal(signal.SIGHUP, before)

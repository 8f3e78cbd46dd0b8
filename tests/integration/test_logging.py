"""What is logged under `fanmap`: where somebody would ask why nothing moves, and never a word of users' data."""

from __future__ import annotations

import logging
import warnings

from fanmap import Limits, Retry, parallel_map
from fanmap._drive import clock
from fanmap.testing import SimulatedAPIError, VirtualTime, sleep


def lines(caplog, level=logging.INFO):
    return [record.getMessage() for record in caplog.records if record.name == "fanmap" and record.levelno == level]


def refused_once(at, **headers):
    refused = []

    def ask(item):
        sleep(0.5)
        if item == at and not refused:
            refused.append(item)
            raise SimulatedAPIError("sk-secret", 429, headers, {})
        return item

    return ask


def test_a_gate_is_told_of_and_each_refusal_at_debug(caplog):
    caplog.set_level(logging.DEBUG, "fanmap")
    with VirtualTime():
        parallel_map(max_concurrency=2)(refused_once(3, **{"retry-after": "5"})).map(range(20))
    assert lines(caplog) == [
        "gate closed: refused (rate), no call starts for 5.0 s",
        "gate opened: calls start again",
    ]
    assert lines(caplog, logging.DEBUG) == ["item 3 of ask refused (rate), wait 5.0 s"]


def test_a_cut_of_the_ceiling_is_told_of_and_its_growth(caplog):
    caplog.set_level(logging.INFO, "fanmap")
    under_way = []

    def ask(item):
        under_way.append(item)
        try:
            crowd = len(under_way)
            sleep(0.3)
            if crowd > 4:
                raise SimulatedAPIError("too many concurrent requests", 429, {}, {})
        finally:
            under_way.remove(item)

    with VirtualTime():
        parallel_map(max_concurrency=8)(ask).map(range(300))
    said = lines(caplog)
    assert said[0].startswith("ceiling cut from 8 to ")
    assert any(line.startswith("ceiling grown from ") for line in said)


def test_an_outage_and_its_end_are_told_of(caplog):
    caplog.set_level(logging.INFO, "fanmap")
    with VirtualTime():
        began = clock.now()

        def ask(item):
            sleep(0.5)
            if 3 < clock.now() - began < 30:
                raise SimulatedAPIError("down", 503, {}, {})

        parallel_map(max_concurrency=8, retry=Retry(attempts=3))(ask).map(range(100))
    said = lines(caplog)
    assert said[0].startswith("outage: 8 failures in a row")
    assert [line for line in said if line.startswith("outage over after ")]


def test_a_resumed_run_is_told_of(caplog, tmp_path):
    caplog.set_level(logging.INFO, "fanmap")

    @parallel_map()
    def ask(item):
        return item

    ask.map(range(3), resume=tmp_path / "kept.jsonl")
    assert not lines(caplog)
    ask.map(range(5), resume=tmp_path / "kept.jsonl")
    assert lines(caplog) == [f"run of ask resumed: 3 results in {str(tmp_path / 'kept.jsonl')!r}"]


def test_a_handler_may_look_at_the_limits_and_may_raise(caplog):
    """It is called with the books closed, and a raise of it ends nothing."""
    account = Limits(2)
    seen = []

    class Handler(logging.Handler):
        def emit(self, record):
            seen.append(account.stats.in_flight)
            raise RuntimeError("a handler that fails")

    handler, logger = Handler(), logging.getLogger("fanmap")
    logger.addHandler(handler)
    caplog.set_level(logging.INFO, "fanmap")
    try:
        with VirtualTime():
            asking = parallel_map(limits=account)(refused_once(3, **{"retry-after": "1"}))
            assert asking.map(range(10)) == list(range(10))
    finally:
        logger.removeHandler(handler)
    assert seen


def test_a_handler_that_raises_ends_no_run_where_warnings_are_errors(tmp_path):
    class Handler(logging.Handler):
        def emit(self, record):
            raise RuntimeError("a handler that fails")

    def classify(error):
        raise KeyError

    def ask(item):
        if item == 1:
            raise ValueError
        return item

    handler, logger = Handler(), logging.getLogger("fanmap")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            done = parallel_map(limits=Limits(2, classify=classify))(ask).map(
                range(3), return_exceptions=True, progress=lambda stats: 1 // 0
            )
    finally:
        logger.removeHandler(handler)
    assert [type(one) for one in done] == [int, ValueError, int]


def test_no_users_data_is_logged(caplog):
    caplog.set_level(logging.DEBUG, "fanmap")
    with VirtualTime():
        parallel_map(max_concurrency=2)(refused_once(3, **{"retry-after": "5", "key": "sk-secret"})).map(range(20))
    assert "sk-secret" not in caplog.text

"""What a log says of one Limits: when, in which words, and never more than a line a second."""

from __future__ import annotations

from fanmap._policy.limits.news import News


def test_a_gate_is_told_of_when_it_closes_and_when_calls_start_again():
    news = News()
    assert news.gate(10.0, 15.0, "rate") == "gate closed: refused (rate), no call starts for 5.0 s"
    assert news.gate(12.0, 15.0, "rate") is None
    assert news.moved(14.0) is None
    assert news.moved(15.0) == "gate opened: calls start again"
    assert news.moved(17.0) is None


def test_a_gate_that_is_kept_closed_for_longer_is_told_of_again():
    news = News()
    news.gate(10.0, 15.0, "rate")
    assert news.gate(14.0, 24.0, "concurrency") == "gate closed: refused (concurrency), no call starts for 10.0 s"


def test_an_outage_is_told_of_once_and_its_end_with_its_length():
    news = News()
    assert news.failed(10.0, 7, outage=False) is None
    assert news.failed(11.0, 8, outage=True) == (
        "outage: 8 failures in a row, one probe at a time until one is answered"
    )
    assert news.failed(20.0, 9, outage=True) is None
    assert news.answered(30.0, outage=True) is None
    assert news.answered(31.5, outage=False) == "outage over after 20.5 s"
    assert news.failed(40.0, 8, outage=True) is not None


def test_the_ceiling_is_cut_and_grows_and_in_an_outage_nothing_is_said_of_it():
    news = News()
    assert news.ceiling(1.0, 8, 4, "refused") == "ceiling cut from 8 to 4 calls at once"
    assert news.ceiling(2.0, 4, 5, "answered") == "ceiling grown from 4 to 5 calls at once"
    assert news.ceiling(3.0, 5, 1, "outage") is None
    assert news.ceiling(3.0, 5, 5, "answered") is None


def test_a_second_has_one_line_and_the_next_one_counts_what_was_left_out():
    news = News()
    assert news.ceiling(1.0, 8, 7, "refused") == "ceiling cut from 8 to 7 calls at once"
    assert news.ceiling(1.5, 7, 6, "refused") is None
    assert news.ceiling(1.999, 6, 5, "refused") is None
    assert news.ceiling(2.0, 5, 4, "refused") == "ceiling cut from 5 to 4 calls at once (2 lines left out)"
    assert news.ceiling(3.0, 4, 5, "answered") == "ceiling grown from 4 to 5 calls at once"

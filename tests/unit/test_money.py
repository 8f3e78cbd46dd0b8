"""Money: what is a price, what is none, and what is said of that."""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal
from fractions import Fraction

import pytest

from fanmap._policy.journals.kept import Aside
from fanmap._policy.limits.rate import Rate
from fanmap._policy.tokens.money import Money, NoPrice, dollars_rate, is_dollars
from fanmap._usage import Usage, in_dollars, in_tokens

USED = Usage(1000, 0, 200)


def money(price, *, strict=True):
    return Money(price, strict=strict)


def test_the_function_that_was_given_is_known_as_such():
    def given(model, usage):
        return 0.5

    assert Money(lambda *_: 0.5, strict=True, given=given).given is given
    assert Money(lambda *_: 0.5, strict=True).given is None


def raising(error):
    def price(model, usage, address):
        raise error

    return price


class Silent(float):
    def __repr__(self):
        raise LookupError

    __str__ = __repr__


class Broken(Fraction):
    def __float__(self):
        raise LookupError


def test_a_price_is_asked_with_model_usage_and_address():
    asked = []
    counted = money(lambda *what: asked.append(what) or 0.25)
    assert counted.cost_of("small", USED, "http://x") == 0.25
    assert counted.cost_of(None, USED, "") == 0.25
    assert asked == [("small", USED, "http://x"), ("", USED, "")]
    assert not counted.broken


@pytest.mark.parametrize("cost", [0, 0.0, 3, 1e-9, Decimal("0.5"), Fraction(1, 4)])
def test_dollars_are_finite_and_not_negative(cost):
    found = money(lambda *_: cost).cost_of("small", USED, "")
    assert found == cost
    assert type(found) is float


@pytest.mark.parametrize(
    ("price", "said"),
    [
        (lambda *_: math.nan, "price must return dollars, a finite number >= 0, got nan for the model 'small'"),
        (lambda *_: math.inf, "price must return dollars, a finite number >= 0, got inf for the model 'small'"),
        (lambda *_: -0.01, "price must return dollars, a finite number >= 0, got -0.01 for the model 'small'"),
        (lambda *_: None, "price must return dollars, a number >= 0, got a NoneType for the model 'small'"),
        (lambda *_: "3", "price must return dollars, a number >= 0, got a str for the model 'small'"),
        (lambda *_: 1j, "price must return dollars, a number >= 0, got a complex for the model 'small'"),
        (lambda *_: Decimal("sNaN"), "price must return dollars, a number >= 0, got a Decimal for the model 'small'"),
        (lambda *_: Decimal(-1), "price must return dollars, a finite number >= 0, got -1 for the model 'small'"),
        (lambda *_: Silent("nan"), "price must return dollars, a finite number >= 0, got nan for the model 'small'"),
        (lambda *_: Broken(1), "price must return dollars, a number >= 0, got a Broken for the model 'small'"),
        (lambda *_: 10**400, "price must return dollars, a number >= 0, got a int for the model 'small'"),
        (lambda *_: True, "price must return dollars, a number >= 0, got a bool for the model 'small'"),
        (raising(asyncio.CancelledError()), "price raised CancelledError for the model 'small'"),
        (raising(KeyError("small")), "price raised KeyError for the model 'small'"),
        (
            raising(NoPrice()),
            "genai-prices has no price for the model 'small': give Limits(price=...), price(model, usage) -> dollars",
        ),
    ],
)
def test_a_price_that_is_none_ends_it_and_is_said(price, said):
    counted = money(price)
    assert counted.cost_of("small", USED, "") is None
    assert counted.broken
    assert str(counted.failure()) == said
    assert isinstance(counted.failure(), ValueError)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_out_of_a_price_is_no_price(interrupt):
    counted = money(raising(interrupt()))
    with pytest.raises(interrupt):
        counted.cost_of("small", USED, "")
    assert not counted.broken


def test_only_the_first_is_said_and_each_time_by_another_exception():
    def price(model, usage, address):
        raise KeyError(model)

    counted = money(price)
    counted.cost_of("small", USED, "")
    counted.cost_of("large", USED, "")
    one, another = counted.failure(), counted.failure()
    assert str(one) == str(another) == "price raised KeyError for the model 'small'"
    assert one is not another
    first = one.__cause__
    assert first is another.__cause__
    assert first.args == ("small",)
    lines = []
    trace = first.__traceback__
    while trace is not None:
        lines.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert lines == ["price"]  # the user's own lines, and none of ours, which lead back to everything


def test_where_nothing_is_bounded_a_price_that_is_none_ends_nothing():
    counted = money(lambda *_: math.nan, strict=False)
    assert counted.cost_of("small", USED, "") is None
    assert counted.unpriced is not None
    assert not counted.broken
    assert not counted.alone


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("gpt-4o-mini-2024-07-18", "the model 'gpt-4o-mini-2024-07-18'"),
        ("anthropic.claude:0", "the model 'anthropic.claude:0'"),
        ("accounts/x/models/y", "the model 'accounts/x/models/y'"),
        ("", "a response that names no model"),
        (None, "a response that names no model"),
        ("Tell me a secret.", "a model without a usable name"),
        ("x" * 81, "a model without a usable name"),
    ],
)
def test_a_model_is_named_where_its_name_is_one(model, named):
    counted = money(lambda *_: None)
    counted.cost_of(model, USED, "")
    assert str(counted.failure()).endswith(f"for {named}")


def test_until_one_is_priced_and_settled_one_is_under_way():
    counted = money(lambda *_: 0.1)
    counted.told(None)
    assert not counted.news
    counted.told(0.1)
    assert counted.news
    assert counted.alone
    counted.settled()
    assert not counted.news
    assert not counted.alone
    for _ in range(100):
        counted.told(0.1)
        counted.told(None)
    assert not counted.news
    assert not counted.broken


def test_where_nothing_tells_what_it_took_it_ends_after_twenty_calls():
    counted = money(lambda *_: 0.1)
    for _ in range(19):
        counted.told(None)
    assert not counted.news
    counted.told(None)
    assert counted.news
    assert counted.broken
    counted.settled()
    assert counted.alone
    assert str(counted.failure()).startswith(
        "max_spend cannot be enforced: none of the first 20 calls reported its token usage,"
    )
    assert "price" in str(counted.failure())


def test_its_rate_is_told_from_a_users_own_total():
    assert is_dollars(dollars_rate(5.0))
    assert is_dollars(dollars_rate(None))
    assert not is_dollars(Rate(5.0, math.inf))
    assert dollars_rate(5.0).amount == 5.0


@pytest.mark.parametrize(
    ("amount", "said"),
    [(0.0, "$0"), (0.0000123, "$1.2e-05"), (0.00123, "$0.0012"), (0.01, "$0.0100"), (4.99871, "$4.9987"),
     (99.99994, "$99.9999"), (100, "$100.00"), (1234.5, "$1234.50"), (1e300, "$1e+300")],
)  # fmt: skip
def test_money_as_people_read_it(amount, said):
    assert in_dollars(amount) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 tokens"), (999, "999 tokens"), (1_000, "1.0k tokens"), (12_345, "12.3k tokens"),
     (999_949, "999.9k tokens"), (999_950, "1.0M tokens"), (12_345_678, "12.3M tokens")],
)  # fmt: skip
def test_tokens_in_a_bar(count, said):
    assert in_tokens(count) == said


def test_what_journals_have_under_way_adds_up_and_is_over_once():
    aside = Aside()
    assert aside.dollars == 0.0
    aside.opened("a", {"one": 1.0, "two": 2.0})
    aside.reserve("b", "one", 4.0)
    assert aside.dollars == 7.0
    for _ in range(2):
        aside.over("a", "one")
        aside.over("c", "one")
    assert aside.dollars == 6.0
    aside.opened("a", {})
    assert aside.dollars == 4.0

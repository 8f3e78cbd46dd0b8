"""What a question may cost in a batch, and which ones the money that is left is for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanmap._policy.batch.job import HandIn, Job, answer_line, handed_in_line, intent_line, over_line
from fanmap._policy.batch.question import Question
from fanmap._policy.batch.spending import Choice, Mean, Room, choose, estimate, most_of
from fanmap._policy.batch.wire import Place
from fanmap._policy.journals.journal import Reading, read_line
from fanmap._policy.tokens.money import Money, NoPrice
from fanmap.types import Usage


def question(body: dict[str, Any], endpoint: str = "/v1/responses") -> Question:
    return Question("openai", "https://host/v1", "", endpoint, body.get("model", ""), body, "d")


@pytest.mark.parametrize(
    ("endpoint", "body", "usage"),
    [
        ("/v1/responses", {"input": "x" * 40, "max_output_tokens": 7}, Usage(10, output=7)),
        ("/v1/chat/completions", {"messages": [{"content": "x" * 40}], "max_tokens": 7, "n": 3}, Usage(10, output=21)),
        ("/v1/chat/completions", {"messages": [{"content": "x" * 40}], "max_completion_tokens": 7}, Usage(10, output=7)),
        ("/v1/messages", {"system": "x" * 20, "messages": [{"content": "x" * 20}], "max_tokens": 9}, Usage(10, output=9)),
        ("/v1/embeddings", {"input": ["x" * 20, "x" * 20]}, Usage(10)),
        ("/v1/embeddings", {"input": [[1, 2, 3], [4, 5]]}, Usage(5)),
        ("/v1/embeddings", {"input": [1, 2, 3]}, Usage(3)),
        ("/v1/responses", {"input": "x"}, None),
        ("/v1/responses", {"input": "x", "max_output_tokens": None}, None),
        ("/v1/responses", {"input": "x", "max_output_tokens": "many"}, None),
    ],
)  # fmt: skip
def test_the_most_that_a_request_may_take(endpoint: str, body: dict[str, Any], usage: Usage | None) -> None:
    assert most_of(question(body, endpoint)) == usage


def test_an_estimate_is_half_the_price_of_that() -> None:
    asked: list[Any] = []

    def price(model: str, usage: Usage, address: str) -> float:
        asked.append((model, address))
        return usage.input * 1.0 + usage.output * 10.0

    money = Money(price, strict=True)
    assert estimate(question({"model": "m", "input": "x" * 39, "max_output_tokens": 7}), money) == (10 + 70) / 2
    assert asked == [("m", "https://host/v1")]
    assert estimate(question({"model": "m", "input": "x"}), money) is None
    assert estimate(question({"input": "x", "max_output_tokens": 7}), money) is None  # a deployment, not a model
    assert money.unpriced is None


def test_a_model_without_a_price_is_said_at_once() -> None:
    def price(model: str, usage: Usage, address: str) -> float:
        raise NoPrice

    money = Money(price, strict=True)
    assert estimate(question({"model": "m", "input": "x", "max_output_tokens": 7}), money) is None
    assert money.unpriced is not None


def test_those_that_fit_go_in_order_up_to_the_first_that_does_not() -> None:
    wants = [("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 0.5)]
    assert choose(wants, Room(10, 0, 0), None, alone=False) == Choice({"a": 1.0, "b": 2.0, "c": 3.0, "d": 0.5}, False)
    assert choose(wants, Room(10, 5, 1), None, alone=False) == Choice({"a": 1.0, "b": 2.0}, False)
    assert choose(wants, Room(10, 5, 5), None, alone=False) == Choice({}, False)  # what is held may settle for less
    assert choose(wants, Room(10, 9.5, 0), None, alone=False) == Choice({}, True)
    assert choose([("a", 0.0)], Room(10, 10, 0), None, alone=False) == Choice({}, True)
    assert choose([], Room(10, 10, 0), None, alone=False) == Choice({}, False)


def test_sums_of_cents_may_come_to_the_amount() -> None:
    assert len(choose([(n, 0.1) for n in range(10)], Room(1.0, 0, 0), None, alone=False).costs) == 10


def test_what_nobody_can_guess_goes_alone_until_there_is_a_mean() -> None:
    wants = [("a", None), ("b", 2.0), ("c", None)]
    assert choose(wants, Room(10, 0, 0), None, alone=False).costs == {"a": 0.0, "b": 2.0}
    assert choose(wants, Room(10, 0, 0), None, alone=True).costs == {"b": 2.0}
    assert choose(wants, Room(10, 0, 0), 4.0, alone=True).costs == {"a": 4.0, "b": 2.0, "c": 4.0}
    assert choose(wants, Room(10, 0, 0), 5.0, alone=False).costs == {"a": 5.0, "b": 2.0}


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 50))), st.floats(0.1, 100), st.floats(0, 100), st.floats(0, 100),
    st.one_of(st.none(), st.floats(0, 50)), st.booleans(),
)  # fmt: skip
def test_what_is_chosen_never_goes_beyond_the_amount(
    costs: list[float | None], amount: float, spent: float, held: float, mean: float | None, alone: bool
) -> None:
    room = Room(amount, spent, held)
    chosen, over = choose(list(enumerate(costs)), room, mean, alone=alone)
    if chosen:
        assert spent + held + sum(chosen.values()) <= amount * (1 + 1e-6)
    assert not over or spent + (max([one for one in costs if one is not None] + [mean or 0.0])) >= amount * (1 - 1e-6)
    if mean is None:
        assert sum(costs[key] is None for key in chosen) <= (0 if alone else 1)


# The file


def intent(reserved: float) -> bytes:
    return intent_line(HandIn("n", "openai", Place("r", "", "e"), 1, 5.0, ("k-1", "k-2"), reserved=reserved))


def test_an_intent_says_what_it_may_cost_and_an_answer_what_it_did() -> None:
    job = Job()
    reading = Reading(job.add)
    reading.add(intent(0.5))
    assert reading.reserved == {"n": 0.5}
    assert job.under_way["n"].reserved == 0.5
    reading.add(handed_in_line("n", 6.0, "b"))
    reading.add(answer_line("k-1", 7.0, 200, {}, 0.125))
    assert reading.reserved == {"n": 0.25}
    reading.add(answer_line("k-2", 7.0, 200, {}, 0.0))
    assert (reading.spent.cost, job.mean.value) == (0.125, 0.0625)
    assert reading.reserved == {"n": 0.0}  # each of the two has its own line
    reading.add(over_line("n", 8.0, "ended"))
    assert reading.reserved == {}


def test_where_nothing_is_bounded_nothing_is_said() -> None:
    for line in (intent(0.0), answer_line("k-1", 7.0, 200, {})):
        said = read_line(line)
        assert said is not None
        assert not {"reserved", "cost"} & said.keys()


@pytest.mark.parametrize("amount", [-1.0, "1", None, True, 1e300])
def test_garbage_is_no_amount(amount: Any) -> None:
    job = Job()
    said = {"key": "n", "kind": "intent", "provider": "openai", "questions": [], "root": "r", "endpoint": "e"}
    job.add({**said, "reserved": amount}, 0)
    assert job.under_way["n"].reserved == 0.0


def test_a_mean() -> None:
    mean = Mean()
    assert mean.value is None
    mean.add(1.0)
    mean.add(3.0)
    assert mean.value == 2.0

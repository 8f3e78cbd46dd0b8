"""Batches, the pure part: what a request asks, hand-ins and their results, and a job told by the lines of its file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fanmap._policy.batch import anthropic, openai
from fanmap._policy.batch.hand_ins import asked_again, is_spent, split
from fanmap._policy.batch.job import HandIn, Job, answer_line, handed_in_line, intent_line, over_line
from fanmap._policy.batch.ledger import Ledger
from fanmap._policy.batch.question import (
    NotBatched,
    Question,
    QuestionKeys,
    group_of,
    is_own_host,
    item_of,
    mark_of,
    read_question,
    shown_query,
)
from fanmap._policy.batch.wire import Answer, Batch, Call, Line, Place, Refused
from fanmap._policy.journals.journal import Reading, read_line
from fanmap._policy.limits.rate import Rate
from fanmap._policy.tokens.money import Money, NoPrice, dollars_rate, only_counts
from fanmap.types import BatchSummary, Usage

BODY = b'{"model":"m","input":"hi","stream":false}'


def question(url: str, body: bytes = BODY, headers: dict[str, str] | None = None, endpoints: Any = ()) -> Any:
    return read_question("POST", url, headers or {}, body, endpoints)


# What a request asks


@pytest.mark.parametrize(
    ("url", "provider", "root", "query", "endpoint"),
    [
        ("https://api.openai.com/v1/responses", "openai", "https://api.openai.com/v1", "", "/v1/responses"),
        ("https://eu.api.openai.com/v1/embeddings", "openai", "https://eu.api.openai.com/v1", "", "/v1/embeddings"),
        (
            "https://me.openai.azure.com/openai/deployments/m/chat/completions?api-version=2024-10-21",
            "openai", "https://me.openai.azure.com/openai", "api-version=2024-10-21", "/chat/completions",
        ),
        (
            "https://me.openai.azure.com/openai/v1/responses",
            "openai", "https://me.openai.azure.com/openai/v1", "", "/v1/responses",
        ),
        ("https://api.anthropic.com/v1/messages", "anthropic", "https://api.anthropic.com/v1", "", "/v1/messages"),
        (
            "http://here:1/openai/v1/chat/completions",
            "openai", "http://here:1/openai/v1", "", "/v1/chat/completions",
        ),
    ],
)  # fmt: skip
def test_where_a_request_can_travel(url: str, provider: str, root: str, query: str, endpoint: str) -> None:
    found: Question = question(url, endpoints=("http://here:1/openai/v1/",))
    assert found[:5] == (provider, root, query, endpoint, "m")
    assert found.body == {"model": "m", "input": "hi"}


@pytest.mark.parametrize("body", [b'{"input":"hi"}', b'{"model":"gpt","input":"hi"}'])
def test_the_model_of_azures_older_paths_is_their_deployment(body: bytes) -> None:
    url = "https://me.openai.azure.com/openai/deployments/{}/chat/completions?api-version=1"
    one, other = question(url.format("a%20b"), body), question(url.format("c"), body)
    assert (one.model, one.body) == ("a b", {"model": "a b", "input": "hi"})  # a line names it nowhere else
    assert (other.model, other.body) == ("c", {"model": "c", "input": "hi"})
    assert one.digest != other.digest
    assert group_of(one, {}) != group_of(other, {})


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://api.openai.com.evil.com/v1/responses", "https://api.openai.com.evil.com/v1"),
        ("https://evil.com/api.openai.com/v1/responses", "https://evil.com/api.openai.com/v1"),
        ("http://here:10/v1/responses?key=secret", "http://here:10/v1"),
        ("https://me:secret@here/llm/v1/chat/completions", "https://here/llm/v1"),
        ("https://here/openai/deployments/d/chat/completions", "https://here/openai"),
    ],
)
def test_a_server_that_is_not_known_has_a_base_to_name(url: str, base: str) -> None:
    assert question(url) == NotBatched("host", base)
    assert isinstance(question(url.replace("me:secret@", ""), endpoints=(base,)), Question)


@pytest.mark.parametrize(
    ("url", "body", "why"),
    [
        ("https://api.openai.com/v1/responses", b'{"stream":true}', "streaming"),
        ("https://here/v1/responses", b'{"model":"m","stream":true}', "streaming"),
        ("https://chat.com/channels/7/messages", b'{"content":"hi"}', "path"),
        ("https://api.openai.com/v1/files", BODY, "path"),
        ("https://api.openai.com/v1/responses", b"no JSON", "path"),
        ("https://api.openai.com/v1/responses", b"[1]", "path"),
        ("https://api.openai.com/v1/responses", None, "path"),
        ("https://api.anthropic.com/v1/messages/batches", BODY, "path"),
    ],
)
def test_and_why_not(url: str, body: Any, why: str) -> None:
    assert question(url, body, endpoints=("http://here:1",)) == NotBatched(why)  # type: ignore[arg-type]


def test_equal_questions_have_equal_digests_whoever_asks_them() -> None:
    url = "https://api.openai.com/v1/responses"
    one = question(url, b'{"model":"m","input":"hi"}', {"authorization": "Bearer a"})
    same = question(url, b'{ "input": "hi", "model": "m" }', {"authorization": "Bearer b"})
    other = question(url, b'{"model":"m","input":"ho"}')
    beta = question(url, BODY, {"anthropic-beta": "x"})
    elsewhere = question("https://eu.api.openai.com/v1/responses")
    assert one.digest == same.digest
    assert len({one.digest, other.digest, beta.digest, elsewhere.digest}) == 4
    assert group_of(one, {"authorization": "Bearer a"}) != group_of(one, {"authorization": "Bearer b"})
    assert "Bearer" not in repr(group_of(one, {"authorization": "Bearer a"}))
    of_account = ["authorization", "x-api-key", "api-key", "openai-organization", "openai-project"]
    for name in of_account:
        assert question(url, headers={name: "p"}).digest == question(url).digest, name
        assert group_of(one, {name: "p"}) != group_of(one, {}), name
    for name in ("anthropic-version", "anthropic-beta"):
        assert question(url, headers={name: "1"}).digest != question(url).digest, name
        assert group_of(one, {name: "1"}) != group_of(one, {}), name
    assert group_of(one, {"user-agent": "p"}) == group_of(one, {})


def test_keys_are_the_same_whatever_the_order() -> None:
    def keys(item: str, digests: str, attempt: int = 1) -> list[str]:
        made = QuestionKeys(item)
        made.attempt = attempt
        return [made.key(digest) for digest in digests]

    assert set(keys("item", "aab")) == set(keys("item", "baa"))
    assert len(set(keys("item", "aab"))) == 3
    assert not set(keys("item", "aab")) & set(keys("other", "aab"))
    assert not set(keys("item", "aab")) & set(keys("item", "aab", 2))
    for key in keys("item", "aab"):
        assert item_of(key) == mark_of("item")
        assert len(key) <= 64
        assert key.replace("-", "").isalnum()


def test_keys_stay_as_they_are_in_files() -> None:
    keys = QuestionKeys("item")
    first, second = "4a33eacd5fa65f2b-2fcdafa0333f6f4229975f76", "4a33eacd5fa65f2b-e68c8211fc89ebc364a270c5"
    assert [keys.key("a"), keys.key("a")] == [first, second]


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://api.openai.com/v1", True),
        ("https://me.openai.azure.com/openai", True),
        ("http://api.openai.com/v1", False),
        ("https://api.openai.com.evil.com/v1", False),
        ("https:///v1", False),
    ],
)
def test_the_providers_own_server_is_known_by_its_host_over_tls(url: str, own: bool) -> None:
    assert is_own_host("openai", url) is own


def test_of_a_query_and_of_an_account_little_is_written_down() -> None:
    assert shown_query("api-version=1&subscription-key=secret&beta=true&beta2=x&beta") == "api-version=1&beta=true&beta"
    assert shown_query("") == ""
    one = question("https://api.openai.com/v1/responses")
    shown = [group_of(one, {"x-api-key": key}).shown_account for key in ("a", "b", "\ud800")]
    assert [len(said) for said in shown] == [4, 4, 4]
    assert len(set(shown)) == 3


def test_what_is_no_text_in_any_encoding_is_asked_all_the_same() -> None:
    odd = question("https://api.openai.com/v1/responses", b'{"model":"m","input":"\\ud800"}')
    assert len(odd.digest) == 64


def test_a_request_of_another_method_or_of_no_model_cannot_travel() -> None:
    assert read_question("GET", "https://api.openai.com/v1/responses", {}, BODY, ()) == NotBatched("path")
    assert question("https://api.openai.com/v1/responses", b'{"model":["m"],"input":"hi"}').model == ""


# Hand-ins


def test_split_is_as_full_as_it_may_be() -> None:
    sizes = [(1, 10)] * 5
    assert split([], most_lines=2, most_bytes=99, overhead=1) == []
    assert split(sizes, most_lines=2, most_bytes=99, overhead=1) == [range(2), range(2, 4), range(4, 5)]
    assert split(sizes, most_lines=9, most_bytes=33, overhead=1) == [range(3), range(3, 5)]
    assert split(sizes, most_lines=9, most_bytes=32, overhead=1) == [range(2), range(2, 4), range(4, 5)]
    assert split([(1, 500), (1, 1)], most_lines=9, most_bytes=33, overhead=1) == [range(1), range(1, 2)]
    assert split([(4, 1), (3, 1), (2, 1)], most_lines=5, most_bytes=99, overhead=1) == [range(1), range(1, 3)]


def test_embeddings_weigh_their_inputs() -> None:
    url = "https://api.openai.com/v1/embeddings"
    for inputs, weight in [("x", 1), (["x", "y"], 2), ([1, 2, 3], 1), ([[1], [2]], 2)]:
        assert openai.weight(question(url, json.dumps({"model": "m", "input": inputs}).encode())) == weight


def test_what_is_asked_again() -> None:
    assert [status for status in (200, 400, 401, 404, 408, 409, 422, 429, 500, 503, 529) if asked_again(status, {})] == [
        408, 409, 429, 500, 503, 529,
    ]  # fmt: skip
    assert asked_again(None, None)
    spent = {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}
    assert is_spent(429, spent)
    assert not asked_again(429, spent)
    assert not is_spent(200, spent)


# Providers

PLACE = Place("http://h/v1", "", "/v1/responses")


def play(flow: Any, *answers: Any) -> tuple[list[Call], Any]:
    """Run a flow with these answers; its calls, and what it came to."""
    calls, left = [next(flow)], list(answers)
    try:
        while True:
            answer = left.pop(0)
            calls.append(flow.send(Answer(200, json.dumps(answer).encode())))
    except StopIteration as end:
        return calls, end.value


def test_openai_uploads_a_file_and_makes_a_batch_of_it() -> None:
    lines = [openai.line(f"k{n}", question("https://api.openai.com/v1/responses")) for n in range(2)]
    calls, made = play(openai.create(PLACE, "name", lines), {"id": "file-1"}, {"id": "batch-1"})
    assert made == "batch-1"
    assert [(call.method, call.url, call.safe) for call in calls] == [
        ("POST", "http://h/v1/files", True),
        ("POST", "http://h/v1/batches", False),
    ]
    assert calls[0].kind == "multipart/form-data; boundary=fanmap-name"
    assert b"\r\n\r\nbatch\r\n" in calls[0].body
    assert b"\n".join(lines) in calls[0].body
    assert json.loads(lines[1]) == {
        "custom_id": "k1", "method": "POST", "url": "/v1/responses", "body": {"model": "m", "input": "hi"},
    }  # fmt: skip
    assert json.loads(calls[1].body) == {
        "input_file_id": "file-1",
        "endpoint": "/v1/responses",
        "completion_window": "24h",
        "metadata": {"fanmap": "name"},
    }


def test_openai_says_where_a_batch_stands() -> None:
    def look(**said: Any) -> Batch:
        return play(openai.look(PLACE, "b"), {"id": "b", **said})[1]  # type: ignore[no-any-return]

    for state in ("validating", "in_progress", "finalizing", "cancelling", "something new"):
        assert look(status=state).state == "running"
    done = look(status="completed", output_file_id="o", error_file_id="e", request_counts={"total": 3, "completed": 2,
                "failed": 1})  # fmt: skip
    assert done == Batch(
        "b", "ended", "completed", 3, 3, 2, ("http://h/v1/files/o/content", "http://h/v1/files/e/content")
    )
    assert look(status="expired", output_file_id=None, error_file_id="e").results == ("http://h/v1/files/e/content",)
    failed = look(status="failed", errors={"data": [{"code": "token_limit_exceeded", "message": "too many"}]})
    assert (failed.state, failed.problem, failed.words) == ("failed", "token_limit_exceeded", "too many")
    assert look(status="cancelled").state == "cancelled"


def test_openai_finds_a_batch_by_its_name() -> None:
    page = {"data": [{"id": "x", "created_at": 100_000}], "has_more": True}
    hit = {"data": [{"id": "y", "metadata": {"fanmap": "name"}, "status": "completed"}], "has_more": False}
    calls, (found, sure) = play(openai.find(PLACE, "name", 100_000.0, 3), page, hit)
    assert [one.id for one in found] == ["y"]
    assert sure
    assert calls[1].url == "http://h/v1/batches?limit=100&after=x"
    old = {"data": [{"id": "x", "created_at": 90_000}], "has_more": True}
    assert play(openai.find(PLACE, "name", 100_000.0, 3), old)[1] == ([], True)


def test_openai_lines() -> None:
    def read(**said: Any) -> Line | None:
        return openai.read_line(json.dumps({"custom_id": "k", **said}).encode())

    assert read(response={"status_code": 200, "body": {"a": 1}}, error=None) == Line("k", 200, {"a": 1})
    assert read(response={"status_code": 400, "body": {"error": {}}}) == Line("k", 400, {"error": {}})
    assert read(response=None, error={"code": "batch_expired"}) == Line("k", None, None)
    odd = read(response=None, error={"code": "bad", "message": "no"})
    assert odd is not None and (odd.status, odd.body["error"]["message"]) == (400, "no")
    for nothing in ({}, {"body": None}, {"body": "x"}):  # an answer that is none is asked for again
        assert read(response={"status_code": 200, **nothing}) == Line("k", None, None)
    assert read(response={"status_code": 500}) == Line("k", 500, None)
    assert openai.read_line(b'{"custom_id": "k", "resp') is None
    assert openai.read_line(b"[]") is None


def test_a_place_with_a_query_keeps_it() -> None:
    place = Place("http://h/openai", "api-version=1", "/chat/completions")
    assert place.url("/batches") == "http://h/openai/batches?api-version=1"
    assert place.url("/batches", "limit=1") == "http://h/openai/batches?limit=1&api-version=1"


def test_anthropic_hands_in_all_in_one() -> None:
    place = Place("http://h/v1", "", "/v1/messages")
    asked = question("https://api.anthropic.com/v1/messages", b'{"model":"c"}')
    calls, made = play(
        anthropic.create(place, "n", [anthropic.line("a", asked), anthropic.line("b", asked)]), {"id": "x"}
    )
    assert made == "x"
    assert (calls[0].url, calls[0].safe) == ("http://h/v1/messages/batches", False)
    assert json.loads(calls[0].body) == {
        "requests": [{"custom_id": "a", "params": {"model": "c"}}, {"custom_id": "b", "params": {"model": "c"}}]
    }


def test_anthropic_says_where_a_batch_stands() -> None:
    place = Place("http://h/v1", "", "/v1/messages")
    counts = {"processing": 1, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0}
    said = {"id": "b", "processing_status": "in_progress", "request_counts": counts, "results_url": None}
    assert play(anthropic.look(place, "b"), said)[1] == Batch("b", "running", "in_progress", 3, 4, 2)
    said |= {"processing_status": "ended", "results_url": "https://api.anthropic.com/v1/messages/batches/b/results"}
    results = ("http://h/v1/messages/batches/b/results",)
    assert play(anthropic.look(place, "b"), said)[1] == Batch("b", "ended", "ended", 3, 4, 2, results)
    said["cancel_initiated_at"] = "2026-01-01T00:00:00Z"
    assert play(anthropic.look(place, "b"), said)[1].state == "cancelled"


def test_anthropic_candidates_are_as_large_and_not_older() -> None:
    place = Place("http://h/v1", "", "/v1/messages")

    def one(name: str, count: int, made: str) -> dict[str, Any]:
        return {"id": name, "request_counts": {"processing": count}, "created_at": made}

    page = {"data": [
        one("right", 3, "1970-01-02T00:00:00Z"), one("small", 2, "1970-01-02T00:00:00Z"),
        one("old", 3, "1970-01-01T22:59:59Z"), one("clocks differ", 3, "1970-01-01T23:00:01Z"),
    ]}  # fmt: skip
    found, sure = play(anthropic.find(place, "n", 86400.0, 3), page)[1]
    assert [batch.id for batch in found] == ["right", "clocks differ"]
    assert not sure
    newer = {"data": [one("newer", 9, "1970-01-03T00:00:00Z")], "has_more": True}
    calls, (found, _) = play(anthropic.find(place, "n", 86400.0, 3), newer, page | {"has_more": True}, {"data": []})
    assert [batch.id for batch in found] == ["right", "clocks differ"]
    assert [call.url for call in calls[1:]] == [
        "http://h/v1/messages/batches?limit=100&after_id=newer",
        "http://h/v1/messages/batches?limit=100&after_id=clocks differ",
    ]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid_request_error", 400), ("authentication_error", 401), ("billing_error", 402),
        ("permission_error", 403), ("not_found_error", 404), ("request_too_large", 413), ("rate_limit_error", 429),
        ("timeout_error", 504), ("overloaded_error", 529), ("api_error", 500), ("anything", 500),
    ],
)  # fmt: skip
def test_an_anthropic_line_that_errored_stands_for_the_status_of_its_type(kind: str, status: int) -> None:
    error = {"type": kind, "message": "m"}
    said = {"custom_id": "k", "result": {"type": "errored", "error": {"type": "error", "error": error}}}
    assert anthropic.read_line(json.dumps(said).encode()) == Line("k", status, {"type": "error", "error": error})


def test_other_anthropic_lines() -> None:
    def read(**result: Any) -> Line | None:
        return anthropic.read_line(json.dumps({"custom_id": "k", "result": result}).encode())

    assert read(type="succeeded", message={"id": "m"}) == Line("k", 200, {"id": "m"})
    assert read(type="expired") == read(type="canceled") == Line("k", None, None)
    for nothing in ({}, {"message": None}, {"message": []}):
        assert read(type="succeeded", **nothing) == Line("k", None, None)
    assert anthropic.read_line(b"{") is None


def test_a_refusal_has_the_providers_words() -> None:
    assert Refused(400, b'{"error": {"message": "no such model"}}').words == "no such model"
    assert Refused(400, b'{"error": "plain"}').words == "plain"
    assert Refused(502, b"<html>" + b"x" * 999).words == "<html>" + "x" * 494
    flow = anthropic.look(Place("http://h/v1", "", ""), "b")
    next(flow)
    with pytest.raises(Refused):
        flow.send(Answer(404, b"{}"))


# A job, told by its file

KEYS = [QuestionKeys("item").key("a"), QuestionKeys("other").key("a")]
HAND_IN = HandIn("name", "openai", PLACE, 1, 5.0, tuple(KEYS))


def told(*lines: bytes, live: bool = False) -> Job:
    job, place = Job(), 0
    for line in lines:
        said = read_line(line)
        assert said is not None
        job.add(said, place, live=live)
        place += len(line)
    return job


def test_a_job_from_intent_to_end() -> None:
    intent, made = intent_line(HAND_IN), handed_in_line("name", 6.0, "b-1")
    job = told(intent)
    assert job.under_way["name"] == HAND_IN
    assert job.asked_in == dict.fromkeys(KEYS, "name")
    assert (job.turn, job.turns) == (1, {mark_of("item"): (1, 1), mark_of("other"): (1, 1)})
    job = told(intent, made)
    assert job.under_way["name"].id == "b-1"
    assert job.ids == {"b-1"}
    answered = answer_line(KEYS[0], 7.0, 200, {"text": "é"})
    job = told(intent, made, answered, over_line("name", 8.0, "ended"))
    assert job.answers == {KEYS[0]: len(intent) + len(made)}
    assert not job.under_way
    assert not job.asked_in
    assert job.ids == {"b-1"}


def test_a_failure_counts_in_the_process_that_read_it_only() -> None:
    lines = intent_line(HAND_IN), answer_line(KEYS[0], 7.0, 400, {})
    assert told(*lines).failures == {}
    assert told(*lines, live=True).failures == {KEYS[0]: len(lines[0])}


def test_turns_are_those_in_which_an_item_asked_something_new() -> None:
    keys = QuestionKeys("item")
    first, second, third = (keys.key(digest) for digest in "abc")

    def line(name: str, turn: int, *asked: str) -> bytes:
        return intent_line(HandIn(name, "openai", PLACE, turn, 5.0, asked))

    job = told(line("1", 1, first), line("2", 1, second), line("3", 2, first), line("4", 3, third))
    assert job.turns[mark_of("item")] == (2, 3)
    assert job.is_first(mark_of("item"), [keys.key("d")])
    assert not job.is_first(mark_of("item"), [third])


def test_what_an_item_has_forgotten() -> None:
    job = told(intent_line(HAND_IN))
    mark = mark_of("item")
    assert job.forgotten(mark, set()) == [KEYS[0]]
    assert job.forgotten(mark, {KEYS[0]}) == []
    job = told(intent_line(HAND_IN), over_line("name", 8.0, "void"))
    assert job.forgotten(mark, set()) == []  # it was never done: nothing is paid for twice


def test_lines_that_nobody_knows_are_passed_over() -> None:
    for extra in ('"kind":"intent","provider":"new","questions":[]', '"kind":"intent","questions":7', '"kind":"other"'):
        said = json.loads('{"v":1,"key":"k",' + extra + "}")
        job = Job()
        job.add(said, 0)
        assert (job.under_way, job.answers, job.ids) == ({}, {}, set())
    assert told(handed_in_line("gone", 1.0, "b")).ids == set()
    assert told(over_line("gone", 1.0, "ended")).under_way == {}


def test_a_journal_knows_which_batches_are_not_over() -> None:
    reading = Reading()
    second = HandIn("second", "openai", PLACE, 1, 5.0, ("q", "r"), reserved=1.0)
    for line in (intent_line(HAND_IN), intent_line(second), over_line("name", 8.0, "ended")):
        reading.add(line)
    assert reading.under_way == {"second": ["q", "r"]}


def test_a_journal_hands_on_what_is_not_its_own() -> None:
    seen: list[tuple[str, int]] = []
    reading = Reading(lambda said, place: seen.append((said["kind"], place)))
    lines = [intent_line(HAND_IN), answer_line(KEYS[0], 7.0, 200, "\ud800")]
    for line in lines:
        assert line.startswith(b'{"v":1,"key":"')
        assert b'"value"' not in line
        reading.add(line)
    assert seen == [("intent", 0), ("answer", len(lines[0]))]
    assert (reading.places, reading.skipped, reading.foreign) == ({}, 0, False)


# What it came to


def test_answers_are_priced_as_the_model_that_was_asked_for_else_as_the_one_that_answered() -> None:
    asked: list[tuple[str, int, str]] = []

    def price(model: str, usage: Usage, address: str) -> float:
        asked.append((model, usage.total, address))
        if model == "new":
            raise NoPrice
        return 0.5

    ledger = Ledger(Money(price, strict=False))
    usage = {"input_tokens": 3, "output_tokens": 4}
    ledger.answered({"model": "m-2026", "usage": usage}, "m", "here")
    ledger.answered({"model": "m-2026", "usage": usage}, "", "here")
    ledger.answered({"usage": usage}, "new", "here")
    ledger.answered({"data": []}, "m", "here")
    ledger.answered("no document", "m", "here")
    assert asked == [("m", 7, "here"), ("m-2026", 7, "here"), ("new", 7, "here")]
    assert (ledger.full_price, ledger.priced, ledger.unpriced) == (1.0, 2, 1)
    assert (ledger.tokens, ledger.lines["answered"]) == (Usage(9, 0, 12), 5)


def test_without_prices_tokens_are_counted_all_the_same() -> None:
    ledger = Ledger(None)
    ledger.answered({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, "m", "here")
    ledger.count("expired")
    assert (ledger.tokens.total, ledger.priced, ledger.unpriced) == (7, 0, 0)
    assert ledger.lines == {"answered": 1, "asked again": 0, "failed": 0, "expired": 1}


def test_dollars_that_nothing_bounds_are_only_counted() -> None:
    assert only_counts(dollars_rate(None))
    assert not only_counts(dollars_rate(5.0))
    assert not only_counts(Rate(10, 60.0))


def test_a_summary_for_people() -> None:
    known: dict[str, Any] = {
        "total": 9, "done": 7, "failed": 1, "resumed": 2, "turns": 2, "batches": 1, "sent_at_once": 1,
        "lines": {"answered": 4, "asked again": 0, "failed": 1, "expired": 2}, "tokens": Usage(10, 4, 20),
        "spent": 0.5, "full_price": 1.0, "unpriced": 2,
    }  # fmt: skip
    assert str(BatchSummary(**known)).splitlines() == [
        "4 answered, 2 resumed, 1 failed, 2 not done",
        "2 turns, 1 batch ended; requests: 4 answered, 0 asked again, 1 failed, 2 expired",
        "1 request sent at once, at full price",
        "30 tokens: 10 in (4 of them cached), 20 out",
        "$0.5000 spent, $1.0000 outside of batches (2 answers without a known price)",
    ]
    nothing = {"done": 9, "failed": 0, "resumed": 9, "batches": 0, "sent_at_once": 0, "tokens": Usage(), "spent": None}
    assert str(BatchSummary(**{**known, **nothing, "full_price": None})) == "0 answered, 9 resumed, 0 failed"

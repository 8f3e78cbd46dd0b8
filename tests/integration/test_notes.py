"""What stands under a failure's traceback: which item it was, why it may have failed, what is kept, how to go on."""

from __future__ import annotations

import asyncio
import json
import warnings

import pytest

from fanmap import JournalError, Limits, NotRun, gather_bounded, parallel_map
from fanmap._drive import notices
from fanmap.testing import VirtualTime

pytestmark = pytest.mark.usefixtures("nothing_left")


class Broken(Exception):
    pass


def notes_of(error):
    return list(getattr(error, "__notes__", ()))


# Which item it was


def test_every_failure_names_its_item_wherever_it_stands(way):
    async def ask(x):
        if x % 3 == 1:
            raise Broken
        return x

    kept = way.run(way.decorate(ask, max_concurrency=2), range(9), return_exceptions=True)
    failures = {index: one for index, one in enumerate(kept) if isinstance(one, Broken)}
    assert list(failures) == [1, 4, 7]
    for index, failure in failures.items():
        assert notes_of(failure) == [f"fanmap: item {index} of ask"]


def test_what_never_started_names_its_item_too(whole_way):
    async def ask(x):
        raise Broken

    kept = whole_way.run(whole_way.decorate(ask, max_concurrency=1), range(3), return_exceptions=True, max_failures=1)
    assert [type(one) for one in kept] == [Broken, NotRun, NotRun]
    assert [notes_of(one) for one in kept] == [[f"fanmap: item {index} of ask"] for index in range(3)]


def test_failures_of_gather_bounded_name_their_place():
    async def ask(x):
        if x:
            raise Broken
        return x

    async def main():
        one = ask(0)
        return await gather_bounded(one, one, ask(1), ask(2), return_exceptions=True)

    kept = asyncio.run(main())
    assert [notes_of(one) for one in kept[2:]] == [
        ["fanmap: item 2 of gather_bounded"],
        ["fanmap: item 3 of gather_bounded"],
    ]


@pytest.mark.whole
def test_one_exception_that_thousands_of_items_raise_does_not_collect_thousands_of_notes():
    error = Broken()

    @parallel_map
    def ask(x):
        raise error

    kept = ask.map(range(5_000), return_exceptions=True)
    assert set(map(id, kept)) == {id(error)}
    assert notes_of(error) == [f"fanmap: item {index} of ask" for index in range(8)]


def test_a_failure_that_is_handed_out_shows_the_failing_line_first():
    @parallel_map(timeout=9)
    def ask(x):
        raise Broken

    (kept,) = ask.map([1], return_exceptions=True)
    (outcome,) = ask.as_completed([1])
    for error in (kept, outcome.error):
        assert error.__traceback__.tb_frame.f_code.co_name == "ask"


# Why it may have failed

SPREAD = "fanmap: each tuple was passed as one argument: with unpack=True its parts are the arguments"


def test_tuples_that_were_not_unpacked_are_explained_on_the_first_failure_only(strict_way):
    def blocking(text, language="French"):
        return text.upper() + language

    async def awaited(text, language="French"):
        return text.upper() + language

    function = awaited if strict_way.is_async else blocking
    function.__name__ = "ask"
    ask = parallel_map(function, max_concurrency=1)
    pairs = [("a", "French"), ("b", "Spanish")]
    with pytest.raises(AttributeError) as raised:
        strict_way.run(ask, pairs)
    assert notes_of(raised.value) == ["fanmap: item 0 of ask", SPREAD]
    kept = strict_way.run(ask, pairs, return_exceptions=True)
    assert [notes_of(one) for one in kept] == [["fanmap: item 0 of ask", SPREAD], ["fanmap: item 1 of ask"]]
    assert strict_way.run(ask, pairs, unpack=True) == ["AFrench", "BSpanish"]


def test_the_first_failure_that_is_seen_has_it_whichever_came_first(gates):
    gate = gates()

    @parallel_map(max_concurrency=2)
    def ask(text, language="French"):
        if text[0] == "b":
            gate.open()
        else:
            asyncio.run(gate.passed())
        raise Broken

    with pytest.raises(Broken) as raised:
        list(ask.imap([("a", "x"), ("b", "x")]))
    assert notes_of(raised.value)[:2] in (
        ["fanmap: item 0 of ask", SPREAD],
        ["fanmap: item 1 of ask", SPREAD],
    )


@pytest.mark.parametrize("said", [None, "look here", KeyError()], ids=["nothing", "a line", "an error"])
def test_why_is_asked_of_the_first_failure_only(monkeypatch, said):
    asked = []

    def note_on(function, name, item, error, *, unpack):
        asked.append((function.__name__, name, item, type(error), unpack))
        if isinstance(said, Exception):
            raise said
        return said

    monkeypatch.setattr("fanmap._hints.items.note_on", note_on)

    @parallel_map(max_concurrency=1)
    def ask(x):
        raise Broken

    kept = ask.map(range(4), return_exceptions=True)
    assert asked == [("ask", "ask", 0, Broken, False)]
    assert [len(notes_of(one)) for one in kept] == [2 if said == "look here" else 1, 1, 1, 1]


def test_a_method_without_its_object_is_explained():
    class Client:
        @parallel_map
        def ask(self, prompt):
            return prompt

    with pytest.raises(TypeError, match="missing 1 required positional argument") as raised:
        Client.ask.map(["a"])
    assert notes_of(raised.value)[1].startswith("fanmap: ask is a method and was given no object: write object.ask.map")


def test_an_item_that_objects_to_being_looked_at_is_not_explained():
    class Objects:
        @property
        def __class__(self):
            raise AssertionError("nobody looks at it")

    @parallel_map
    def ask(item, other=None):
        raise Broken

    with pytest.raises(Broken) as raised:
        ask.map([Objects()])
    assert notes_of(raised.value) == ["fanmap: item 0 of ask"]


# What is kept


def test_a_run_that_fails_says_what_is_kept_and_that_the_same_call_goes_on(tmp_path, strict_way):
    broken = True

    async def ask(x):
        if broken and x == 3:
            raise Broken
        return x

    path = tmp_path / "answers.jsonl"
    ask = strict_way.decorate(ask, max_concurrency=1)
    with pytest.raises(Broken) as raised:
        strict_way.run(ask, range(6), resume=path)
    assert notes_of(raised.value) == [
        "fanmap: item 3 of ask",
        f"fanmap: results kept in {str(path)!r}: 3; run the same call again to resume",
    ]
    assert sum("value" in json.loads(line) for line in path.read_text().splitlines() if line.strip()) == 3
    broken = False
    assert strict_way.run(ask, range(6), resume=path) == list(range(6))


def test_ctrl_c_and_a_deadline_say_it_too(tmp_path):
    path = str(tmp_path / "answers.jsonl")

    @parallel_map(max_concurrency=1)
    def ask(x):
        if x == 1:
            raise KeyboardInterrupt
        return x

    with pytest.raises(KeyboardInterrupt) as raised:
        ask.map(range(3), resume=path)
    assert notes_of(raised.value) == [f"fanmap: results kept in {path!r}: 1; run the same call again to resume"]


def test_a_journal_that_cannot_be_used_promises_nothing(tmp_path):
    with pytest.raises(JournalError) as raised:
        parallel_map(abs).map([1], resume=tmp_path)
    assert notes_of(raised.value) == []


def test_without_a_journal_nothing_is_said():
    @parallel_map
    def ask(x):
        raise Broken

    with pytest.raises(Broken) as raised:
        ask.map([1])
    assert notes_of(raised.value) == ["fanmap: item 0 of ask"]


# How long a server may keep everybody from working


class Refused(Exception):
    status_code = 429

    def __init__(self, seconds):
        super().__init__("refused")
        self.response = type("Response", (), {"status_code": 429, "headers": {"retry-after": str(seconds)}})()


def test_a_wait_beyond_max_wait_says_so_on_the_error_with_the_number_to_write():
    said = "fanmap: not sent again: the server asked to wait 99.0 s, and max_wait is 1.5: write Limits(max_wait=99)"

    def ask(x):
        raise Refused(99)

    with pytest.raises(Refused) as raised:
        parallel_map(limits=Limits(1, max_wait=1.5))(ask).map([1, 2])
    assert notes_of(raised.value) == [said, "fanmap: item 0 of ask"]
    direct = parallel_map(limits=Limits(1, max_wait=1.5))(ask)
    with VirtualTime():  # of the 99 s none passes
        with pytest.raises(Refused) as raised:
            direct(1)
        assert notes_of(raised.value) == [said]
        too_long = r"longer than max_wait=1.5: to wait that long, write Limits\(max_wait=99\)$"
        with pytest.raises(NotRun, match=too_long):
            direct(2)
    assert parallel_map(limits=Limits(1, max_wait=99))(lambda x: x)(1) == 1


# A loop that is blocked


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("way", ["map", "imap", "as_completed"])
def test_a_blocking_run_of_either_kind_inside_a_loop_is_warned_of(monkeypatch, kind, way):
    monkeypatch.setattr(notices, "_warned_of_blocking", False)

    def ask(x):
        return x

    async def aask(x):
        return x

    decorated = parallel_map(ask if kind == "def" else aask)

    async def main():
        return list(getattr(decorated, way)([1]))

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        asyncio.run(main())
        asyncio.run(main())
    name = decorated.__name__
    line = f"write `await {name}.amap(...)` or `async for ... in {name}.imap(...)`"
    text = f"a blocking run of {name} blocks the running event loop, and everything else on it, until it ends"
    assert [str(one.message) for one in warned] == [f"{text}: {line}"]
    assert warned[0].filename == __file__

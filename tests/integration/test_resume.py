"""`resume=`: what is in the journal is not asked for again, in every way of calling."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import os
import stat
import sys
import textwrap
import threading
import warnings
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from typing import Any

import pytest

from fanmap import JournalError, NotRun, parallel_map, partial_results
from fanmap._drive.journals.journal import Journal
from fanmap._drive.journals.recording import Recording
from fanmap._drive.runs.run import Run
from fanmap._policy.journals.journal import TooDeep, value_line


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "answers.jsonl")


def lines(path):
    """The whole lines of the file: another one may just be written."""
    with open(path, "rb") as file:
        return [json.loads(line) for line in file.read().split(b"\n")[:-1]]


def journal_lines(path):
    with open(path, "rb") as file:
        return file.read().splitlines()


def counted(way, body=None, **options):
    """A decorated function, and what it was called with."""
    called = []

    async def ask(item):
        called.append(item)
        await way.pause(0)
        return f"answer to {item}" if body is None else body(item)

    return way.decorate(ask, **{"max_concurrency": 4, **options}), called


def test_the_second_run_calls_nothing_and_returns_the_same(way, path):
    ask, called = counted(way)
    inputs = ["a", "b", "a", "c", "a"]
    first = way.run(ask, inputs, resume=path)
    assert sorted(called) == sorted(inputs)
    called.clear()
    assert way.run(ask, iter(inputs), resume=path) == first == [f"answer to {item}" for item in inputs]
    assert called == []


def test_only_what_is_missing_failed_or_changed_is_called(way, path):
    failing = {"bad"}

    def body(item):
        if item in failing:
            raise ValueError("no")
        return item.upper()

    ask, called = counted(way, body)
    first = way.run(ask, ["a", "bad", "b"], resume=path, return_exceptions=True)
    assert (first[0], type(first[1]), first[2]) == ("A", ValueError, "B")
    failing.clear()
    called.clear()
    assert way.run(ask, ["b", "bad", "new", "a"], resume=path) == ["B", "BAD", "NEW", "A"]
    assert sorted(called) == ["bad", "new"]


def test_an_async_input_resumes_too(awaiting_way, path):
    ask, called = counted(awaiting_way)

    async def inputs():
        for item in "abc":
            yield item

    first = awaiting_way.run(ask, inputs(), resume=path)
    called.clear()
    assert awaiting_way.run(ask, inputs(), resume=path) == first
    assert called == []


@pytest.mark.whole
def test_a_thousand_resumed_items_do_not_recurse_and_keep_their_order(way, path):
    ask, called = counted(way)
    inputs = range(1500)
    first = way.run(ask, inputs, resume=path)
    called.clear()
    assert way.run(ask, inputs, resume=path) == first
    assert called == []


def test_workers_that_a_stranger_cancels_lose_no_item_that_the_file_has(path):
    @parallel_map(max_concurrency=3)
    async def ask(item):
        called.append(item)
        return item

    called: list[int] = []
    ask.map(range(500), resume=path)
    called.clear()

    async def main():
        run = asyncio.ensure_future(ask.amap(range(500), resume=path))
        while not run.done():
            for _ in range(5):  # a task that is cancelled before its first step comes to nothing
                await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task(), run}:
                task.cancel()
        return await run

    assert asyncio.run(main()) == list(range(500))
    assert called == []


def test_five_times_the_same_prompt_stay_five_answers(path):
    counter = iter(range(100))

    @parallel_map(max_concurrency=1)
    def ask(prompt):
        return next(counter)

    first = ask.map(["same"] * 5, resume=path)
    assert sorted(first) == [0, 1, 2, 3, 4]
    assert ask.map(["same"] * 7, resume=path) == [*first, 5, 6]


def test_every_outcome_is_in_the_file_before_it_is_handed_out(lazy_way, path):
    ask, _ = counted(lazy_way, max_concurrency=2)

    async def main():
        seen = 0
        async with lazy_way.opened(lazy_way.start(ask, range(50), resume=path)) as results:
            async for result in lazy_way.each(results):
                seen += 1
                value = result.value if lazy_way.method == "as_completed" else result
                assert value in [line["value"] for line in lines(path)]
        assert seen == 50

    lazy_way.go(main)


def test_a_resumed_outcome_tells_so(path):
    @parallel_map
    def ask(item):
        return item

    ask.map([1, 2], resume=path)
    results = ask.as_completed([1, 2, 3], resume=path)
    outcomes = sorted(results, key=lambda outcome: outcome.index)
    assert [outcome.attempts for outcome in outcomes] == [0, 0, 1]
    assert (results.stats.resumed, results.stats.done, results.stats.started) == (2, 3, 1)
    assert results.summary.resumed == 2


def test_failures_are_in_the_file_for_people(path):
    @parallel_map
    def ask(item):
        raise ValueError(f"no {item}")

    ask.map([1], resume=path, return_exceptions=True)
    (line,) = lines(path)
    assert (line["index"], line["error"], line["message"]) == (0, "ValueError", "no 1")


def test_what_finished_before_a_failure_is_kept(whole_way, path):
    def body(item):
        if item == 3:
            raise ValueError("no")
        return item

    ask, called = counted(whole_way, body, max_concurrency=1)
    with pytest.raises(ValueError, match="no"):
        whole_way.run(ask, range(10), resume=path)
    assert called == [0, 1, 2, 3]
    assert [line["value"] for line in lines(path) if "value" in line] == [0, 1, 2]


def test_a_version_separates_results(path):
    @parallel_map
    def ask(item):
        called.append(item)
        return item

    called: list[int] = []
    for version, expected in [(None, 1), (None, 1), (2, 2), ("2", 3), (2, 3), (None, 3)]:
        ask.map([1], resume=path, version=version)
        assert len(called) == expected, version


def test_two_functions_share_a_file_one_after_the_other(path):
    @parallel_map
    def ask(item):
        return "asked"

    @parallel_map
    def tell(item):
        return "told"

    assert (ask.map([1], resume=path), tell.map([1], resume=path)) == (["asked"], ["told"])
    assert (ask.map([1], resume=path), tell.map([1], resume=path)) == (["asked"], ["told"])
    assert len(lines(path)) == 2


def test_fixed_arguments_count_and_unpacked_ones_too(path):
    @parallel_map
    def ask(text, model="small"):
        called.append((text, model))
        return [text, model]

    called: list[Any] = []
    inputs = [("a",), {"text": "b"}]
    ask.map(inputs, unpack=True, resume=path)
    assert ask.map(inputs, unpack=True, resume=path) == [["a", "small"], ["b", "small"]]
    assert len(called) == 2
    assert ask.partial(model="large").map(["a"], resume=path) == [["a", "large"]]
    assert ask.partial(model="large").map(["a"], resume=path, key=str) == [["a", "large"]]
    assert ask.partial(model="small").map(["a"], resume=path, key=str) == [["a", "small"]]
    assert len(called) == 5


def test_an_input_that_cannot_be_unpacked_fails_as_its_item(path):
    @parallel_map
    def ask(text):
        return text

    found = ask.map([("a",), "b", ("c",)], unpack=True, resume=path, return_exceptions=True)
    assert [type(one) for one in found] == [str, TypeError, str]


@pytest.mark.parametrize("why", [RuntimeError("no"), StopIteration()], ids=repr)
def test_an_input_that_objects_to_being_unpacked_fails_as_its_item(why, path):
    class Shy(tuple):
        def __iter__(self):
            raise why

    ask = parallel_map(lambda text: text, max_concurrency=1)
    found = ask.map([("a",), Shy("b"), ("c",)], unpack=True, resume=path, return_exceptions=True)
    assert [type(one) for one in found] == [str, RuntimeError, str]


# Keys and results of other types


class Prompt:
    def __init__(self, text):
        self.text = text


def test_an_input_without_a_lasting_text_needs_a_key(way, path):
    ask, _ = counted(way, lambda item: "answer")
    with pytest.raises(
        TypeError,
        match=r"^cannot derive a journal key for input 1 of ask: Prompt has no stable representation. "
        r"Pass key=, a function returning a string for each input.",
    ):
        way.run(ask, ["a", Prompt("secret")], resume=path)
    assert [line["value"] for line in lines(path)] == ["answer"]  # what was taken was finished, and kept


def test_a_key_makes_one(way, path):
    ask, called = counted(way, lambda item: item.text)
    for _ in range(2):
        found = way.run(ask, [Prompt("a"), Prompt("b")], resume=path, key=lambda prompt: prompt.text)
        assert found == ["a", "b"]
    assert len(called) == 2


def test_what_a_key_raises_ends_the_input(way, path):
    ask, called = counted(way)

    def key(item):
        raise (StopIteration if item == "c" else ZeroDivisionError)

    with pytest.raises(ZeroDivisionError):
        way.run(ask, ["a"], resume=path, key=key)
    with pytest.raises(RuntimeError, match="key raised StopIteration"):
        way.run(ask, ["c"], resume=path, key=key)
    assert called == []


@dataclasses.dataclass
class Review:
    text: str
    stars: tuple[int, int]


def test_a_dataclass_comes_back_as_itself(path):
    @parallel_map
    def ask(text: str) -> Review | None:
        called.append(text)
        return Review(text, (4, 5)) if text else None

    called: list[str] = []
    for _ in range(2):
        assert ask.map(["good", ""], resume=path) == [Review("good", (4, 5)), None]
    assert called == ["good", ""]


def test_what_a_function_returns_is_known_whatever_only_type_checkers_know_of_its_parameters(path):
    def ask(text: str, client: OnlyForTypeCheckers | None = None) -> Review:  # noqa: F821  # pyright: ignore
        called.append((text, client))
        return Review(text, (4, 5))

    called = []
    for _ in range(2):
        assert parallel_map(ask).map(["good"], resume=path) == [Review("good", (4, 5))]
    assert called == [("good", None)]


def test_nor_do_annotations_that_are_evaluated_late_say_less(path):
    """As Python 3.14 has them without the import from the future, and what wraps a function there."""
    names: dict[str, Any] = {"Review": Review, "functools": functools, "called": []}
    source = """
    def ask(text: str, client: OnlyForTypeCheckers | None = None) -> Review:
        called.append((text, client))
        return Review(text, (4, 5))

    @functools.lru_cache
    def cached(text: str) -> Review:
        return ask(text)
    """
    source = textwrap.dedent(source if sys.version_info >= (3, 14) else source.replace("OnlyForTypeCheckers", "str"))
    exec(compile(source, __file__, "exec", dont_inherit=True), names)
    for _ in range(2):
        assert parallel_map(names["ask"]).map(["good"], resume=path) == [Review("good", (4, 5))]
        assert parallel_map(names["cached"]).map(["good"], resume=path) == [Review("good", (4, 5))]
    assert names["called"] == [("good", None)] * 2


def test_what_a_function_returns_may_be_a_class_of_the_function_around_it(path):
    @dataclasses.dataclass
    class Answer:
        text: str

    @parallel_map
    def ask(text: str) -> Answer:
        called.append(text)
        return Answer(text)

    called: list[str] = []
    for _ in range(2):
        assert ask.map(["good"], resume=path) == [Answer("good")]
    assert called == ["good"]


def test_a_pydantic_model_comes_back_as_itself(path):
    pydantic = pytest.importorskip("pydantic")

    class Answer(pydantic.BaseModel):
        text: str
        score: float

    def ask(text):
        called.append(text)
        return Answer(text=text, score=0.5)

    ask.__annotations__["return"] = Answer
    called = []
    asking = parallel_map(ask)
    for _ in range(2):
        assert asking.map(["a"], resume=path) == [Answer(text="a", score=0.5)]
    assert called == ["a"]


def yields(said, kind):
    """A function that yields, or one that returns what does, and says that it returns `said`."""

    def tell(text):
        called.append(text)
        yield Review(text, (4, 5))
        yield Review("", (0, 1))

    async def atell(text):
        for review in tell(text):
            yield review

    def returns(text):
        return tell(text)

    async def areturns(text):
        return atell(text)

    called = []
    function = {"def": tell, "async def": atell, "returned": returns, "returned, async": areturns}[kind]
    function.__annotations__["return"] = said
    return parallel_map(function), called


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Iterator[Review], "def"),
        (Generator[Review, None, None], "def"),
        (Iterable[Review], "def"),
        (AsyncIterator[Review], "async def"),
        (AsyncGenerator[Review, None], "async def"),
        (AsyncIterable[Review], "async def"),
        (Iterator[Review], "returned"),
        (AsyncIterator[Review], "returned, async"),
    ],
)
def test_the_chunks_of_a_stream_come_back_as_themselves(said, kind, path):
    tell, called = yields(said, kind)
    for _ in range(2):
        assert tell.map(["good"], resume=path) == [[Review("good", (4, 5)), Review("", (0, 1))]]
    assert called == ["good"]


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        (b"bytes", "bytes is not JSON-serializable"),
        (("a", "pair"), "tuple is not JSON-serializable"),
        (float("nan"), "a float that is not finite is not JSON-serializable"),
        ({1: "one"}, "a dict with a key of type int is not JSON-serializable"),
    ],
)
def test_chunks_that_are_no_json_stop_the_run_and_are_not_lost(chunk, said, path):
    @parallel_map(max_concurrency=1)
    def tell(item):
        yield "before"
        yield chunk

    with pytest.raises(TypeError) as caught:
        tell.map([0, 1, 2], resume=path)
    assert str(caught.value).startswith(f"resume= cannot store the list of item 0 of tell: {said}. Annotate ")
    assert partial_results(caught.value)[0][0] == "before"
    assert lines(path) == []
    options = {"encode": lambda chunks: [repr(one) for one in chunks], "decode": lambda data: data}
    assert tell.map([0], resume=path, **options)[0][0] == "before"
    assert tell.map([0], resume=path, **options) == [["'before'", repr(chunk)]]


def test_a_result_that_cannot_be_kept_stops_the_run_and_is_not_lost(way, path):
    ask, called = counted(way, lambda item: (item, "paid"), max_concurrency=2)
    with pytest.raises(
        TypeError,
        match=r"^resume= cannot store the result of item \d of ask: tuple is not JSON-serializable. Annotate .*",
    ) as caught:
        way.run(ask, range(100), resume=path)
    assert len(called) <= 4
    if not way.is_lazy:
        assert set(partial_results(caught.value).values()) == {(item, "paid") for item in called}


@dataclasses.dataclass
class Once:
    text: str

    def __post_init__(self):
        if Once.made:
            raise ValueError(f"no second {self.text}")
        Once.made = True

    made = False


def test_what_others_say_of_a_result_is_not_repeated(path):
    """As pydantic does, they may quote it."""

    def ask(text) -> Once:
        return Once(text)

    says = r"resume= cannot store the Once of item 0 of ask: encoding it raised ValueError. .*encode= and decode=."
    with pytest.raises(TypeError, match=says) as caught:
        parallel_map(ask).map(["secret"], resume=path)
    assert "secret" not in str(caught.value)


def test_encode_and_decode_keep_anything(way, path):
    ask, called = counted(way, lambda item: {item})
    for _ in range(2):
        assert way.run(ask, [1, 2], resume=path, encode=sorted, decode=set) == [{1}, {2}]
    assert len(called) == 2


def test_results_that_do_not_fit_the_annotation_any_more_are_asked_for_again(way, path):
    """And not for a third time: the new answer counts."""
    ask, called = counted(way, lambda item: {"text": item, "stars": [4, 5]} if item != "b" else item)
    inputs = ["a", "b", "c"]
    way.run(ask, inputs, resume=path)
    ask, called = counted(way, lambda item: Review(item, (1, 2)))
    ask._function.__annotations__["return"] = Review
    with pytest.warns(
        UserWarning, match=r"1 stored result\(s\) do not match the return type of ask; their items were run again$"
    ) as told:
        found = way.run(ask, inputs, resume=path)
    assert len(told) == 1
    assert called == ["b"]
    assert found == [Review("a", (4, 5)), Review("b", (1, 2)), Review("c", (4, 5))]
    assert way.run(ask, inputs, resume=path) == found
    assert called == ["b"]


@pytest.mark.parametrize(
    ("kept", "annotation", "fits"),
    [
        ("text", int, False), ("text", str, True), ("text", str | None, True), (None, str, False), (1, float, True),
        (1.5, int, False), ({"a": 1}, list, False), ({"a": 1}, dict[str, str], False), (["a"], list[str], True),
        ({"text": "a"}, Review, False), ({"text": "a", "stars": [1, 2]}, Review, True), ([1, "a"], tuple[int, int], False),
        ({"text": "a", "stars": [1, "2"]}, Review, False),
    ],
)  # fmt: skip
def test_a_kept_result_is_used_only_where_it_is_what_the_annotation_says(kept, annotation, fits, path):
    parallel_map(lambda item: kept, max_concurrency=1).map([1], resume=path, key=str)
    called = []

    def ask(item):
        called.append(item)

    ask.__annotations__["return"] = annotation
    ask.__qualname__ = "test_a_kept_result_is_used_only_where_it_is_what_the_annotation_says.<locals>.<lambda>"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            parallel_map(ask).map([1], resume=path, key=str)
        except TypeError:  # None is no Review: it was asked for all the same
            assert not fits
    assert (called == []) == fits
    assert len(told) == (not fits)


def test_what_a_function_returns_against_its_own_annotation_is_kept_and_not_paid_for_twice(way, path):
    ask, called = counted(way, lambda item: None if item == 2 else str(item))
    ask._function.__annotations__["return"] = str
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            assert way.run(ask, [1, 2, 3], resume=path) == ["1", None, "3"]
    assert sorted(called) == [1, 2, 3]


def test_a_decode_that_fails_is_an_error_and_nothing_is_paid_again(path):
    """It is the user's: with a mistake in it, everything would be asked for again."""

    @parallel_map
    def ask(item):
        called.append(item)
        return {item}

    def decode(data):
        raise ValueError("secret")

    called: list[int] = []
    ask.map([1], resume=path, encode=sorted, decode=set)
    says = r"item 0 of ask that cannot be decoded \(decoding it raised ValueError\): .*change version="
    with pytest.raises(JournalError, match=says):
        ask.map([1], resume=path, encode=sorted, decode=decode)
    assert called == [1]


class Shouted(str):
    __slots__ = ()

    def __call__(self):
        return str(self)


def test_a_class_that_is_no_more_than_its_base_comes_back_as_its_base(way, path):
    """As what LangChain's messages have for a text, and numpy for a number."""
    ask, called = counted(way, lambda item: [Shouted(item), {Shouted("score"): Shouted("high")}])
    for _ in range(2):
        assert way.run(ask, ["a"], resume=path) == [["a", {"score": "high"}]]
    assert called == ["a"]


def test_numbers_and_texts_of_numpy_and_langchain_come_back_as_their_base(path):
    numpy = pytest.importorskip("numpy")
    messages = pytest.importorskip("langchain_core.messages")
    values = [numpy.float64(0.9), numpy.str_("a"), messages.AIMessage("hi").text]
    ask = parallel_map(lambda item: values[item])
    assert ask.map(range(3), resume=path) == values
    found = ask.map(range(3), resume=path)
    assert found == values
    assert [type(one) for one in found] == [float, str, str]


# Objects that object to being looked at


class Hostile:
    """Raises whatever is asked of it."""

    why: BaseException = RuntimeError("secret")

    def __getattribute__(self, name):
        raise Hostile.why

    def __repr__(self):
        raise Hostile.why

    __str__ = __eq__ = __hash__ = __bool__ = __len__ = __iter__ = __reduce__ = __reduce_ex__ = __repr__  # type: ignore[assignment]


class HostileMeta(type):
    def __getattribute__(cls, name):
        if name in ("__name__", "__qualname__", "__module__", "model_fields", "__mro__"):
            raise RuntimeError("secret")
        return super().__getattribute__(name)


class HostileClass(metaclass=HostileMeta):
    pass


class HostileText(str):
    __slots__ = ()

    def __eq__(self, other):
        raise Hostile.why

    __hash__ = __str__ = __repr__ = __len__ = __eq__  # type: ignore[assignment]


class HostileDict(dict):
    def items(self):
        raise Hostile.why

    __iter__ = keys = values = __len__ = items  # type: ignore[assignment]


@dataclasses.dataclass(eq=False)
class HostileField:
    text: Any

    def __getattribute__(self, name):
        if name == "text":
            raise Hostile.why
        return super().__getattribute__(name)


@dataclasses.dataclass
class HostileEquality:
    text: Any

    def __eq__(self, other):
        raise Hostile.why


HOSTILE = {
    "an object": (Hostile, Any),
    "an object in a list": (lambda: [Hostile()], Any),
    "an object in a dict": (lambda: {"a": Hostile()}, dict),
    "an object of another annotation": (Hostile, Review),
    "an object for a union": (Hostile, Review | int),
    "an object in a dataclass": (lambda: Review(Hostile(), (1, 2)), Review),  # type: ignore[arg-type]
    "a class whose metaclass objects": (HostileClass, Any),
    "a text": (lambda: HostileText("secret"), str),
    "a text that is a key": (lambda: {"a": [HostileText("secret")]}, Any),
    "a dict": (lambda: HostileDict(a=1), Any),
    "a dict for a dict": (lambda: HostileDict(a=1), dict[str, int]),
    "a field": (lambda: HostileField("a"), HostileField),
    "a field for a union": (lambda: HostileField("a"), HostileField | None),
    "an equality": (lambda: [HostileEquality(HostileText("a"))], list[HostileEquality]),
}


@pytest.mark.parametrize(
    "why", [RuntimeError("secret"), BaseException("secret"), GeneratorExit(), StopIteration()], ids=repr
)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_result_that_objects_to_being_looked_at_is_a_type_error_that_names_it(
    kind, why, threads_or_loop, path, monkeypatch
):
    make, annotation = HOSTILE[kind]
    monkeypatch.setattr(Hostile, "why", why)
    ask, called = counted(threads_or_loop, lambda item: make() if item == 2 else "fine", max_concurrency=1)
    ask._function.__annotations__["return"] = annotation if annotation in (Any, str) else annotation | str
    with pytest.raises(TypeError, match=r"^resume= cannot store the .* of item 2 of ask: ") as caught:
        threads_or_loop.run(ask, range(5), resume=path)
    assert "secret" not in str(caught.value)
    again = "after fixing that, run the same call again to resume"  # unchanged it would pay again and stop again
    assert caught.value.__notes__ == [f"fanmap: results kept in {path!r}: 2; {again}"]
    assert called == [0, 1, 2]
    assert sorted(partial_results(caught.value)) == [0, 1, 2]
    assert [line["value"] for line in lines(path)] == ["fine", "fine"]


@pytest.mark.parametrize(
    "kind", ["an object", "an object in a list", "an object in a dict", "a class whose metaclass objects", "a field"]
)
@pytest.mark.parametrize("why", [RuntimeError("secret"), BaseException("secret"), StopIteration()], ids=repr)
def test_an_input_that_objects_to_being_looked_at_has_no_key(kind, why, threads_or_loop, path, monkeypatch):
    make, _ = HOSTILE[kind]
    monkeypatch.setattr(Hostile, "why", why)
    ask, called = counted(threads_or_loop, lambda item: "fine", max_concurrency=1)
    with pytest.raises(TypeError, match=r"^cannot derive a journal key for input 1 .*Pass key=") as caught:
        threads_or_loop.run(ask, ["a", make()], resume=path)
    assert "secret" not in str(caught.value)
    assert called == ["a"]


class HostileError(Exception):
    def __str__(self):
        raise Hostile.why

    def __repr__(self):
        raise RuntimeError  # asyncio.run of 3.11 itself makes a repr of what a task returned, and no more is caught there


@pytest.mark.parametrize("why", [RuntimeError("secret"), BaseException("secret")], ids=repr)
def test_a_failure_that_objects_to_being_looked_at_is_in_the_file_and_comes_out_itself(
    why, threads_or_loop, path, monkeypatch
):
    monkeypatch.setattr(Hostile, "why", why)

    def body(item):
        raise HostileError

    ask, _ = counted(threads_or_loop, body)
    (found,) = threads_or_loop.run(ask, [1], resume=path, return_exceptions=True)
    assert type(found) is HostileError
    (line,) = lines(path)
    assert (line["error"], line["message"]) == (f"{__name__}.HostileError", "")


# What is nested too deeply


def nested(depth):
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def test_a_result_that_is_nested_too_deeply_is_a_type_error(threads_or_loop, path):
    ask, _ = counted(threads_or_loop, lambda item: nested(100_000), max_concurrency=1)
    with pytest.raises(TypeError, match="cannot store the list of item 0 of ask: it is nested too deeply. "):
        threads_or_loop.run(ask, [1], resume=path)


def test_an_input_that_is_nested_too_deeply_has_no_key(threads_or_loop, path):
    ask, called = counted(threads_or_loop, lambda item: 1)
    with pytest.raises(TypeError, match="key for input 0 of type list of ask: it is nested too deeply. Pass key="):
        threads_or_loop.run(ask, [nested(100_000)], resume=path)
    assert called == []


def test_a_record_that_is_nested_too_deeply_is_a_journal_error_before_anything_is_called(path):
    parallel_map(str).map([1], resume=path)
    with open(path, "ab") as file:
        file.write(value_line("ab", 1, 0.0, 0.0, "[" * 100_000 + "]" * 100_000))
    refused(path, "has a record on line 2 that is nested too deeply to read")
    assert len(journal_lines(path)) == 2


def test_a_record_that_cannot_be_read_from_where_it_is_asked_for_is_a_journal_error(path, monkeypatch):
    """As on 3.11, where the recursion limit counts the caller's frames too."""
    parallel_map(str).map([1], resume=path)

    def read(line):
        raise TooDeep

    monkeypatch.setattr("fanmap._drive.journals.journal.read_line", read)
    with pytest.raises(JournalError, match="has a result that is nested too deeply to read"):
        parallel_map(str).map([1], resume=path)
    monkeypatch.undo()
    assert len(journal_lines(path)) == 1


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": 5}, "resume must be the path of a file or None, got int"),
        ({"resume": b"path"}, "resume must be the path of a file or None, got bytes"),
        ({"resume": ""}, "resume must be the path of a file, got ''"),
        ({"version": 1}, "version needs resume=, the path of a file"),
        ({"durable": True, "key": str}, "durable, key needs resume="),
        ({"resume": "x", "key": "name"}, "key must be a function, got str"),
        ({"resume": "x", "encode": str}, "encode and decode must be given together"),
        ({"resume": "x", "version": 1.5}, "version must be a str, an int or None, got float"),
        (
            {"resume": "x", "flavour": "red"},
            "unexpected keyword argument 'flavour': it takes .* has no argument with that name",
        ),
        ({"concurrency": 8}, "'concurrency': write max_concurrency=8"),
        ({"timeout": 8}, r"'timeout': it belongs to the function, parallel_map\(timeout=8\)"),
    ],
)
@pytest.mark.parametrize("method", ["map", "imap", "as_completed", "amap"])
def test_a_wrong_option_is_an_error_before_anything_is_called(method, options, message):
    @parallel_map
    def ask(item):
        raise AssertionError("called")

    with pytest.raises(TypeError, match=message):
        run = getattr(ask, method)([1], **options)
        if method == "amap":
            run.send(None)


def test_a_return_type_that_cannot_be_made_again_is_an_error_before_anything_is_called(path):
    @dataclasses.dataclass
    class Half:
        made: int = dataclasses.field(init=False)

    def ask(item):
        raise AssertionError("called")

    ask.__annotations__["return"] = Half
    with pytest.raises(TypeError, match="cannot store what ask returns: a dataclass .* Pass encode= and decode="):
        parallel_map(ask).map([1], resume=path)
    assert not os.path.exists(path)


# Files


def journal_of(path):
    journal = Journal(path, durable=False)
    journal.close()
    return journal


def refused(path, message):
    @parallel_map
    def ask(item):
        raise AssertionError("called")

    with pytest.raises(JournalError, match=message) as caught:
        ask.map([1], resume=path)
    return caught.value


def test_the_file_is_its_owners_only(path):
    parallel_map(str).map([1], resume=path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_path_object_is_a_path(tmp_path):
    assert parallel_map(str).map([1], resume=tmp_path / "answers") == ["1"]
    assert (tmp_path / "answers").exists()


def test_a_missing_directory_is_said(tmp_path):
    error = refused(str(tmp_path / "missing" / "file"), "cannot be opened: its folder does not exist")
    assert isinstance(error.__cause__, FileNotFoundError)


def test_a_path_that_only_a_shell_understands_is_said():
    refused("~/answers", r"its folder does not exist: write os\.path\.expanduser\(path\)")


@pytest.mark.parametrize("name", ["an\0swer", "an\ud800swer"])
def test_a_path_that_no_system_takes_is_said(tmp_path, name):
    refused(str(tmp_path / name), "is not a valid path on this system")


def test_a_directory_is_no_file(tmp_path):
    refused(str(tmp_path), "cannot be opened: Is a directory")


def test_a_symbolic_link_is_not_followed(tmp_path):
    (tmp_path / "real").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    refused(str(tmp_path / "link"), "is a symbolic link")


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="the system follows links")
def test_a_file_that_becomes_a_link_meanwhile_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "real").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setattr(os.path, "islink", lambda path: False)
    refused(str(tmp_path / "link"), "cannot be opened: Too many levels of symbolic links")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(str(tmp_path / "pipe"), "is not a regular file")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX")
def test_a_directory_without_permission_is_said(tmp_path):
    tmp_path.chmod(0o500)
    superuser = os.geteuid() == 0  # who may write anywhere
    try:
        if superuser:
            os.seteuid(65534)
        refused(str(tmp_path / "file"), "cannot be opened: Permission denied")
    finally:
        if superuser:
            os.seteuid(0)
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owner here")
def test_another_users_file_is_refused(path, monkeypatch):
    open(path, "w").close()
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    refused(path, "belongs to another user")


def test_another_programs_file_is_refused_and_left_as_it_is(tmp_path):
    notes = tmp_path / "notes.jsonl"
    notes.write_text('{"mine": 1}\n')
    refused(str(notes), "is not a fanmap journal")
    assert notes.read_text() == '{"mine": 1}\n'


def test_two_runs_at_once_on_one_file_are_refused(path):
    @parallel_map
    def ask(item):
        return item

    with ask.imap([1, 2], resume=path) as results:
        next(results)
        with pytest.raises(JournalError, match="is in use by another run"):
            ask.map([1], resume=path)
    assert ask.map([1, 2], resume=path) == [1, 2]


def test_a_run_that_is_over_gives_the_file_back(lazy_way, path):
    ask, _ = counted(lazy_way)

    async def leave():
        async with lazy_way.opened(lazy_way.start(ask, range(100), resume=path)) as results:
            await lazy_way.next(results)

    lazy_way.go(leave)
    assert len(journal_of(path)) > 0  # which would be in use


def test_a_file_is_given_back_where_the_results_are_dropped(path):
    @parallel_map
    def ask(item):
        return item

    results = ask.imap(range(100), resume=path)
    next(results)
    del results
    assert len(journal_of(path)) > 0


def test_damage_is_counted_and_said_once(path):
    @parallel_map
    def ask(item):
        called.append(item)
        return f"answer {item}"

    called: list[int] = []
    ask.map(range(5), resume=path)
    with open(path, "rb+") as file:
        data = file.read()
        file.seek(data.index(b"answer 2"))
        file.write(b"Answer")
    called.clear()
    with pytest.warns(UserWarning, match=r"1 damaged record\(s\) skipped; their items run again") as told:
        assert ask.map(range(5), resume=path) == [f"answer {item}" for item in range(5)]
    assert len(told) == 1
    assert called == [2]


def test_damage_while_a_run_goes_on_costs_a_call_and_no_wrong_answer(path):
    @parallel_map(max_concurrency=1)
    def ask(item):
        called.append(item)
        return f"answer {item}"

    called: list[int] = []
    ask.map(range(5), resume=path)
    called.clear()
    with ask.imap(iter(range(5)), resume=path) as results:
        found = [next(results)]
        with open(path, "rb+") as file:
            data = file.read()
            file.seek(data.index(b"answer 4"))
            file.write(b"Answer")
        found += results
    assert found[:4] == [f"answer {item}" for item in range(4)]
    assert found[4] == "answer 4"


def test_a_torn_end_is_normal_and_not_warned_of(path):
    @parallel_map
    def ask(item):
        return item

    ask.map(range(3), resume=path)
    os.truncate(path, os.path.getsize(path) - 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ask.map(range(3), resume=path) == [0, 1, 2]
    assert len(lines(path)) == 3


# A disk that fails


class FailingSystem:
    """`os`, whose n-th call of one function fails."""

    def __init__(self, name, at, error):
        self.name, self.at, self.error, self.count = name, at, error, 0
        self.failed = False
        self._lock = threading.Lock()

    def __getattr__(self, name):
        real = getattr(os, name)
        if name != self.name:
            return real

        def call(*args):
            with self._lock:
                self.count += 1
                fails = self.count == self.at
            if not fails:
                return real(*args)
            if self.error == "short":  # half of it, and no error
                return real(args[0], bytes(args[1])[: len(args[1]) // 2])
            if self.error == "torn":  # half of it, and the next write fails
                self.at, self.error = self.count + 1, 28
                return real(args[0], bytes(args[1])[: len(args[1]) // 2])
            self.failed = True
            raise OSError(self.error, os.strerror(self.error))

        return call


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize(
    "at", [1, pytest.param(2, marks=pytest.mark.whole), 7, pytest.param(19, marks=pytest.mark.whole), 20]
)
@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("write", 28),
        ("write", 5),
        ("write", 4),
        ("write", "torn"),
        ("write", "short"),
        ("fdatasync", 28),
        ("fdatasync", 5),
    ],
)
def test_a_disk_that_fails_loses_nothing_and_is_said_once(
    path, monkeypatch, function, error, at, durable, threads_or_loop
):
    """ENOSPC, EIO, EINTR, a write cut short: what was acknowledged is in the file, what finished is in the exception."""
    ask, called = counted(threads_or_loop, max_concurrency=3)
    system = FailingSystem(function, at, error)
    with monkeypatch.context() as patched:
        patched.setattr("fanmap._drive.journals.journal_file.os", system)
        try:
            found = threads_or_loop.run(ask, range(20), resume=path, durable=durable)
        except JournalError as failure:
            assert system.failed
            assert "cannot be" in str(failure)
            assert isinstance(failure.__cause__, OSError)
            finished = partial_results(failure)
            assert sorted(finished) == sorted(called)  # calls under way ended, and theirs is here too
            if function == "write":
                assert len(called) <= at + 2 * 3
        else:
            assert not system.failed
            assert found == [f"answer to {item}" for item in range(20)]
    assert system.failed == (error != "short") or (function == "fdatasync" and system.count < at)
    if function == "fdatasync" and system.failed:
        assert system.count == at  # a second sync might succeed, and lie
    kept = {line["index"] for line in lines(path)}
    assert kept <= set(called)
    if function == "write" and system.failed:
        assert len(kept) == at - 1
    called.clear()
    assert threads_or_loop.run(ask, range(20), resume=path) == [f"answer to {item}" for item in range(20)]
    assert set(called) == set(range(20)) - kept
    assert len(lines(path)) == 20


def test_nobody_pays_for_a_call_while_the_worker_that_was_told_of_the_failure_comes_to_stop_the_run(path, monkeypatch):
    """That worker's thread may be preempted for a second, and the others have answers that nobody would keep."""
    called, both = [], threading.Barrier(2)

    @parallel_map(max_concurrency=2)
    def ask(item):
        called.append(item)
        if item < 2:
            both.wait(60)
        return item

    monkeypatch.setattr("fanmap._drive.journals.journal_file.os", FailingSystem("write", 6, 28))
    preempted, over = threading.Event(), threading.Event()
    break_off = Run.break_off

    def slowly(run, error):
        if not preempted.is_set():
            preempted.set()
            assert over.wait(60)
        else:
            over.set()
        break_off(run, error)

    monkeypatch.setattr(Run, "break_off", slowly)
    with pytest.raises(JournalError, match="No space left"):
        ask.map(range(50), resume=path)
    assert len(called) <= 6 + 2


@pytest.mark.parametrize("kept", [True, False])
def test_a_thread_that_is_preempted_before_it_looks_calls_nothing_once_its_run_has_been_left(path, monkeypatch, kept):
    called, looks, over, ended = [], threading.Event(), threading.Event(), threading.Event()

    @parallel_map(max_concurrency=1)
    def ask(item):
        called.append(item)
        return item

    if kept:
        ask.map(range(3), resume=path)
        called.clear()
    find, left = Recording.find, Run.left

    def slowly(self, *args):
        looks.set()
        assert over.wait(60)
        return find(self, *args)

    def leaving(self, worker):
        left(self, worker)
        ended.set()

    monkeypatch.setattr(Recording, "find", slowly)
    monkeypatch.setattr(Run, "left", leaving)

    async def main():
        asking = asyncio.create_task(ask.amap(range(3), resume=path))
        await asyncio.to_thread(looks.wait, 60)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(main())
    over.set()
    assert ended.wait(60)
    assert called == []


@pytest.mark.parametrize("function", ["open", "fstat", "ftruncate", "fdatasync", "fsync"])
def test_a_system_that_fails_at_the_opening_is_said_before_anything_is_called(path, monkeypatch, function):
    parallel_map(str).map([1], resume=path)
    with open(path, "ab") as file:
        file.write(b'{"v":1,"key"')
    monkeypatch.setattr("fanmap._drive.journals.journal_file.os", FailingSystem(function, 1, 5))

    @parallel_map
    def ask(item):
        raise AssertionError("called")

    with pytest.raises(JournalError, match="Input/output error"):
        ask.map([1], resume=path, durable=True)


def test_with_return_exceptions_a_failing_disk_leaves_not_run_in_the_places_of_the_rest(path, monkeypatch):
    @parallel_map(max_concurrency=1)
    def ask(item):
        return item

    monkeypatch.setattr("fanmap._drive.journals.journal_file.os", FailingSystem("write", 3, 28))
    with pytest.warns(UserWarning, match="results were not kept: .*No space left"):
        found = ask.map(range(5), resume=path, return_exceptions=True)
    assert found[:3] == [0, 1, 2]
    assert [type(one) for one in found[3:]] == [NotRun, NotRun]
    assert all(isinstance(one.__cause__, JournalError) for one in found[3:])


def test_with_return_exceptions_a_disk_that_fails_at_the_last_item_is_said(path, monkeypatch):
    monkeypatch.setattr("fanmap._drive.journals.journal_file.os", FailingSystem("write", 1, 28))
    with pytest.warns(UserWarning, match="results were not kept: .*No space left") as told:
        assert parallel_map(str).map([1], resume=path, return_exceptions=True) == ["1"]
    assert len(told) == 1


def test_lazy_ways_hand_out_what_finished_and_then_raise(lazy_way, path, monkeypatch):
    ask, called = counted(lazy_way, max_concurrency=2)
    monkeypatch.setattr("fanmap._drive.journals.journal_file.os", FailingSystem("write", 6, 28))

    async def main():
        found = []
        with pytest.raises(JournalError, match="No space left") as failed:
            async with lazy_way.opened(lazy_way.start(ask, range(50), resume=path)) as results:
                async for result in lazy_way.each(results):
                    found.append(result)
        return found, partial_results(failed.value)

    found, behind = lazy_way.go(main)
    assert len(found) + len(behind) == len(called) < 12
    answers = {getattr(one, "value", one) for one in (*found, *behind.values())}
    assert answers == {f"answer to {item}" for item in called}
    if behind:  # an item that a thread had taken and not begun, where results are in order
        assert isinstance(found[0], str) and min(behind) > len(found)


def test_a_file_system_without_locks_serves(path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(fd, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert parallel_map(str).map([1], resume=path) == ["1"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_a_durable_result_is_on_the_disk_before_it_counts(path, monkeypatch):
    order = []

    class Watching:
        def __getattr__(self, name):
            real = getattr(os, name)
            if name not in ("write", "fdatasync", "fsync"):
                return real

            def call(*args):
                order.append(name)
                return real(*args)

            return call

    monkeypatch.setattr("fanmap._drive.journals.journal_file.os", Watching())

    @parallel_map(max_concurrency=1)
    def ask(item):
        order.append("call")
        return item

    ask.map([1, 2], resume=path, durable=True)
    assert order == ["fdatasync", "fsync", "call", "write", "fdatasync", "call", "write", "fdatasync"]

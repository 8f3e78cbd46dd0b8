"""`resume=`: what is in the journal is not asked for again, in every way of calling."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import sys
import threading
import warnings
from typing import Any

import pytest

from fanmap import JournalError, NotRun, parallel_map, partial_results
from fanmap._drive.journal import Journal


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "answers.jsonl")


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


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


def test_a_thousand_resumed_items_do_not_recurse_and_keep_their_order(way, path):
    ask, called = counted(way)
    inputs = range(1500)
    first = way.run(ask, inputs, resume=path)
    called.clear()
    assert way.run(ask, inputs, resume=path) == first
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


# Keys and results of other types


class Prompt:
    def __init__(self, text):
        self.text = text


def test_an_input_without_a_lasting_text_needs_a_key(way, path):
    ask, _ = counted(way, lambda item: "answer")
    with pytest.raises(TypeError, match=r"input 1 of ask has no key: nothing of a Prompt .* give key="):
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


def test_a_result_that_cannot_be_kept_stops_the_run_and_is_not_lost(way, path):
    ask, called = counted(way, lambda item: (item, "paid"), max_concurrency=2)
    with pytest.raises(
        TypeError, match=r"resume= cannot keep the tuple that ask returned for item \d .*encode="
    ) as caught:
        way.run(ask, range(100), resume=path)
    assert len(called) <= 4
    if not way.is_lazy:
        assert set(partial_results(caught.value).values()) == {(item, "paid") for item in called}


def test_encode_and_decode_keep_anything(way, path):
    ask, called = counted(way, lambda item: {item})
    for _ in range(2):
        assert way.run(ask, [1, 2], resume=path, encode=sorted, decode=set) == [{1}, {2}]
    assert len(called) == 2


def test_a_result_that_cannot_be_decoded_any_more_is_an_error_and_not_paid_again(path):
    def ask(item) -> str:
        called.append(item)
        return "text"

    called: list[int] = []
    parallel_map(ask).map([1], resume=path)
    ask.__annotations__["return"] = Review
    with pytest.raises(JournalError, match=r"item 0 of ask that cannot be decoded \(TypeError\).*version="):
        parallel_map(ask).map([1], resume=path)
    ask.__annotations__["return"] = str
    assert parallel_map(ask).map([1], resume=path, version=2) == ["text"]
    assert called == [1, 1]


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
        ({"resume": "x", "colour": "red"}, r"unexpected keyword argument 'colour': .* \.partial\(colour=\.\.\.\)"),
        ({"concurrency": 8}, "'concurrency': calls at once are max_concurrency"),
        ({"timeout": 8}, r"'timeout': write it in the decorator, parallel_map\(timeout=\.\.\.\)"),
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
    with pytest.raises(TypeError, match="cannot keep what ask returns .*give encode= and decode="):
        parallel_map(ask).map([1], resume=path)
    assert not os.path.exists(path)


# Files


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
    error = refused(str(tmp_path / "missing" / "file"), "cannot be opened: No such file or directory")
    assert isinstance(error.__cause__, FileNotFoundError)


def test_a_directory_is_no_file(tmp_path):
    refused(str(tmp_path), "cannot be opened: Is a directory")


def test_a_symbolic_link_is_not_followed(tmp_path):
    (tmp_path / "real").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    refused(str(tmp_path / "link"), "is a symbolic link")


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
    refused(str(notes), "holds something else than fanmap's records")
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
    Journal(path, durable=False).close()


def test_a_file_is_given_back_where_the_results_are_dropped(path):
    @parallel_map
    def ask(item):
        return item

    results = ask.imap(range(100), resume=path)
    next(results)
    del results
    Journal(path, durable=False).close()


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
    with pytest.warns(UserWarning, match=r"1 damaged record\(s\) skipped, their items run again") as told:
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
@pytest.mark.parametrize("at", [1, 2, 7, 19, 20])
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
        patched.setattr("fanmap._drive.journal.os", system)
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
    kept = {line["index"] for line in lines(path)}
    assert kept <= set(called)
    if function == "write" and system.failed:
        assert len(kept) == at - 1
    called.clear()
    assert threads_or_loop.run(ask, range(20), resume=path) == [f"answer to {item}" for item in range(20)]
    assert set(called) == set(range(20)) - kept
    assert len(lines(path)) == 20


@pytest.mark.parametrize("function", ["open", "fstat", "ftruncate", "fdatasync", "fsync"])
def test_a_system_that_fails_at_the_opening_is_said_before_anything_is_called(path, monkeypatch, function):
    parallel_map(str).map([1], resume=path)
    with open(path, "ab") as file:
        file.write(b'{"v":1,"key"')
    monkeypatch.setattr("fanmap._drive.journal.os", FailingSystem(function, 1, 5))

    @parallel_map
    def ask(item):
        raise AssertionError("called")

    with pytest.raises(JournalError, match="Input/output error"):
        ask.map([1], resume=path, durable=True)


def test_with_return_exceptions_a_failing_disk_leaves_not_run_in_the_places_of_the_rest(path, monkeypatch):
    @parallel_map(max_concurrency=1)
    def ask(item):
        return item

    monkeypatch.setattr("fanmap._drive.journal.os", FailingSystem("write", 3, 28))
    with pytest.warns(UserWarning, match="results were not kept: .*No space left"):
        found = ask.map(range(5), resume=path, return_exceptions=True)
    assert found[:3] == [0, 1, 2]
    assert [type(one) for one in found[3:]] == [NotRun, NotRun]
    assert all(isinstance(one.__cause__, JournalError) for one in found[3:])


def test_with_return_exceptions_a_disk_that_fails_at_the_last_item_is_said(path, monkeypatch):
    monkeypatch.setattr("fanmap._drive.journal.os", FailingSystem("write", 1, 28))
    with pytest.warns(UserWarning, match="results were not kept: .*No space left") as told:
        assert parallel_map(str).map([1], resume=path, return_exceptions=True) == ["1"]
    assert len(told) == 1


def test_lazy_ways_hand_out_what_finished_and_then_raise(lazy_way, path, monkeypatch):
    ask, called = counted(lazy_way, max_concurrency=2)
    monkeypatch.setattr("fanmap._drive.journal.os", FailingSystem("write", 6, 28))

    async def main():
        found = []
        with pytest.raises(JournalError, match="No space left"):
            async with lazy_way.opened(lazy_way.start(ask, range(50), resume=path)) as results:
                async for result in lazy_way.each(results):
                    found.append(result)
        return found

    assert len(lazy_way.go(main)) == len(called) < 12


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

    monkeypatch.setattr("fanmap._drive.journal.os", Watching())

    @parallel_map(max_concurrency=1)
    def ask(item):
        order.append("call")
        return item

    ask.map([1, 2], resume=path, durable=True)
    assert order == ["fdatasync", "fsync", "call", "write", "fdatasync", "call", "write", "fdatasync"]

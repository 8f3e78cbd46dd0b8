"""The file of a journal while a run goes on: forked children, files that are deleted or replaced, large results."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import shutil
import signal
import sys
import threading
import time
import warnings

import pytest

from fanmap import JournalError, NotRun, parallel_map, partial_results
from fanmap._drive import clock
from fanmap._drive.journals import journal_file
from fanmap._drive.journals.journal import Journal
from fanmap._policy.journals.journal import value_line

PATIENCE = 120  # seconds after which something that should have happened has not
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "answers.jsonl")


def keep(journal, text):
    journal.wait_for_disk(journal.append(text))


def line(key, value="1"):
    return value_line(key, 0, 0.0, 0.0, value)


# Forks


class Child:
    """A forked process that runs `body`, says "good" or what went wrong, and lives until it is ended."""

    def __init__(self, body=lambda: None):
        self._said, say = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are threads
            self.pid = os.fork()
        if self.pid == 0:
            signal.alarm(PATIENCE)
            try:
                body()
                text = "good"
            except BaseException as error:
                text = f"{type(error).__name__}: {error}"
            os.write(say, text.encode())
            signal.pause()
        os.close(say)

    def says(self):
        assert select.select([self._said], [], [], PATIENCE)[0], "the child hangs"
        return os.read(self._said, 1000).decode()

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.close(self._said)
        os.waitpid(self.pid, 0)


@forks
def test_a_child_that_is_forked_during_a_run_does_not_keep_the_journal(way, path):
    children = []

    async def ask(item):
        if item == 1 and not children:
            children.append(Child())
        await way.pause(0)
        return item

    asking = way.decorate(ask, max_concurrency=2)
    try:
        assert way.run(asking, range(4), resume=path) == [0, 1, 2, 3]
        assert children[0].says() == "good"
        assert way.run(asking, range(4), resume=path) == [0, 1, 2, 3]
    finally:
        children[0].end()


@forks
def test_a_child_closes_the_descriptor_and_nothing_that_has_its_number_since(path):
    def body():
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        os.dup2(os.open(path, os.O_RDONLY), fd)  # somebody else's by now
        journal.append(line("b"))  # nothing, here
        assert journal.find("a") is None
        journal.check()
        journal.close()
        gc.collect()
        os.fstat(fd)

    journal = Journal(path, durable=False)
    journal.append(line("a"))
    fd = journal._file.fd
    child = Child(body)
    try:
        assert child.says() == "good"
    finally:
        child.end()
    journal.append(line("c"))
    journal.close()
    assert len(Journal(path, durable=False)) == 2


@forks
def test_a_child_opens_journals_of_its_own(path):
    def body():
        with pytest.raises(JournalError, match="in use"):
            Journal(path, durable=False)
        Journal(path + ".child", durable=False).append(line("a"))

    journal = Journal(path, durable=False)
    child = Child(body)
    try:
        assert child.says() == "good"
    finally:
        child.end()
    journal.close()
    assert len(Journal(path + ".child", durable=False)) == 1


@forks
def test_no_fork_gets_between_an_open_file_and_the_knowledge_of_it(path, monkeypatch):
    """Else the child would not know what to close."""
    real = {name: getattr(os, name) for name in ("open", "close")}
    seen = []

    class Watching:
        def __getattr__(self, name):
            if name not in real:
                return getattr(os, name)

            def call(*args):
                done = real[name](*args)
                other = threading.Thread(
                    target=lambda: seen.append((name, journal_file._forking.acquire(blocking=False)))
                )
                other.start()
                other.join()
                return done

            return call

    monkeypatch.setattr(journal_file, "os", Watching())
    Journal(path, durable=False).close()
    assert seen == [("open", False), ("close", False)]


@forks
def test_a_fork_while_a_file_is_opened_does_not_inherit_it(path, monkeypatch):
    """It waits; the child knows what to close then."""
    forked = threading.Event()
    children = []

    def body():
        for fd in range(3, 256):
            with contextlib.suppress(OSError):
                assert not os.path.samestat(os.fstat(fd), os.stat(path)), "the child has it"

    def fork():
        children.append(Child(body))
        forked.set()

    forker = threading.Thread(target=fork)

    class Slow:
        def __getattr__(self, name):
            return self.open if name == "open" else getattr(os, name)

        def open(self, *args):
            fd = os.open(*args)
            forker.start()
            forked.wait(0.2)  # it is not: or nothing would be shown
            return fd

    monkeypatch.setattr(journal_file, "os", Slow())
    monkeypatch.setattr(journal_file, "_PATIENCE", PATIENCE)
    journal = Journal(path, durable=False)
    forker.join()
    try:
        assert children[0].says() == "good"
    finally:
        children[0].end()
    journal.close()


@forks
def test_a_fork_waits_for_nobody_for_long(path, monkeypatch):
    monkeypatch.setattr(journal_file, "_PATIENCE", 0.01)
    held, over = threading.Event(), threading.Event()

    def hold():
        with journal_file._no_fork():
            held.set()
            over.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(PATIENCE)
    child = Child(lambda: Journal(path, durable=False))
    try:
        assert child.says() == "good"
    finally:
        over.set()
        holder.join()
        child.end()
    with journal_file._no_fork():
        pass


def forked(results):
    """Raises what is wrong with results that a forked child goes on with."""
    for _ in range(2):
        with pytest.raises(
            RuntimeError, match="was started before this process forked: continue in the process that started it"
        ):
            next(results)
        with pytest.raises(RuntimeError, match="was started before this process forked"):
            anext(results).send(None)
    with pytest.raises(RuntimeError, match="was started before"), results:
        pass
    results.close()
    assert list(results) == []
    with contextlib.suppress(StopIteration):
        results.aclose().send(None)


@forks
@pytest.mark.parametrize("method", ["imap", "as_completed"])
@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.whole
def test_an_iterator_that_a_forked_child_goes_on_with_is_an_error_at_once(method, is_async, resume, path):
    if is_async:

        @parallel_map(max_concurrency=4)
        async def ask(item):
            await asyncio.sleep(0)
            return item
    else:

        @parallel_map(max_concurrency=4)
        def ask(item):
            return item

    results = getattr(ask, method)(range(100), **({"resume": path} if resume else {}))
    next(results)
    children = [
        Child(lambda: forked(results)),
        Child(results.close),
        Child(lambda: leave(results)),
        Child(lambda: drop(results)),
    ]
    try:
        assert [child.says() for child in children] == ["good"] * 4
    finally:
        for child in children:
            child.end()
    assert len(list(results)) == 99


def leave(results):
    with pytest.raises(ZeroDivisionError):
        try:
            raise ZeroDivisionError
        finally:
            results.__exit__(None, None, None)


def drop(results):
    run = results._launched.run
    results.__del__()
    assert not run.stopping()


@forks
def test_an_awaiting_iterator_that_a_forked_child_goes_on_with_is_an_error_at_once():
    @parallel_map(max_concurrency=4)
    async def ask(item):
        await asyncio.sleep(0)
        return item

    async def main():
        results = ask.imap(range(100))
        await anext(results)
        child = Child(lambda: forked(results))
        try:
            assert child.says() == "good"
        finally:
            child.end()
        return [item async for item in results]

    assert asyncio.run(main()) == list(range(1, 100))


@forks
def test_an_iterator_that_was_not_begun_may_be_begun_in_a_child():
    ask = parallel_map(lambda item: item)
    results = ask.imap(range(10))

    def body():
        assert list(results) == list(range(10))

    child = Child(body)
    try:
        assert child.says() == "good"
    finally:
        child.end()
    assert list(results) == list(range(10))


# Giving the file back


class Calling:
    """`os`, with something done within one call of a function of it."""

    def __init__(self, name, within):
        self.name, self.within = name, within

    def __getattr__(self, name):
        real = getattr(os, name)
        if name != self.name:
            return real

        def call(*args, **kwargs):
            within, self.within = self.within, lambda: None
            within()
            return real(*args, **kwargs)

        return call


@pytest.mark.parametrize("function", ["write", "fdatasync", "pread", "stat"])
def test_a_finalizer_may_close_the_journal_that_its_thread_is_using(function, path, monkeypatch):
    """The collector may run it anywhere; the file is given back once the thread has done with it."""
    Journal(path, durable=False).append(line("a"))
    journal = Journal(path, durable=True)
    monkeypatch.setattr(journal_file, "os", Calling(function, journal.close))
    if function == "pread":
        assert journal.find("a")["value"] == 1
    elif function == "stat":
        journal.check()
    else:
        keep(journal, line("b"))
    assert journal.find("a") is None
    journal.append(line("c"))
    journal.check()
    assert set(Journal(path, durable=False)._places) == ({"a", "b"} if function in ("write", "fdatasync") else {"a"})


@pytest.mark.parametrize("function", ["write", "fdatasync"])
def test_who_closes_a_journal_does_not_wait_for_who_is_writing(function, path, monkeypatch):
    inside, go_on = threading.Event(), threading.Event()

    def within():
        inside.set()
        assert go_on.wait(PATIENCE)

    journal = Journal(path, durable=True)
    monkeypatch.setattr(journal_file, "os", Calling(function, within))
    writer = threading.Thread(target=lambda: keep(journal, line("a")))
    writer.start()
    assert inside.wait(PATIENCE)
    journal.close()
    with monkeypatch.context() as patched, pytest.raises(JournalError, match="in use"):
        patched.setattr(journal_file, "_PATIENCE", 0.01)
        Journal(path, durable=False)
    go_on.set()
    # Not in use any more: what the run before it has left behind is waited for.
    monkeypatch.setattr(journal_file, "_PATIENCE", PATIENCE)
    assert len(Journal(path, durable=False)) == 1
    writer.join()


@pytest.mark.parametrize("function", ["write", "fdatasync", "stat", "pread"])
def test_an_error_that_somebody_keeps_does_not_keep_the_file(function, path, monkeypatch):
    Journal(path, durable=False).append(line("a"))
    journal = Journal(path, durable=True)

    def fail():
        raise MemoryError if function == "pread" else OSError(5, "Input/output error")

    monkeypatch.setattr(journal_file, "os", Calling(function, fail))
    with contextlib.ExitStack() as stack:
        if function == "stat":
            os.replace(path, path + ".moved")
            shutil.copy(path + ".moved", path)
            monkeypatch.undo()
        caught = stack.enter_context(pytest.raises((JournalError, MemoryError)))
        if function == "pread":
            journal.find("a")
        elif function == "stat":
            journal.check()
        else:
            keep(journal, line("b"))
    journal.close()
    Journal(path + ".moved" if function == "stat" else path, durable=False).close()
    assert caught.value is not None


# Files that go away


def delete(path):
    os.unlink(path)


def move(path):
    os.rename(path, path + ".old")


def replace(path):
    with open(path + ".new", "w") as file:
        file.write("somebody else's\n")
    os.replace(path + ".new", path)


def copy(path):
    """As editors do, and `sed -i`."""
    shutil.copy2(path, path + ".new")
    os.replace(path + ".new", path)


def link(path):
    move(path)
    os.symlink(path + ".old", path)


def cut(path):
    os.truncate(path, 10)


def move_directory(path):
    os.rename(os.path.dirname(path), os.path.dirname(path) + ".old")


GONE = {
    delete: "was deleted or moved", move: "was deleted or moved", replace: "was replaced by another file", copy: "was replaced",
    link: "was replaced", cut: "was cut short", move_directory: "was deleted or moved",
}  # fmt: skip
posix = pytest.mark.skipif(sys.platform == "win32", reason="an open file stays where it is there")


@pytest.fixture
def nested_path(tmp_path):
    (tmp_path / "results").mkdir()
    return str(tmp_path / "results" / "answers.jsonl")


@pytest.fixture
def seconds(monkeypatch):
    """What the clock shows."""
    now = [100.0]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    return now


def losing(way, how, path, seconds, step, at):
    """A function in whose call of one item the journal goes away; each call takes so many seconds."""
    called = []

    async def ask(item):
        called.append(item)
        seconds[0] += step
        if item == at:
            how(path)
        await way.pause(0)
        return f"answer {item}"

    return way.decorate(ask, max_concurrency=1), called


@posix
@pytest.mark.parametrize("how", GONE)
def test_a_journal_that_goes_away_ends_the_run_within_a_second(way, how, nested_path, seconds):
    ask, called = losing(way, how, nested_path, seconds, 0.25, 5)
    with pytest.raises(JournalError, match=f"^resume='.*' {GONE[how]} .*during a run$") as caught:
        way.run(ask, range(100), resume=nested_path)
    # Looked at 1, 2 and 3 seconds after the beginning: with the 4th, 8th and 12th call.
    assert called == list(range(8))
    if not way.is_lazy:
        assert partial_results(caught.value) == {item: f"answer {item}" for item in called}


@posix
@pytest.mark.parametrize("how", GONE)
def test_a_journal_that_went_away_is_told_at_the_end(way, how, nested_path, seconds):
    ask, called = losing(way, how, nested_path, seconds, 0.0, 5)
    with pytest.raises(JournalError, match=GONE[how]) as caught:
        way.run(ask, range(10), resume=nested_path)
    assert called == list(range(10))
    if not way.is_lazy:
        assert partial_results(caught.value) == {item: f"answer {item}" for item in called}


@posix
def test_lazy_ways_hand_out_everything_before_they_tell(lazy_way, path, seconds):
    ask, called = losing(lazy_way, delete, path, seconds, 0.0, 5)

    async def main():
        found = []
        with pytest.raises(JournalError, match="was deleted or moved"):
            async with lazy_way.opened(lazy_way.start(ask, range(10), resume=path)) as results:
                async for result in lazy_way.each(results):
                    found.append(result)
        return found

    assert len(lazy_way.go(main)) == len(called) == 10


@posix
def test_a_journal_that_went_away_while_nothing_was_written_is_told_too(threads_or_loop, path, seconds):
    ask, called = losing(threads_or_loop, delete, path, seconds, 0.0, None)
    threads_or_loop.run(ask, range(5), resume=path)

    def inputs():
        yield from range(4)
        delete(path)
        yield 4

    with pytest.raises(JournalError, match="was deleted or moved") as caught:
        threads_or_loop.run(ask, inputs(), resume=path)
    assert len(called) == len(partial_results(caught.value)) == 5


@posix
@pytest.mark.parametrize(("step", "calls"), [(0.25, 8), (0.0, 10)])
def test_with_return_exceptions_it_is_a_warning(threads_or_loop, step, calls, path, seconds):
    ask, called = losing(threads_or_loop, delete, path, seconds, step, 5)
    with pytest.warns(UserWarning, match="results were not kept: .*was deleted or moved") as told:
        found = threads_or_loop.run(ask, range(10), resume=path, return_exceptions=True)
    assert len(told) == 1
    assert found[:calls] == [f"answer {item}" for item in range(calls)]
    assert [type(one) for one in found[calls:]] == [NotRun] * (10 - calls)
    assert len(called) == calls


def test_of_an_input_of_known_length_nothing_is_unread_where_its_rest_was_not_run(threads_or_loop, path, recwarn):
    async def ask(item):
        await threads_or_loop.pause(0)
        raise ValueError(item)

    ask = threads_or_loop.decorate(ask, max_concurrency=1)
    options = {"return_exceptions": True, "max_failures": 1}
    found = threads_or_loop.run(ask, range(100), resume=path, **options)
    assert not recwarn.list
    assert [type(one) for one in found] == [ValueError] + [NotRun] * 99
    with pytest.warns(UserWarning, match="the rest of the input of ask was not read"):
        threads_or_loop.run(ask, iter(range(100)), resume=path, **options)


@posix
def test_ctrl_c_promises_nothing_of_a_journal_that_went_away(path, seconds):
    @parallel_map(max_concurrency=1)
    def ask(item):
        if item == 3:
            delete(path)
            raise KeyboardInterrupt
        return item

    with pytest.raises(KeyboardInterrupt) as caught:
        ask.map(range(10), resume=path)
    assert not hasattr(caught.value, "__notes__")
    assert partial_results(caught.value) == {0: 0, 1: 1, 2: 2}


def test_another_working_directory_changes_nothing(threads_or_loop, tmp_path, seconds, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    ask, called = losing(threads_or_loop, lambda path: os.chdir(tmp_path / "elsewhere"), None, seconds, 0.6, 2)
    assert len(threads_or_loop.run(ask, range(10), resume="answers")) == len(called) == 10


def test_a_journal_that_grew_by_somebody_elses_hand_is_still_ours(threads_or_loop, path, seconds):
    def grow(path):
        with open(path, "ab") as file:
            file.write(b"a note\n")

    ask, called = losing(threads_or_loop, grow, path, seconds, 0.6, 2)
    threads_or_loop.run(ask, range(10), resume=path)
    called.clear()
    with pytest.warns(UserWarning, match="1 damaged record"):
        threads_or_loop.run(ask, range(10), resume=path)
    assert called == []


def test_where_nobody_can_look_nothing_is_said(path, monkeypatch, seconds):
    def stat():
        raise PermissionError(13, "Permission denied")

    journal = Journal(path, durable=False)
    monkeypatch.setattr(journal_file, "os", Calling("stat", stat))
    journal.check()
    seconds[0] += 1.0
    journal.append(line("a"))
    assert len(Journal(path + ".2", durable=False)) == 0


def test_a_journal_is_looked_for_once_a_second_and_not_with_every_line(path, monkeypatch, seconds):
    looks = []

    class Watching:
        def __getattr__(self, name):
            if name == "stat":
                looks.append(seconds[0])
            return getattr(os, name)

    journal = Journal(path, durable=False)
    monkeypatch.setattr(journal_file, "os", Watching())
    for now in (100.0, 100.5, 100.99, 101.0, 101.5, 102.0, 102.5, 110.0, 110.5, 111.0):
        seconds[0] = now
        journal.append(line("a"))
    assert looks == [101.0, 102.0, 110.0, 111.0]


# Large results


def test_a_large_result_is_read_back_in_time_that_grows_with_it(path, monkeypatch):
    """Counted in reads and in bytes: each read takes twice as many as the one before."""
    size = 10_000_000
    journal = Journal(path, durable=False)
    journal.append(line("a", '"' + "a" * size + '"'))
    journal.append(line("b"))
    journal.close()
    journal = Journal(path, durable=False)
    reads = []

    class Counting:
        def __getattr__(self, name):
            return self.pread if name == "pread" else getattr(os, name)

        def pread(self, fd, block, place):
            found = os.pread(fd, block, place)
            reads.append(len(found))
            return found

    monkeypatch.setattr(journal_file, "os", Counting())
    assert journal.find("a")["value"] == "a" * size
    assert len(reads) < 20
    assert sum(reads) < 2.1 * size
    reads.clear()
    assert journal.find("b")["value"] == 1
    assert len(reads) == 1


@pytest.mark.parametrize("length", [4000, 4095, 4096, 4097, 12287, 12288, 12289, 28672])
def test_a_line_that_ends_where_a_read_does_is_whole(path, length):
    first = line("a", '"' + "a" * (length - len(line("a", '""'))) + '"')
    assert len(first) == length
    journal = Journal(path, durable=False)
    for text in (first, line("b"), first):
        journal.append(text)
    journal.close()
    fd = os.open(path, os.O_RDONLY)
    assert journal_file.read_line_at(fd, 0) == first
    assert journal_file.read_line_at(fd, length) == line("b")
    assert journal_file.read_line_at(fd, length + len(line("b"))) == first
    assert journal_file.read_line_at(fd, 2 * length + len(line("b"))) == b""
    os.close(fd)


# Waiting for the disk


class Disk:
    """`os`, whose syncs do what they are told, and which knows how many lines are on the disk."""

    def __init__(self, within=lambda: None):
        self.within = within
        self.lines = self.on_disk = self.syncs = 0

    def __getattr__(self, name):
        return getattr(self, f"_{name}") if name in ("write", "fdatasync") else getattr(os, name)

    def _write(self, fd, text):
        self.lines += 1
        return os.write(fd, text)

    def _fdatasync(self, fd):
        written = self.lines
        self.syncs += 1
        self.within()
        self.on_disk = written


def test_a_durable_result_is_handed_out_once_it_is_on_the_disk(lazy_way, path, monkeypatch):
    disk = Disk()
    monkeypatch.setattr(journal_file, "os", disk)

    async def ask(item):
        await lazy_way.pause(0)
        return item

    asking = lazy_way.decorate(ask, max_concurrency=4)

    async def main():
        found = 0
        async with lazy_way.opened(lazy_way.start(asking, range(40), resume=path, durable=True)) as results:
            async for _ in lazy_way.each(results):
                found += 1
                assert found <= disk.on_disk
        return found

    assert lazy_way.go(main) == 40


def test_an_event_loop_does_not_wait_for_the_disk(async_way, path, monkeypatch):
    """Each sync waits until an item on the loop that makes the calls has run meanwhile."""
    ticks, over = [0], threading.Event()

    def within():
        before, end = ticks[0], time.monotonic() + PATIENCE
        while disk.lines and ticks[0] == before and not over.is_set():
            assert time.monotonic() < end, "the loop stands still"
            time.sleep(0.001)

    disk = Disk(within)
    monkeypatch.setattr(journal_file, "os", disk)
    ended = []

    async def ask(item):
        while item == 0 and len(ended) < 12:
            ticks[0] += 1
            await async_way.pause()
        ended.append(item)
        if item == 0:
            over.set()
        return item

    asking = async_way.decorate(ask, max_concurrency=4)
    assert async_way.run(asking, range(13), resume=path, durable=True) == list(range(13))
    assert disk.on_disk == 13


def test_one_sync_takes_along_what_was_written_before_it(path, monkeypatch):
    asked = threading.Event()
    disk = Disk(lambda: disk.lines and asked.wait(PATIENCE))
    monkeypatch.setattr(journal_file, "os", disk)
    count = iter(range(100))

    @parallel_map(max_concurrency=16)
    async def ask(item):
        await asyncio.sleep(0)
        if next(count) == 15:
            asyncio.get_running_loop().call_later(0, asked.set)
        return item

    asyncio.run(ask.amap(range(16), resume=path, durable=True))
    assert disk.on_disk == 16
    assert disk.syncs <= 4  # of opening; of the first; of those that came meanwhile


def test_a_worker_that_is_woken_while_it_waits_for_the_disk_goes_on_waiting(path, monkeypatch):
    waiting, go_on = threading.Event(), threading.Event()
    disk = Disk()
    monkeypatch.setattr(journal_file, "os", disk)

    def within():
        waiting.set()
        go_on.wait(PATIENCE)

    @parallel_map(max_concurrency=2)
    async def ask(item):
        disk.within = within
        await asyncio.sleep(0)
        return item

    async def main():
        async with ask.as_completed(range(10), resume=path, durable=True) as results:
            first = asyncio.ensure_future(anext(results))
            while not waiting.is_set() or disk.lines < 2:
                await asyncio.sleep(0.001)
            results.stop()  # wakes everybody
            for _ in range(10):
                await asyncio.sleep(0)
            assert results.stats.done == 0
            go_on.set()
            return [(await first).value, *[outcome.value async for outcome in results]]

    assert sorted(asyncio.run(main())) == [0, 1]


def test_a_run_that_is_cancelled_while_it_waits_for_the_disk_hands_over_what_is_written(path, monkeypatch):
    waiting, go_on = threading.Event(), threading.Event()
    disk = Disk()
    monkeypatch.setattr(journal_file, "os", disk)

    def within():
        waiting.set()
        go_on.wait(PATIENCE)

    @parallel_map(max_concurrency=2)
    async def ask(item):
        disk.within = within
        await asyncio.sleep(0)
        return f"answer {item}"

    async def main():
        run = asyncio.ensure_future(ask.amap(range(10), resume=path, durable=True))
        while not waiting.is_set() or disk.lines < 2:
            await asyncio.sleep(0.001)
        run.cancel()
        try:
            await run
        except asyncio.CancelledError as error:
            return partial_results(error)
        finally:
            go_on.set()

    assert asyncio.run(main()) == {0: "answer 0", 1: "answer 1"}
    assert len(Journal(path, durable=False)) == 2


def test_workers_that_a_stranger_cancels_while_they_wait_for_the_disk_lose_nothing(path, monkeypatch):
    disk = Disk()
    monkeypatch.setattr(journal_file, "os", disk)
    called = []

    @parallel_map(max_concurrency=3)
    async def ask(item):
        called.append(item)
        return item

    async def main():
        run = asyncio.ensure_future(ask.amap(range(60), resume=path, durable=True))
        while not run.done():
            await asyncio.sleep(0.001)
            for task in asyncio.all_tasks() - {asyncio.current_task(), run}:
                task.cancel()
        return await run

    assert asyncio.run(main()) == list(range(60))
    assert sorted(called) == list(range(60))


def test_without_a_thread_for_it_the_loop_waits_for_the_disk(path, monkeypatch):
    def none(*_):
        raise RuntimeError("can't start new thread")

    disk = Disk()
    monkeypatch.setattr(journal_file, "os", disk)
    monkeypatch.setattr("fanmap._drive.drivers.warm_threads.run_job", none)

    @parallel_map(max_concurrency=3)
    async def ask(item):
        await asyncio.sleep(0)
        return item

    assert asyncio.run(ask.amap(range(10), resume=path, durable=True)) == list(range(10))
    assert disk.on_disk == 10

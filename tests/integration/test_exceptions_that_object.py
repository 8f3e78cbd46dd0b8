"""An exception that objects to being looked at comes out itself, and what had finished is with it.

Nothing here looks at such an exception either: they are told apart by identity.
"""

from __future__ import annotations

import asyncio
import threading

import pytest
import tenacity
from hypothesis import given

from fanmap import Limits, Outcome, Retry, _raw, gather_bounded, parallel_map, partial_results, to_async, to_sync
from fanmap._run.rows_out import error_text
from fanmap.testing import VirtualTime

from ..simulation.hostile import COMPLAINTS, PLACES, QUIRKS, SHAPES, Hostile, hostiles

pytestmark = pytest.mark.usefixtures("nothing_left")

EACH = [Hostile((quirk,)) for quirk in QUIRKS]
EACH += [Hostile(("getattribute", "setattr", "str", "own"), complaint) for complaint in COMPLAINTS]
EACH += [Hostile((), shape=shape) for shape in SHAPES]
EACH += [Hostile(QUIRKS, shape=shape, place=place) for shape in SHAPES for place in PLACES]


async def outcome_of(way, ask, inputs, **options):
    """What a run returned, or what it raised. By hand: contextlib looks at what passes through it."""
    try:
        method = getattr(ask, way.method)
        if way.method == "map":
            return method(inputs, **options), None
        if way.method == "amap":
            return await method(inputs, **options), None
        if way.blocks:
            with method(inputs, **options) as results:
                return list(results), None
        async with method(inputs, **options) as results:
            return [result async for result in results], None
    except BaseException as error:
        return None, error


def unharmed(call, one):
    """Call it; what it raises is said without looking at it, for pytest would."""
    try:
        return call()
    except AssertionError:
        raise
    except BaseException as error:
        step = _raw.traceback_of(error)
        while step.tb_next is not None:
            step = step.tb_next
        said = f"{one}: {_raw.type_name(error)} in {step.tb_frame.f_code.co_filename}:{step.tb_lineno}"
    raise AssertionError(said)


def result_of(one):
    if type(one) is Outcome:
        return one.value if one.error is None else one.error
    return one


def only(error, results):
    """Does this very exception stand in the place of item 3, and every other item's own value in its?"""
    results.sort(key=lambda one: one.index if type(one) is Outcome else 0)
    found = [result_of(one) for one in results]
    return len(found) == 8 and found[3] is error and all(found[n] == n for n in range(8) if n != 3)


WHOLE = pytest.mark.whole


@pytest.mark.parametrize(
    "retry",
    [
        pytest.param(None, id="unasked", marks=WHOLE),
        pytest.param(False, id="never", marks=WHOLE),
        pytest.param(Retry(attempts=2, wait=0), id="asked"),
    ],
)
def test_it_stands_in_its_items_place(way, retry):
    for one in EACH:
        error = one.among()

        async def ask(item, error=error):
            if item == 3:
                raise error
            return item

        asking = way.decorate(ask, max_concurrency=2, retry=retry)
        options = {} if way.method == "as_completed" else {"return_exceptions": True}
        kept = []

        async def main(asking=asking, options=options, kept=kept):
            kept.extend(await outcome_of(way, asking, range(8), **options))

        unharmed(lambda main=main: way.go(main), one)
        assert (kept[1] is None) is True, one
        assert only(error, kept[0]), one


def test_it_is_raised_itself_with_its_note_and_what_had_finished(strict_way):
    for one in EACH:
        error = one.among()

        async def ask(item, error=error):
            if item == 3:
                raise error
            return item

        asking = strict_way.decorate(ask, max_concurrency=1)
        kept = []

        async def main(asking=asking, kept=kept):
            kept.extend(await outcome_of(strict_way, asking, range(8)))

        unharmed(lambda main=main: strict_way.go(main), one)
        assert kept[1] is error, one
        assert partial_results(error) == ({} if strict_way.method == "imap" else {0: 0, 1: 1, 2: 2}), one


def test_it_comes_out_of_gather_bounded():
    for one in EACH:
        error = one.among()

        async def ask(item, error=error):
            if item == 3:
                raise error
            return item

        async def main(ask=ask, error=error):
            results = await gather_bounded(*[ask(item) for item in range(8)], return_exceptions=True)
            try:
                await gather_bounded(*[ask(item) for item in range(8)], max_concurrency=1)
            except BaseException as raised:
                return only(error, results), raised is error, partial_results(raised)
            return None

        seen = unharmed(lambda main=main: asyncio.run(main()), one)
        assert seen == (True, True, {0: 0, 1: 1, 2: 2}), one


def awaited(make):
    """What comes out inside: asyncio looks at what leaves its loop."""
    raised = []

    async def main():
        try:
            await make()
        except BaseException as error:
            raised.append(error)

    asyncio.run(main())
    raise raised[0]


def test_it_comes_out_of_a_direct_call_and_of_a_block():
    for one in EACH:
        error = one.among()
        account = Limits(2, classify=lambda error: None)

        @parallel_map(limits=account)
        def ask(error=error):
            raise error

        @parallel_map(limits=account, retry=Retry(attempts=2, wait=0))
        async def aask(error=error):
            raise error

        def block(error=error, account=account):
            with account:
                raise error

        async def ablock(error=error, account=account):
            async with account:
                raise error

        calls = [
            ask,
            ask.with_options(retry=Retry(attempts=2, wait=0)),
            block,
            lambda aask=aask: awaited(aask),
            lambda ablock=ablock: awaited(ablock),
            lambda aask=aask: to_sync(aask)(),
            lambda ask=ask: awaited(to_async(ask)),
        ]
        for number, call in enumerate(calls):
            itself = False
            try:
                call()
            except BaseException as raised:
                itself = raised is error
            assert itself, (one, number)
        assert (account.stats.in_flight, account.stats.waiting) == (0, 0)


@given(hostiles())
def test_any_combination_in_a_run_of_threads_and_of_tasks(one):
    error = one.among()

    def ask(item):
        if item == 3:
            raise error
        return item

    async def aask(item):
        return ask(item)

    async def main():  # what `asyncio.run` returns is looked at by 3.11
        return only(error, await parallel_map(max_concurrency=3)(aask).amap(range(8), return_exceptions=True))

    def runs():
        with VirtualTime() as virtual:
            return (
                only(error, parallel_map(max_concurrency=3)(ask).map(range(8), return_exceptions=True)),
                virtual.run(main()),
                only(error, list(parallel_map(max_concurrency=3, retry=Retry())(ask).as_completed(range(8)))),
            )

    assert unharmed(runs, one) == (True, True, True)


def test_what_had_finished_comes_out_where_asyncio_runs_in_between():
    """A frozen dataclass, which `asyncio.run` and a timeout pass on."""
    error = Hostile((), shape="frozen slots").made()

    @parallel_map(max_concurrency=1)
    async def ask(item):
        if item == 3:
            raise error
        return item

    with pytest.raises(type(error)) as caught:
        asyncio.run(ask.amap(range(8)))
    assert caught.value is error
    assert partial_results(caught.value) == {0: 0, 1: 1, 2: 2}
    assert error.__notes__ == ["fanmap: item 3 of ask"]


def test_a_run_that_is_stopped_says_by_what_without_asking_it():
    class Meta(type):
        def __getattribute__(cls, name):
            raise RuntimeError(name)

    spent = Meta("Spent", (Exception,), {"status_code": 402})()

    def ask(item):
        raise spent

    results = parallel_map(max_concurrency=1)(ask).map(range(3), return_exceptions=True)
    assert results[0] is spent
    assert len(results) == 3


def strategies():
    """What users give as `on`, that looks at the exception."""
    return [
        tenacity.retry_if_exception_message(match="429"),
        tenacity.retry_if_exception(lambda error: "429" in str(error) + repr(error)),
        ConnectionError,
        *(
            pytest.param(on, marks=pytest.mark.whole)
            for on in (
                tenacity.retry_if_exception_type(ConnectionError),
                tenacity.retry_if_not_exception_type(KeyError),
                tenacity.retry_if_exception_cause_type(ConnectionError),
                (ConnectionError, TimeoutError),
            )
        ),
    ]


@pytest.mark.parametrize("on", strategies(), ids=lambda on: getattr(type(on), "__name__", "kinds"))
def test_a_strategy_that_looks_at_it_lets_its_failure_stand(on):
    for one in EACH:
        error = one.among()

        @parallel_map(max_concurrency=1, retry=Retry(attempts=2, on=on, wait=0))
        def ask(item, error=error):
            if item == 3:
                raise error
            return item

        results = unharmed(lambda ask=ask: ask.map(range(8), return_exceptions=True), one)
        assert only(error, results), one


def test_a_bug_of_the_strategys_own_is_heard():
    def on(state):
        return state.outcome.exception().status == 429  # there is no such attribute

    with pytest.raises(AttributeError, match="status"):
        parallel_map(retry=Retry(on=on))(lambda item: 1 // item).map([0], return_exceptions=True)


def test_it_leaves_the_block_of_a_loop_with_what_had_finished():
    for one in EACH:
        error = one.among()
        itself, kept = False, None
        results = parallel_map(max_concurrency=4)(lambda item: item).imap(range(8))
        try:
            with results:
                next(results)
                while results.stats.done < 8:
                    threading.Event().wait(0.001)
                raise error
        except BaseException as raised:
            itself, kept = raised is error, partial_results(raised)
        assert itself, one
        assert kept == {item: item for item in range(1, 8)}


def test_it_comes_out_of_the_input(strict_way):
    for one in EACH:
        error = one.among()

        def numbers(error=error):
            yield 0
            yield 1
            raise error

        async def ask(item):
            return item

        asking = strict_way.decorate(ask, max_concurrency=1)
        kept = []

        async def main(asking=asking, kept=kept, numbers=numbers):
            kept.extend(await outcome_of(strict_way, asking, numbers()))

        unharmed(lambda main=main: strict_way.go(main), one)
        if type(error).__name__ != "HostileGroup":
            assert (kept[1] is error) is True, one


def test_it_is_kept_in_a_journal_as_an_error_and_run_again(tmp_path):
    for number, one in enumerate(EACH):
        error = one.among()
        calls = []

        @parallel_map(max_concurrency=1)
        def ask(item: int, error=error, calls=calls) -> int:
            calls.append(item)
            if item == 3:
                raise error
            return item

        path = tmp_path / f"{number}.jsonl"
        for _ in range(2):
            results = unharmed(lambda ask=ask, path=path: ask.map(range(8), return_exceptions=True, resume=path), one)
            assert only(error, results), one
        assert calls == [0, 1, 2, 3, 4, 5, 6, 7, 3]


def test_it_is_a_rows_error_in_a_file(tmp_path):
    for one in EACH[:: len(EACH) // 8]:
        text = unharmed(lambda one=one: error_text(one.among()), one)
        assert text.startswith(("Hostile", "ExceptionGroup", "ValueError"))


def test_a_progress_callback_that_raises_it_ends_nothing(caplog):
    for one in EACH:
        error = one.among()

        def tell(stats, error=error):
            raise error

        ask = parallel_map(max_concurrency=4)(lambda item: item)
        assert unharmed(lambda ask=ask, tell=tell: ask.map(range(4), progress=tell), one) == [0, 1, 2, 3]
    assert "the run continues" in caplog.text

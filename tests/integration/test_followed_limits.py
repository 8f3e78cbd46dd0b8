"""`rpm="auto"` and `tpm="auto"`: the limits that a server tells are kept, in its own windows, and followed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import warnings

import anyio
import httpx
import pytest

from fanmap import Limits, gather_bounded, parallel_map
from fanmap.testing import SimulatedStore, VirtualTime, serve
from fanmap.testing._behaviour import Behaviour
from fanmap.testing._provider import Provider
from fanmap.testing._wire import DIALECTS

BODY = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}
OPENAI, ANTHROPIC = (
    next(dialect for dialect in DIALECTS if dialect.path.endswith(end)) for end in ("ions", "messages")
)


@pytest.fixture(scope="module", autouse=True)
def _clients() -> None:
    """Imported by the first test that uses them, not where tests are collected: that takes seconds."""
    global openai
    import openai


class Simulated:
    """The loopback server's provider behind a real httpx client, without a network and in virtual time."""

    def __init__(self, dialect=OPENAI, *, used=100, latency=0.5, **limits):
        self.dialect, self.used, self.latency = dialect, used, latency
        self.limit(**limits)
        self.starts, self.refused, self.in_flight, self.most = [], 0, 0, 0
        self.headers = None  # in place of the provider's own

    def limit(self, **limits):
        self.provider = Provider(Behaviour(latency=0.0, **limits))

    async def __call__(self, request):
        from datetime import UTC, datetime

        from fanmap._drive import clock

        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        provider = self.provider
        self.starts.append(clock.now())
        with provider.serving("hello", tokens=self.used) as fate:
            if fate.status == 200:
                await anyio.sleep(self.latency)
        self.in_flight -= 1
        headers = self.dialect.headers(fate.index, provider.levels(), datetime.fromtimestamp(time.time(), UTC))
        if self.headers is not None:
            headers = self.headers
        if fate.wait is not None:
            headers = {**headers, "retry-after": f"{fate.wait:.3f}"}
        self.refused += fate.status == 429
        usage = {"prompt_tokens": 0, "completion_tokens": self.used}
        if self.dialect is ANTHROPIC:
            usage = {"input_tokens": self.used, "output_tokens": 50}
        return httpx.Response(fate.status, headers=headers, json={"model": "small", "usage": usage})

    def function(self):
        client = httpx.AsyncClient(transport=httpx.MockTransport(self))

        async def ask(number):
            response = await client.post("http://x", json=BODY)
            response.raise_for_status()
            return response.json()["model"]

        return ask

    def run(self, limits, seconds, *, many=1_000_000):
        """Run for so long; its starts."""
        ask = parallel_map(limits=limits)(self.function())
        # What is refused shortly before the deadline is not sent again.
        with VirtualTime() as virtual, contextlib.suppress(TimeoutError, httpx.HTTPStatusError):
            self.virtual = virtual
            virtual.run(ask.amap(range(many), deadline=seconds))
        return self.starts


def within(starts, begin, end):
    return sum(begin <= start < end for start in starts)


@pytest.mark.whole
def test_the_limit_of_requests_is_found_and_used():
    """The figures that are promised: at most 1 % refused, at least 0.95 of it used from second 10 on."""
    server = Simulated(rpm=6_000)
    limits = Limits(256, rpm="auto")
    starts = server.run(limits, 60)
    assert server.refused <= 0.01 * len(starts)
    assert within(starts, 10, 60) >= 0.95 * 5_000
    assert within(starts, 0, 60) <= 6_000


def test_until_the_first_answer_one_call_is_under_way():
    server = Simulated(rpm=6_000, latency=3.0)
    starts = server.run(Limits(64, rpm="auto"), 4)
    assert within(starts, 0, 3) == 1
    assert within(starts, 3, 4) >= 60


def test_it_goes_on_while_the_first_calls_fail():
    server = Simulated(rpm=6_000, latency=0.1)
    calls = iter(range(10**6))
    inner = server.function()

    async def ask(number):
        if next(calls) < 5:
            await anyio.sleep(0.1)
            raise ValueError("before it has asked anybody")
        return await inner(number)

    limits = Limits(64, rpm="auto")
    with VirtualTime() as virtual:
        results = virtual.run(parallel_map(limits=limits)(ask).amap(range(200), return_exceptions=True))
    assert sum(isinstance(result, ValueError) for result in results) == 5
    assert [(change.before, change.after, change.why) for change in limits.history] == [(1, 64, "told")]
    assert server.starts[0] == pytest.approx(0.5)
    assert limits.stats.ceiling == 64


@pytest.mark.whole
def test_a_change_of_the_limit_is_followed_both_ways():
    server = Simulated(rpm=6_000, latency=0.1)

    async def changes():
        await anyio.sleep(20)
        server.limit(rpm=600)
        await anyio.sleep(20)
        server.limit(rpm=6_000)

    async def main():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(changes)
            with contextlib.suppress(TimeoutError):
                await parallel_map(limits=limits)(server.function()).amap(range(10**6), deadline=60.0)

    limits = Limits(64, rpm="auto")
    with VirtualTime() as virtual:
        virtual.run(main())
    assert within(server.starts, 10, 20) >= 950
    assert within(server.starts, 21, 40) <= 0.1 * 6_000 / 60 * 19 + 64
    assert within(server.starts, 45, 60) >= 0.9 * 1_500
    assert server.refused <= 0.01 * len(server.starts)


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "nan",
        *[pytest.param(value, marks=pytest.mark.whole) for value in ("-1", "inf", "many", "", "1e400", "9" * 400)],
    ],
)
def test_a_limit_that_shrinks_to_garbage_is_kept_as_it_was(value):
    server = Simulated(rpm=600, latency=0.1)

    def spoil(request):
        server.headers = (
            {"openai-version": "x", "x-ratelimit-limit-requests": value} if len(server.starts) > 5 else None
        )
        return server(request)

    client = httpx.AsyncClient(transport=httpx.MockTransport(spoil))

    async def ask(number):
        await client.post("http://x", json=BODY)

    with VirtualTime() as virtual, contextlib.suppress(TimeoutError):
        virtual.run(parallel_map(limits=Limits(256, rpm="auto"))(ask).amap(range(10**6), deadline=40.0))
    assert 0.9 * 100 <= within(server.starts, 20, 30) <= 101
    assert 0.9 * 100 <= within(server.starts, 30, 40) <= 101


@pytest.mark.whole
def test_a_server_that_contradicts_itself_is_believed_when_it_refuses():
    server = Simulated(rpm=600, latency=0.1, burst=10)
    server.headers = {"openai-version": "x", "x-ratelimit-limit-requests": "6000"}
    starts = server.run(Limits(16, rpm="auto"), 60)
    assert within(starts, 0, 60) - server.refused >= 0.5 * 600  # each refusal is waited for


def test_a_limit_of_a_day_has_a_days_window():
    server = Simulated(latency=0.1)
    used = iter(range(10**6))

    def answer(request):
        count = next(used)
        server.headers = {
            "x-ratelimit-limit-requests": "14400",
            "x-ratelimit-remaining-requests": str(14_400 - count - 1),
            "x-ratelimit-reset-requests": f"{(count + 1) * 6}s",
        }
        return server(request)

    async def ask(number):
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            await client.post("http://x", json=BODY)

    with VirtualTime() as virtual, contextlib.suppress(TimeoutError):
        virtual.run(parallel_map(limits=Limits(8, rpm="auto"))(ask).amap(range(10**6), deadline=600.0))
    assert within(server.starts, 0, 600) <= 102  # one each six seconds


@pytest.mark.parametrize("settings", [{"rpm": "auto"}, {"tpm": "auto"}, {"rpm": "auto", "tpm": "auto"}])
@pytest.mark.whole
def test_a_server_that_tells_no_limit_has_none_and_that_is_said_once(settings):
    server = Simulated(latency=0.1)
    server.headers = {"x-other": "1"}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        limits = Limits(32, **settings)
        server.run(limits, 600, many=640)
    assert len(server.starts) == 640
    assert server.virtual.now() <= 2.2
    assert sorted(str(one.message).partition("=")[0] for one in warned) == sorted(settings)
    assert all(f'{name}="auto"' in " ".join(str(one.message) for one in warned) for name in settings)


def test_where_no_request_is_seen_there_is_no_limit_either():
    async def ask(number):
        await anyio.sleep(0.1)

    run = parallel_map(limits=Limits(32, rpm="auto"))(ask)
    with VirtualTime() as virtual:
        with pytest.warns(UserWarning, match='rpm="auto"'):
            virtual.run(run.amap(range(320)))
        assert virtual.now() == pytest.approx(1.1, abs=0.05)


def test_tokens_of_openai():
    server = Simulated(tpm=60_000, used=100)
    starts = server.run(Limits(64, tpm="auto"), 60)
    assert server.refused <= 0.01 * len(starts)
    assert 100 * within(starts, 10, 60) >= 0.95 * 50_000


def test_tokens_of_anthropic_are_two_limits():
    server = Simulated(ANTHROPIC, tpm=60_000, used=100)
    own = ANTHROPIC.headers

    def headers(*args):
        return {**own(*args), "anthropic-ratelimit-output-tokens-limit": "15000"}

    server.dialect = ANTHROPIC._replace(headers=headers)

    async def ask(number):
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return (await client.post("http://x", json=BODY)).text

    async def answer(request):
        response = await server(request)
        return httpx.Response(200, headers=response.headers, json={"usage": {"input_tokens": 100, "output_tokens": 50}})

    with VirtualTime() as virtual, contextlib.suppress(TimeoutError):
        virtual.run(parallel_map(limits=Limits(64, tpm="auto"))(ask).amap(range(10**6), deadline=60.0))
    # 15,000 a minute of output binds: 5 a second, once the first crowd, of which nothing was known, is paid for.
    assert 0.95 * 200 <= within(server.starts, 20, 60) <= 1.02 * 200 + 1


@pytest.mark.parametrize("shared", [False, True])
def test_calls_in_line_are_guessed_anew_where_input_is_counted_apart(shared):
    """`max_tokens` counts nothing there: neither in what waits behind the first call, nor in what that teaches."""
    server = Simulated(ANTHROPIC, used=100)
    server.headers = {"anthropic-ratelimit-input-tokens-limit": "30000"}
    client = httpx.AsyncClient(transport=httpx.MockTransport(server))
    limits = Limits(16, tpm="auto", shared=SimulatedStore() if shared else None)

    @parallel_map(limits=limits)
    async def ask(prompt, max_tokens):
        return (await client.post("http://x", json=BODY)).text

    prompts = ({"prompt": "x" * 400, "max_tokens": 4_000} for _ in range(10**6))
    with VirtualTime() as virtual, contextlib.suppress(TimeoutError):
        virtual.run(ask.amap(prompts, unpack=True, deadline=60.0))
    assert 0.9 * 25 <= within(server.starts, 1, 6) <= 30  # 30,000 a minute are 5 a second
    assert within(server.starts, 0, 60) <= 300


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (
            {"anthropic-ratelimit-input-tokens-limit": "1000"},
            "this call may take 1100 input tokens by estimate, and the server's limit is 1000 in 60 s: shorten it",
        ),
        (
            {"x-ratelimit-limit-tokens": "1000"},
            "this call may take 1100 tokens by estimate, and the server's limit is 1000 in 60 s: lower its max_tokens",
        ),
    ],
)
def test_a_call_above_what_the_server_told_is_told_in_words_of_the_server(headers, said):
    server = Simulated(used=100)
    server.headers = headers
    ask = parallel_map(max_concurrency=1, tpm="auto")(server.function())
    with VirtualTime() as virtual:
        kept = virtual.run(ask.amap([1, "x" * 4400], return_exceptions=True))
    assert (kept[0], str(kept[1])) == ("small", said)


def test_with_a_number_beside_it():
    server = Simulated(rpm=6_000)
    starts = server.run(Limits(64, rpm="auto", tpm=60_000), 30)
    assert within(starts, 10, 30) <= 1.05 * 200  # 100 tokens each


def test_over_a_real_server_with_a_real_client():
    with serve(latency=0.002, rpm=6_000) as server:
        limits = Limits(16, rpm="auto")
        with openai.OpenAI(base_url=server.openai_url, api_key="none") as client:
            ask = parallel_map(limits=limits)(lambda prompt: client.chat.completions.create(**BODY).id)
            assert len(ask.map(range(150))) == 150
        assert server.sent == 150
        assert [rate.amount for rate in limits._budget.rates] == [6_000]


@pytest.mark.parametrize("way", ["map", "a direct call", "amap"])
@pytest.mark.parametrize("setting", ["rpm", "tpm"])
def test_that_a_server_tells_no_limit_is_said_of_the_users_line_that_asks_it(setting, way):
    def ask(prompt):
        return client.chat.completions.create(**BODY).id

    async def aask(prompt):
        async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none") as own:
            return (await own.chat.completions.create(**BODY)).id

    with serve() as server, openai.OpenAI(base_url=server.openai_url, api_key="none") as client:
        decorated = parallel_map(**{setting: "auto"})(aask if way == "amap" else ask)
        start = {
            "map": lambda: decorated.map([1]),
            "a direct call": lambda: decorated(1),
            "amap": lambda: asyncio.run(decorated.amap([1])),
        }
        with pytest.warns(UserWarning, match=f'{setting}="auto"') as warned:
            start[way]()
    function = (aask if way == "amap" else ask).__code__
    assert warned[0].filename == __file__
    assert warned[0].lineno in {line for _, _, line in function.co_lines()}


def test_gather_bounded_takes_it_too():
    server = Simulated(rpm=600, latency=0.1)
    inner = server.function()

    async def main():
        return await gather_bounded(*[inner(number) for number in range(30)], rpm="auto")

    with VirtualTime() as virtual:
        assert len(virtual.run(main())) == 30
        assert virtual.now() == pytest.approx(2.0, rel=0.2)


@pytest.mark.parametrize("name", ["rpm", "tpm"])
def test_settings_that_make_no_sense(name):
    with pytest.raises(ValueError, match=f'read_responses must not be False with {name}="auto"'):
        Limits(8, read_responses=False, **{name: "auto"})
    with pytest.raises(ValueError, match=f"{name} must be a number > 0 or \"auto\", got 'fast'"):
        Limits(8, **{name: "fast"})
    assert repr(Limits(8, **{name: "auto"})) == f"Limits(max_concurrency=8, {name}='auto')"
    assert json.dumps(str(Limits(8, **{name: "auto"}).stats.ceiling)) == '"1"'

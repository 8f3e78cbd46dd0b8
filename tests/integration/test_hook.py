"""The hook in the clients: it tells of each exchange once, changes nothing, and lets other hooks come and go.

httpx and requests are required; the others are tested where they are installed.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import logging
import math
import pickle
import subprocess
import sys
import threading
import types
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from unittest import mock

import httpx
import pytest
import requests

from fanmap._drive.wire import hook, observing
from fanmap._drive.wire.wires import HTTPX
from fanmap.testing import Reply, serve

BODY = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}


class Log:
    """An observer that writes down what it is told, and answers or raises where it is told to."""

    def __init__(self, answer=None, error=None):
        self.asks, self.responses, self.errors = [], [], []
        self._answer, self._error = answer, error

    def asked(self, request):
        self.asks.append(request)
        if self._error is not None:
            raise self._error
        return self._answer

    def answered(self, request, response):
        self.responses.append(response)

    def failed(self, request, error):
        self.errors.append(error)


@contextmanager
def observed(observer=None):
    observer = observer or Log()
    hook.ensure()
    outside = observing.observer.set(observer)
    try:
        yield observer
    finally:
        observing.observer.reset(outside)


@pytest.fixture(scope="module")
def server():
    with serve(latency=0.0) as running:
        yield running


@pytest.fixture
def url(server):
    server.reset()
    return f"{server.openai_url}/chat/completions"


def ways(url):
    """One exchange in each client that is installed."""

    async def by_async_httpx():
        async with httpx.AsyncClient(timeout=120) as client:
            return (await client.post(url, json=BODY)).status_code

    async def by_aiohttp():
        aiohttp = pytest.importorskip("aiohttp")
        async with aiohttp.ClientSession() as session, session.post(url, json=BODY) as response:
            await response.read()
            return response.status

    def by_httpx2():
        return pytest.importorskip("httpx2").post(url, json=BODY, timeout=120).status_code

    return {
        "httpx": lambda: httpx.post(url, json=BODY, timeout=120).status_code,
        "async httpx": lambda: asyncio.run(by_async_httpx()),
        "httpx2": by_httpx2,
        "requests": lambda: requests.post(url, json=BODY, timeout=120).status_code,
        "aiohttp": lambda: asyncio.run(by_aiohttp()),
    }


WAYS = list(ways(""))


@pytest.mark.parametrize("way", WAYS)
def test_an_exchange_is_told_once_and_only_where_somebody_observes(way, url):
    call = ways(url)[way]
    with observed() as log:
        assert call() == 200
    assert (len(log.asks), len(log.responses), log.errors) == (1, 1, [])
    assert call() == 200
    assert len(log.asks) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_that_fails_is_told(way):
    with observed() as log, pytest.raises(Exception) as raised:  # noqa: PT011 (each client has its own)
        ways("http://127.0.0.1:9/v1/chat/completions")[way]()
    assert log.errors == [raised.value]
    assert log.responses == []


def test_a_redirect_is_one_exchange(server, url):
    server.script([Reply(307, headers={"location": url})])
    with observed() as log:
        assert requests.post(url, json=BODY, timeout=120).status_code == 200
    assert server.sent == 2
    assert (len(log.asks), [response.status_code for response in log.responses]) == (1, [200])


def test_what_an_observer_answers_stands_for_the_wire(server, url):
    answer = httpx.Response(200, json={"recorded": True}, request=httpx.Request("POST", url))
    with observed(Log(answer)) as log:
        assert httpx.post(url, json=BODY).json() == {"recorded": True}
        assert ways(url)["async httpx"]() == 200
    assert (server.sent, log.responses) == (0, [])


def test_what_an_observer_raises_instead_unwinds_the_client(server, url):
    class Unwinding(BaseException):
        pass

    for way in ("httpx", "async httpx", "requests"):
        with observed(Log(error=Unwinding())), pytest.raises(Unwinding):
            ways(url)[way]()
        assert observing.observer.get() is None
    assert server.sent == 0


def test_an_observer_that_fails_is_nobodys_failure_but_its_own(url, caplog):
    class Broken(Log):
        def answered(self, request, response):
            raise ValueError("sk-secret")

        failed = answered

    caplog.set_level(logging.DEBUG, logger="fanmap")
    with observed(Broken()):
        assert ways(url)["httpx"]() == 200
        assert ways(url)["async httpx"]() == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get("http://127.0.0.1:9")
    assert [record.message for record in caplog.records if record.name == "fanmap"] == [
        "a response could not be read: ValueError"
    ] * 3


def test_the_clients_look_as_before():
    hook.ensure()
    for owner, method in ((httpx.Client, "send"), (httpx.AsyncClient, "send"), (requests.Session, "send")):
        function = getattr(owner, method)
        assert function.__qualname__ == f"{owner.__name__}.{method}"
        assert list(inspect.signature(function).parameters)[:2] == ["self", "request"]
        assert inspect.iscoroutinefunction(function) == (owner is httpx.AsyncClient)
        assert function.__doc__
    assert list(inspect.signature(threading.Thread.start).parameters) == ["self"]
    assert list(inspect.signature(ThreadPoolExecutor.submit).parameters)[:2] == ["self", "fn"]


def test_a_request_by_keyword(url):
    with observed() as log, httpx.Client(timeout=120) as client:
        assert client.send(request=client.build_request("POST", url, json=BODY)).status_code == 200
    assert len(log.responses) == 1


def test_a_coroutine_that_is_closed_in_another_context():
    complaints = []

    async def unanswered(request):
        await asyncio.Event().wait()

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        async with httpx.AsyncClient(transport=httpx.MockTransport(unanswered)) as client:
            with observed():
                sending = client.send(client.build_request("POST", "http://x", json=BODY))
                sending.send(None)  # begun here
            asyncio.get_running_loop().call_soon(sending.close)  # and ended in a context of its own
            await asyncio.sleep(0)
        assert sending.cr_frame is None

    asyncio.run(main())
    assert complaints == []


# Other hooks, before and after ours


class Foreign:
    """Instrumentation as it is written: how it puts itself in, and how it takes itself off."""

    def __init__(self):
        self.calls = 0

    def wrapper(self, below):
        def send(*args, **kwargs):
            self.calls += 1
            return below(*args, **kwargs)

        return send


class Saved(Foreign):
    """Writes back what it found (vcr, mock.patch, monkeypatch)."""

    def install(self):
        self.found = requests.Session.send
        requests.Session.send = self.wrapper(self.found)

    def remove(self):
        requests.Session.send = self.found


class Wrapped(Foreign):
    """Writes back the `__wrapped__` of what it finds, if that is marked as its own (OpenTelemetry)."""

    def install(self):
        below = requests.Session.send
        function = functools.wraps(below)(self.wrapper(below))
        function.foreign_mark = True
        requests.Session.send = function

    def remove(self):
        if getattr(requests.Session.send, "foreign_mark", False):
            requests.Session.send = requests.Session.send.__wrapped__


class Bound(Foreign):
    """An object with a binding of its own, as wrapt makes them."""

    def install(self):
        outer, self.found = self, requests.Session.send

        class Wrapper:
            def __init__(self):
                self.__wrapped__ = outer.found

            def __call__(self, *args, **kwargs):
                raise AssertionError("called without being bound")

            def __get__(self, instance, owner=None):
                return outer.wrapper(functools.partial(outer.found, instance))

        requests.Session.send = Wrapper()

    def remove(self):
        requests.Session.send = self.found


@pytest.fixture
def pristine():
    """Session.send as requests defines it, whoever had a hook in it."""
    original = inspect.unwrap(requests.Session.send)
    requests.Session.send = original
    yield original
    requests.Session.send = original


def post(url):
    with observed() as log:
        assert requests.post(url, json=BODY, timeout=120).status_code == 200
    return len(log.asks), len(log.responses)


@pytest.mark.parametrize("kind", [Saved, Wrapped, Bound])
@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_another_hook_comes_and_goes(kind, first, url, pristine):
    theirs = kind()
    if first == "ours":
        assert post(url) == (1, 1)
    theirs.install()
    for called in (1, 2):
        assert post(url) == (1, 1)
        assert theirs.calls == called
    theirs.remove()
    for _ in range(2):
        assert post(url) == (1, 1)
        assert theirs.calls == 2
    theirs.install()  # and again
    assert post(url) == (1, 1)
    assert theirs.calls == 3
    theirs.remove()
    assert post(url) == (1, 1)
    assert theirs.calls == 3


def test_a_hook_that_comes_a_thousand_times_leaves_no_pile_of_ours(url, pristine):
    hook.ensure()
    for _ in range(1000):
        theirs = Saved()
        theirs.install()
        hook.ensure()
        theirs.remove()
        hook.ensure()
    assert post(url) == (1, 1)
    depth, function = 0, requests.Session.send
    while function is not pristine:
        depth, function = depth + 1, function.__wrapped__
    assert depth == 1
    gc.collect()
    assert len(hook._ours) < 100


def test_a_method_that_is_mocked(pristine):
    with mock.patch.object(requests.Session, "send") as mocked, observed() as log:
        response = requests.Session().send(requests.Request("GET", "http://nowhere").prepare())
        assert response is mocked.return_value
    assert len(log.responses) == 1
    assert mocked.call_count == 1


@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_opentelemetrys_instrumentation_of_requests(first, url, pristine):
    module = pytest.importorskip("opentelemetry.instrumentation.requests")
    tracer, exporter = tracing()
    theirs = module.RequestsInstrumentor()
    if first == "ours":
        assert post(url) == (1, 1)
    theirs.instrument(tracer_provider=tracer)
    try:
        assert post(url) == (1, 1)
        assert post(url) == (1, 1)
        assert len(exporter.get_finished_spans()) == 2
    finally:
        theirs.uninstrument()
    assert post(url) == (1, 1)
    assert len(exporter.get_finished_spans()) == 2


@pytest.mark.parametrize("first", ["theirs", "ours"])
@pytest.mark.parametrize("way", ["httpx", "async httpx"])
def test_opentelemetrys_instrumentation_of_httpx(way, first, url):
    module = pytest.importorskip("opentelemetry.instrumentation.httpx")
    tracer, exporter = tracing()
    theirs = module.HTTPXClientInstrumentor()
    call = ways(url)[way]

    def once():
        with observed() as log:
            assert call() == 200
        return len(log.asks), len(log.responses)

    if first == "ours":
        assert once() == (1, 1)
    theirs.instrument(tracer_provider=tracer)
    try:
        assert once() == (1, 1)
        assert len(exporter.get_finished_spans()) == 1
    finally:
        theirs.uninstrument()
    assert once() == (1, 1)
    assert len(exporter.get_finished_spans()) == 1


def tracing():
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("first", ["theirs", "ours"])
@pytest.mark.parametrize("way", WAYS)
def test_vcr(way, first, server, url, tmp_path):
    vcr = pytest.importorskip("vcr")
    call = ways(url)[way]

    def once():
        with observed() as log:
            assert call() == 200
        return len(log.asks), len(log.responses)

    if first == "ours":
        assert once() == (1, 1)
    sent = server.sent
    for _ in range(2):  # recorded, then played
        with vcr.use_cassette(str(tmp_path / "cassette.yaml"), allow_playback_repeats=True):
            assert once() == (1, 1)
            assert once() == (1, 1)
    assert server.sent == sent + 1
    assert once() == (1, 1)
    assert server.sent == sent + 2


@pytest.mark.parametrize("first", ["theirs", "ours"])
@pytest.mark.parametrize("way", ["httpx", "async httpx"])
def test_respx(way, first, server, url):
    respx = pytest.importorskip("respx")
    call = ways(url)[way]

    def once():
        with observed() as log:
            assert call() == 200
        return len(log.asks), len(log.responses)

    if first == "ours":
        assert once() == (1, 1)
    sent = server.sent
    with respx.mock:
        respx.post(url).respond(200, json={})
        assert once() == (1, 1)
    assert server.sent == sent
    assert once() == (1, 1)
    assert server.sent == sent + 1


# Threads


def test_a_thread_started_inside_carries_the_observer_and_nothing_else(url):
    marker = ContextVar("marker", default="outside")
    seen = []

    def work():
        seen.append((observing.observer.get(), marker.get(), httpx.post(url, json=BODY, timeout=120).status_code))

    class Own(threading.Thread):
        def run(self):
            work()

    with observed() as log:
        outside = marker.set("inside")
        threads = [threading.Thread(target=work), Own(), threading.Timer(0.0, work)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
            assert "run" not in vars(thread)
        marker.reset(outside)
    assert seen == [(log, "outside", 200)] * 3
    assert len(log.responses) == 3
    elsewhere = threading.Thread(target=work)
    elsewhere.start()
    elsewhere.join()
    assert seen[-1] == (None, "outside", 200)


class Frozen(threading.Thread):
    def __setattr__(self, name, value):
        if name == "run":
            raise AttributeError(name)
        super().__setattr__(name, value)


class Computed(threading.Thread):
    @property
    def run(self):
        return super().run


@pytest.mark.parametrize(("kind", "followed"), [(threading.Thread, True), (Frozen, True), (Computed, False)])
def test_a_thread_of_any_class_starts_as_before(kind, followed, url):
    with observed() as log:
        found = []
        thread = kind(target=lambda: found.append(httpx.post(url, json=BODY, timeout=120).status_code))
        thread.start()
        thread.join()
    assert (found, len(log.asks)) == ([200], followed)


def wrapping_run(start):
    """As sentry-sdk follows threads: what it finds as `run` it calls with the thread, as a function of the class."""

    @functools.wraps(start)
    def wrapped_start(self, *args, **kwargs):
        below = getattr(self.run, "__func__", self.run)

        def run(*given):
            below(threading.current_thread(), *given[1:])

        self.run = run
        return start(self, *args, **kwargs)

    return wrapped_start


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_thread_whose_start_somebody_else_wraps_as_well(first, url, monkeypatch):
    found = []

    def work():
        found.append(httpx.post(url, json=BODY, timeout=120).status_code)

    if first == "ours":
        hook.ensure()
    monkeypatch.setattr(threading.Thread, "start", wrapping_run(threading.Thread.start))
    with observed() as log:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert (found, len(log.asks)) == ([200], 1)


def test_a_thread_that_cannot_be_started_is_left_as_it_was():
    def own():
        pass

    with observed():
        thread = threading.Thread()
        thread.start()
        thread.join()
        for run in (None, own):
            if run is not None:
                thread.run = run
            with pytest.raises(RuntimeError, match="only be started once"):
                thread.start()
            assert vars(thread).get("run") is run


def test_a_pools_thread_carries_an_observer_for_one_job_only(url):
    seen = []

    def work(number):
        seen.append((number, observing.observer.get()))
        return httpx.post(url, json=BODY, timeout=120).status_code

    with ThreadPoolExecutor(1) as pool:
        with observed() as first:
            assert list(pool.map(work, [1, 2])) == [200, 200]
        assert pool.submit(work, 3).result() == 200
        with observed() as second:
            assert pool.submit(fn_last, fn=work, number=4).result() == 200
    assert seen == [(1, first), (2, first), (3, None), (4, second)]
    assert (len(first.responses), len(second.responses)) == (2, 1)


def fn_last(fn, number):
    return fn(number)


def test_a_job_that_fails_in_a_pool_fails_as_before(url):
    def fail():
        raise KeyError("mine")

    with ThreadPoolExecutor(1) as pool, observed():
        with pytest.raises(KeyError, match="mine"):
            pool.submit(fail).result()
        with pytest.raises(TypeError):
            pool.submit()
    with observed(), pytest.raises(RuntimeError, match="cannot schedule new futures"):
        pool.submit(fail)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="no such pool before Python 3.14")
def test_a_pool_of_interpreters_is_given_what_it_was_given():
    from concurrent.futures import InterpreterPoolExecutor

    with observed(), InterpreterPoolExecutor(1) as pool:
        assert pool.submit(math.factorial, 4).result() == 24


def test_to_thread_and_tasks_are_followed(url):
    async def main():
        with observed() as log:
            await asyncio.to_thread(lambda: httpx.post(url, json=BODY, timeout=120))
            async with httpx.AsyncClient(timeout=120) as client, asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(client.post(url, json=BODY))
        return log

    assert len(asyncio.run(main()).responses) == 4


BEHIND = """
import sys, types
from fanmap._drive.wire import hook, observing
from fanmap._drive.wire.wires import HTTPX

hook.look_for_new()
looked = []
put_in_all = hook.put_in_all
def counted():
    looked.append(None)
    put_in_all()
hook.put_in_all = counted
hook.look_for_new()
assert not looked  # nothing has been imported since

module = types.ModuleType("strange_client")
target = hook._Target("strange_client", "Client", "send", ("request",), observing.sync_hook(HTTPX))
hook._TARGETS = (*hook._TARGETS, target)
sys.modules["strange_client"] = module  # no import says so, and its class is not there yet
hook.look_for_new()
class Client:
    def send(self, request): pass
method = Client.send
module.Client = Client
hook.look_for_new()
assert Client.send is not method
assert len(looked) == 2, looked
hook.look_for_new()
assert len(looked) == 2, looked
"""


@pytest.mark.whole
def test_a_client_that_comes_without_a_word_is_looked_for_when_modules_have_come():
    subprocess.run([sys.executable, "-c", BEHIND], check=True, timeout=120)


# What it does not know


@pytest.fixture
def strange():
    """A client whose method takes something else than fanmap knows."""
    module = types.ModuleType("strange_client")

    class Client:
        def send(self, what, how):
            return what, how

    module.Client = Client
    sys.modules["strange_client"] = module
    target = hook._Target("strange_client", "Client", "send", ("request",), observing.sync_hook(HTTPX))
    with mock.patch.object(hook, "_TARGETS", (*hook._TARGETS, target)):
        yield Client
    del sys.modules["strange_client"]
    hook._unknown.discard(target)


def test_a_client_with_another_signature_is_left_alone_and_said_once(strange):
    method = strange.send
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(3):
            hook.put_in_all()
            with observed() as log:
                assert strange().send(1, how=2) == (1, 2)
        strange.send = lambda self, what: what  # patched by somebody, still not to be known
        hook.put_in_all()
    assert strange.send is not method and not log.asks
    assert len(warned) == 1
    assert "strange_client.Client.send" in str(warned[0].message)


LATE = """
import sys, threading
from fanmap._drive.wire import hook, observing
hook.ensure()
assert not {"httpx", "requests", "aiohttp", "botocore"} & set(sys.modules)

class Log:
    told = 0
    def asked(self, request): self.told += 1
    def answered(self, request, response): pass
    failed = answered

log = Log()
observing.observer.set(log)
import httpx, requests
for client in (httpx, requests):
    try:
        client.get("http://127.0.0.1:9")
    except Exception:
        pass
assert log.told == 2, log.told
assert type(httpx.__loader__).__module__ != "fanmap._drive.wire.imports", httpx.__loader__
assert httpx.__spec__.loader is httpx.__loader__
import importlib
importlib.reload(requests)
"""


def test_a_client_that_is_imported_later_is_seen_from_its_first_request():
    subprocess.run([sys.executable, "-c", LATE], check=True, timeout=120)


TWO_COPIES = """
import sys
from fanmap._drive.wire import hook
hook.ensure()
for name in [name for name in sys.modules if name.partition(".")[0] == "fanmap"]:
    del sys.modules[name]
from fanmap._drive.wire import hook as another
assert another is not hook
another.ensure()
import httpx, requests
assert another._is_ours(httpx.Client.__dict__["send"]) or hook._is_ours(httpx.Client.__dict__["send"])
"""


@pytest.mark.whole
def test_two_copies_of_us_in_one_process_do_not_ask_each_other_for_ever():
    subprocess.run([sys.executable, "-c", TWO_COPIES], check=True, timeout=120)


def test_a_streamed_response_can_be_pickled_when_it_has_been_read(url):
    with observed(), httpx.Client(timeout=120) as client, client.stream("POST", url, json=BODY) as response:
        response.read()
    assert pickle.loads(pickle.dumps(response)).json() == response.json()

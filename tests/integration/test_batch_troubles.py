"""What goes wrong around a batch job: its file, its disk, its key half-way, another function."""

from __future__ import annotations

import asyncio
import errno
import io
import math
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from typing_extensions import override

from fanmap import BatchError, BatchPending, JournalError, parallel_map, partial_results
from fanmap._drive import notices
from fanmap._drive.batch import spooling
from fanmap._drive.journals import journal_file
from fanmap.testing import BatchScript, Reply, Request, Server, serve
from fanmap.types import BatchProgress

PROMPTS = ["a", "b", "c"]


def options(server: Server, file: Path) -> dict[str, Any]:
    return {"resume": file, "poll": 0.001, "endpoints": (server.openai_url,), "durable": False}


def asking(server: Server, before: str = "") -> Callable[[str], str]:
    def ask(prompt: str) -> str:
        with httpx.Client(verify=False, timeout=120) as client:
            body = {"model": "m", "input": before + prompt}
            answer = client.post(f"{server.openai_url}/responses", json=body, headers={"authorization": "Bearer k"})
        answer.raise_for_status()
        return answer.json()["output"][0]["content"][0]["text"]  # type: ignore[no-any-return]

    return ask


def told(prompt: str) -> str:
    return f"[simulated] {prompt}"


def lines(server: Server) -> list[int]:
    return [len(batch.requests) for batch in server.batches.made]


def test_another_version_of_the_function_asks_anew_and_leaves_the_old_answers_alone(tmp_path: Path) -> None:
    with serve() as server:
        here = options(server, tmp_path / "job")
        assert parallel_map(asking(server)).batch(PROMPTS, **here) == [told(one) for one in PROMPTS]
        changed = parallel_map(asking(server, "please "))
        assert changed.batch(PROMPTS, **here) == [told(one) for one in PROMPTS]  # nobody has said that it is another
        assert changed.batch(PROMPTS, **here, version=2) == [told(f"please {one}") for one in PROMPTS]
        assert parallel_map(asking(server)).batch(PROMPTS, **here) == [told(one) for one in PROMPTS]
        assert lines(server) == [3, 3]


def test_a_file_of_another_function_keeps_the_answers_of_both(tmp_path: Path) -> None:
    with serve() as server:
        here = options(server, tmp_path / "job")
        server.batches.script = BatchScript(delay=math.inf)

        def other(prompt: str) -> str:
            return asking(server, "other ")(prompt)

        with pytest.raises(BatchPending):
            parallel_map(other).batch(PROMPTS, **here, wait=0)
        server.batches.script = BatchScript()
        assert parallel_map(asking(server)).batch(PROMPTS, **here) == [told(one) for one in PROMPTS]
        assert parallel_map(other).batch(PROMPTS, **here) == [told(f"other {one}") for one in PROMPTS]
        assert lines(server) == [3, 3]


@pytest.mark.parametrize("half_way", ["/v1/batches/batch_simulated_0", "/v1/files/"])
def test_a_key_that_is_refused_half_way_is_an_error_and_another_one_goes_on(half_way: str, tmp_path: Path) -> None:
    revoked = [True]

    def respond(request: Request) -> Reply | None:
        looks = request.path.startswith(half_way) and request.path != "/v1/files/"
        return Reply(401) if revoked[0] and looks else None

    with serve(respond=respond) as server:
        ask = parallel_map(asking(server))
        with pytest.raises(BatchError, match="status 401"):
            ask.batch(PROMPTS, **options(server, tmp_path / "job"))
        revoked[0] = False
        assert ask.batch(PROMPTS, **options(server, tmp_path / "job")) == [told(one) for one in PROMPTS]
        assert lines(server) == [3]


@pytest.mark.parametrize("kind", ["intent", "handed_in", "answer", "over", "value"])
def test_a_disk_that_is_full_is_said_and_nothing_is_paid_twice(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, room = journal_file.append, [False]

    def appending(fd: int, line: bytes) -> None:
        if not room[0] and (f'"kind":"{kind}"'.encode() in line or (kind == "value" and b'"value":' in line)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(fd, line)

    monkeypatch.setattr(journal_file, "append", appending)
    with serve() as server:
        ask = parallel_map(asking(server))
        with pytest.raises((JournalError, BatchError), match="No space left|can no longer be written"):
            ask.batch(PROMPTS, **options(server, tmp_path / "job"))
        room[0] = True
        assert ask.batch(PROMPTS, **options(server, tmp_path / "job")) == [told(one) for one in PROMPTS]
        assert sum(lines(server)) == 3


@pytest.mark.parametrize("step", ["opened", "questions", "answers"])
def test_a_temporary_file_without_room_is_said_at_once(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        @override
        def write(self, data: Any) -> int:
            if (step == "questions") == (b'"url"' in data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    def opened() -> io.BytesIO:
        if step == "opened":
            raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")
        return Full()

    with serve() as server:
        ask = parallel_map(asking(server))
        monkeypatch.setattr(spooling, "TemporaryFile", opened)
        with pytest.raises(BatchError, match=r"temporary file cannot be written: .*(No space|No usable).*TMPDIR"):
            ask.batch(PROMPTS, **options(server, tmp_path / "job"))
        monkeypatch.undo()
        assert ask.batch(PROMPTS, **options(server, tmp_path / "job")) == [told(one) for one in PROMPTS]
        assert lines(server) == [3]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_client_that_is_closed_while_it_asks_for_a_batch_leaves_no_connection_open(
    is_async: bool, tmp_path: Path
) -> None:
    opened = list[Any]()

    def trace(event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            opened.append(info["return_value"].get_extra_info("socket"))

    async def atrace(event: str, info: dict[str, Any]) -> None:
        trace(event, info)

    with serve() as server:
        body = {"model": "m", "input": "a"}

        def ask(prompt: str) -> str:
            def close(request: httpx.Request) -> None:
                request.extensions["trace"] = trace
                client.close()

            client = httpx.Client(verify=False, timeout=120, event_hooks={"request": [close]})
            return client.post(f"{server.openai_url}/responses", json=body).text

        async def aask(prompt: str) -> str:
            async def close(request: httpx.Request) -> None:
                request.extensions["trace"] = atrace
                await client.aclose()

            client = httpx.AsyncClient(verify=False, timeout=120, event_hooks={"request": [close]})
            return (await client.post(f"{server.openai_url}/responses", json=body)).text

        function: Any = parallel_map(aask if is_async else ask)
        assert len(function.batch(["a"], **options(server, tmp_path / "job"))) == 1
        assert [one.fileno() for one in opened] == [-1]


def test_a_batch_is_submitted_when_what_an_item_streams_beside_it_is_over(tmp_path: Path) -> None:
    happened = list[str]()

    def respond(request: Request) -> Reply | None:
        happened.append(request.path)
        return Reply(delay=0.3) if request.path.endswith("/chat/completions") else None

    with serve(respond=respond) as server:

        async def streamed(prompt: str) -> None:
            body = {"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": True}
            async with httpx.AsyncClient(verify=False, timeout=120) as client:
                await client.post(f"{server.openai_url}/chat/completions", json=body)
            happened.append("streamed")

        @parallel_map
        async def ask(prompt: str) -> str:
            async with httpx.AsyncClient(verify=False, timeout=120) as client:
                beside = asyncio.create_task(streamed(prompt))
                while "/v1/chat/completions" not in happened:
                    await asyncio.sleep(0.001)
                answer = await client.post(f"{server.openai_url}/responses", json={"model": "m", "input": prompt})
                await beside
                return str(answer.json()["output"][0]["content"][0]["text"])

        with pytest.raises(BatchPending):
            ask.batch(["a"], **options(server, tmp_path / "job"), wait=0)
    assert happened.index("streamed") < happened.index("/v1/files")


class Between(httpx.BaseTransport):
    """Sees each request of a client, and may answer it in the server's place."""

    def __init__(self, instead: Callable[[httpx.Request], httpx.Response | None] = lambda _: None) -> None:
        self.seen: list[httpx.Request] = []
        self._instead = instead
        self._wire = httpx.HTTPTransport(verify=False)

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self._instead(request) or self._wire.handle_request(request)

    @override
    def close(self) -> None:
        self._wire.close()


def once(path: str, response: httpx.Response) -> Callable[[httpx.Request], httpx.Response | None]:
    """To the first request whose path ends so."""
    left = [response]
    return lambda request: left.pop() if left and request.url.path.endswith(path) else None


class Signed(httpx.Auth):
    @override
    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["authorization"] = "Signed"
        yield request


def test_a_batchs_own_requests_have_the_auth_of_the_items(tmp_path: Path) -> None:
    with serve() as server, httpx.Client(transport=(wire := Between()), timeout=5) as client:

        def ask(prompt: str) -> str:
            return client.post(
                f"{server.openai_url}/responses", json={"model": "m", "input": prompt}, auth=Signed()
            ).text

        assert len(parallel_map(ask).batch(PROMPTS, **options(server, tmp_path / "job"))) == 3
    assert [one.headers.get("authorization") for one in wire.seen] == ["Signed"] * 4
    # A file of 200 MB takes longer than an answer.
    assert [one.extensions["timeout"]["read"] for one in wire.seen] == [600] * 4


def test_a_clients_own_params_leave_the_rest_of_a_query(tmp_path: Path) -> None:
    between = Between()
    with serve() as server, httpx.Client(transport=between, params={"version": "1"}) as client:
        server.batches.script = BatchScript(cut_answers=1)
        answers = parallel_map(through(client, server)).batch(PROMPTS, **options(server, tmp_path / "job"))
    assert answers == [told(one) for one in PROMPTS]
    listed = next(request.url.query for request in between.seen if request.method == "GET")
    assert listed == b"limit=100&version=1"
    assert all(request.url.query.endswith(b"version=1") for request in between.seen)


@pytest.mark.parametrize("way", ["httpx", "requests"])
def test_a_password_and_a_key_that_are_part_of_the_url_are_sent_and_not_kept(way: str, tmp_path: Path) -> None:
    told_with, file, between = set[str](), tmp_path / "job", Between()

    def respond(request: Request) -> None:
        told_with.add(request.headers.get("authorization", "none"))

    with serve(respond=respond) as server, httpx.Client(transport=between) as client:
        base = server.openai_url.replace("://", "://me:secret@")
        post: Any = client.post if way == "httpx" else requests.post

        def ask(prompt: str) -> str:
            answer = post(f"{base}/responses?key=hidden&api-version=1", json={"model": "m", "input": prompt})
            return answer.json()["output"][0]["content"][0]["text"]  # type: ignore[no-any-return]

        here = options(server, file) | {"endpoints": (base,)}
        server.batches.script = BatchScript(delay=math.inf)
        with pytest.raises(BatchPending) as raised:
            parallel_map(ask).batch(PROMPTS, **here, wait=0)
        assert raised.value.batches[0].url == server.openai_url
        with pytest.raises(BatchPending):  # another one takes it up
            parallel_map(ask).batch(PROMPTS, **here, wait=0)
        kept = file.read_text()
        assert '"query":"api-version=1"' in kept
        assert "secret" not in kept
        assert "hidden" not in kept
        with pytest.raises(BatchPending):  # of which no item wants anything
            parallel_map(ask).batch(["d"], **here, wait=0)
        assert lines(server) == [3, 1]
    assert told_with == {"Basic bWU6c2VjcmV0"}
    assert {request.url.query for request in between.seen} <= {b"key=hidden&api-version=1"}
    assert len(between.seen) == (6 if way == "httpx" else 0)


def test_that_of_a_client_that_is_closed_too(tmp_path: Path) -> None:
    seen: list[str | None] = []

    def respond(request: Request) -> None:
        seen.append(request.headers.get("authorization"))

    with serve(respond=respond) as server:

        def ask(prompt: str) -> str:
            with httpx.Client(verify=False, timeout=120, auth=("me", "secret")) as client:
                return client.post(f"{server.openai_url}/responses", json={"model": "m", "input": prompt}).text

        assert len(parallel_map(ask).batch(PROMPTS, **options(server, tmp_path / "job"))) == 3
    assert seen[0]
    assert seen == seen[:1] * 4


def test_they_go_the_way_of_requests_arguments_too(tmp_path: Path) -> None:
    seen: list[tuple[Any, ...]] = []

    class Adapter(requests.adapters.HTTPAdapter):
        @override
        def send(self, request: Any, **given: Any) -> Any:  # type: ignore[override]
            seen.append((given["verify"], given["cert"], given["proxies"].get("ftp")))
            return super().send(request, **{**given, "cert": None})

    with serve() as server, requests.Session() as session:
        session.mount("http://", Adapter())

        def ask(prompt: str) -> str:
            body = {"model": "m", "input": prompt}
            own: Any = {"verify": False, "cert": "mine.pem", "proxies": {"ftp": "http://proxy"}}
            return session.post(f"{server.openai_url}/responses", json=body, **own).text

        assert len(parallel_map(ask).batch(PROMPTS, **options(server, tmp_path / "job"))) == 3
    assert seen == [(False, "mine.pem", "http://proxy")] * 4


BUSY = httpx.Response(429, json={"error": {"message": "slower"}})
TORN = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip"))


@pytest.mark.parametrize(
    ("path", "response"), [("/files", BUSY), ("/batches", BUSY), ("simulated_0", BUSY), ("/content", TORN)]
)
def test_a_hook_that_raises_for_the_status_and_a_torn_body_are_waited_out_too(
    path: str, response: httpx.Response, tmp_path: Path
) -> None:
    hooks: Any = {"response": [httpx.Response.raise_for_status]}
    wire = Between(once(path, response))
    with serve() as server, httpx.Client(transport=wire, event_hooks=hooks) as client:

        def ask(prompt: str) -> str:
            return client.post(f"{server.openai_url}/responses", json={"model": "m", "input": prompt}).text

        assert len(parallel_map(ask).batch(PROMPTS, **options(server, tmp_path / "job"))) == 3
        assert lines(server) == [3]


@pytest.mark.parametrize("gone", ["/v1/batches/batch_", "/v1/files/"])  # of whichever batch is the first item's
def test_one_batch_that_is_gone_says_what_to_do_and_keeps_no_answer_of_another(gone: str, tmp_path: Path) -> None:
    def instead(request: httpx.Request) -> httpx.Response | None:
        lost = request.method == "GET" and gone in request.url.path and "key-a" in request.headers["authorization"]
        return httpx.Response(404, json={"error": {"message": "No such thing"}}) if lost else None

    with serve() as server, httpx.Client(transport=Between(instead)) as client:

        def ask(prompt: str) -> str:
            headers = {"authorization": f"Bearer key-{prompt}"}
            answer = client.post(
                f"{server.openai_url}/responses", json={"model": "m", "input": prompt}, headers=headers
            )
            return answer.json()["output"][0]["content"][0]["text"]  # type: ignore[no-any-return]

        here = options(server, tmp_path / "job")
        for _ in range(2):
            with pytest.raises(
                BatchError, match=r"status 404, No such thing\. If another account .* map with the same resume="
            ):
                parallel_map(ask).batch(["a", "b"], **here)
        with pytest.warns(RuntimeWarning, match="paid for again"):
            assert parallel_map(ask).map(["a", "b"], resume=here["resume"]) == [told("a"), told("b")]
        assert lines(server) == [1, 1]
        assert server.sent == 1


class Portal(httpx.HTTPTransport):
    """A proxy that shows a page of its own, with status 200, in place of answers that it has got."""

    def __init__(self, pages: dict[str, int], page: str = "<html>Please log in</html>") -> None:
        super().__init__()
        self._pages = pages
        self._page = page

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        place = f"{request.method} {request.url.path}"
        if not self._pages.get(place):
            return response
        self._pages[place] -= 1
        response.read()
        response.close()
        return httpx.Response(200, text=self._page)


def through(client: httpx.Client, server: Server) -> Callable[[str], str]:
    def ask(prompt: str) -> str:
        answer = client.post(f"{server.openai_url}/responses", json={"model": "m", "input": prompt})
        answer.raise_for_status()
        return answer.json()["output"][0]["content"][0]["text"]  # type: ignore[no-any-return]

    return ask


@pytest.mark.parametrize(
    ("pages", "cut"),
    [
        ({"POST /v1/files": 2}, 0),
        ({"POST /v1/batches": 1}, 0),
        ({"GET /v1/batches": 3}, 1),
        ({"POST /v1/batches": 1, "GET /v1/batches": 3}, 0),
        ({"GET /v1/batches/batch_simulated_0": 2}, 0),
    ],
)
@pytest.mark.parametrize("page", ["<html>Please log in</html>", '{"error": "busy"}'])
def test_a_page_of_somebody_between_is_no_answer_and_nothing_is_paid_twice(
    pages: dict[str, int], cut: int, page: str, tmp_path: Path
) -> None:
    with serve() as server, httpx.Client(transport=Portal(dict(pages), page)) as client:
        server.batches.script = BatchScript(cut_answers=cut)
        ask = parallel_map(through(client, server))
        assert ask.batch(PROMPTS, **options(server, tmp_path / "job")) == [told(one) for one in PROMPTS]
        assert lines(server) == [3]


def test_results_that_are_none_are_an_error_and_not_asked_for_again(tmp_path: Path) -> None:
    page = [True]

    def instead(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(200, text="\n<html>Please log in") if page[0] and "/content" in str(request.url) else None

    with serve() as server, httpx.Client(transport=Between(instead)) as client:
        ask = parallel_map(through(client, server))
        with pytest.raises(BatchError, match="results could not be read: <html>Please log in"):
            ask.batch(PROMPTS, **options(server, tmp_path / "job"))
        page[0] = False
        assert ask.batch(PROMPTS, **options(server, tmp_path / "job")) == [told(one) for one in PROMPTS]
        assert lines(server) == [3]


@pytest.mark.parametrize("shown", ["an empty file", "no file"])
def test_answers_that_are_counted_and_not_shown_are_an_error_and_not_asked_for_again(
    shown: str, tmp_path: Path
) -> None:
    hidden = [True]
    counts = {"total": 3, "completed": 3, "failed": 0}
    archived = {"id": "batch_simulated_0", "status": "completed", "output_file_id": None, "request_counts": counts}

    def instead(request: httpx.Request) -> httpx.Response | None:
        path = request.url.path
        if hidden[0] and shown == "no file" and path.endswith("/batch_simulated_0"):
            return httpx.Response(200, json=archived)
        return httpx.Response(200) if hidden[0] and path.endswith("/content") else None

    with serve() as server, httpx.Client(transport=Between(instead)) as client:
        ask = parallel_map(through(client, server))
        for _ in range(2):
            with pytest.raises(
                BatchError, match="batch batch_simulated_0 has 3 answers and shows none. .*at full price"
            ):
                ask.batch(PROMPTS, **options(server, tmp_path / "job"))
        hidden[0] = False
        assert ask.batch(PROMPTS, **options(server, tmp_path / "job")) == [told(one) for one in PROMPTS]
        assert lines(server) == [3]


def test_one_that_stays_is_an_error_that_shows_it(tmp_path: Path) -> None:
    with serve() as server, httpx.Client(transport=Portal({"POST /v1/files": 99})) as client:
        ask = parallel_map(through(client, server))
        with pytest.raises(BatchError, match="a batch was not accepted: status 200, <html>Please log in</html>"):
            ask.batch(PROMPTS, **options(server, tmp_path / "job"))
        assert lines(server) == []


def test_a_hook_of_requests_leaves_the_providers_words(tmp_path: Path) -> None:
    no = Reply(status=400, body={"error": {"message": "not today"}})
    with serve(respond=lambda _: no) as server, requests.Session() as session:
        session.hooks["response"].append(lambda response, **_: response.raise_for_status())

        def ask(prompt: str) -> str:
            return session.post(f"{server.openai_url}/responses", json={"model": "m", "input": prompt}).text

        with pytest.raises(BatchError, match="a batch was not accepted: status 400, not today"):
            parallel_map(ask).batch(PROMPTS, **options(server, tmp_path / "job"))


def test_results_that_are_elsewhere_are_followed(tmp_path: Path) -> None:
    def elsewhere(request: httpx.Request) -> httpx.Response | None:
        there = request.url.path.endswith("/content") and not request.url.query
        return httpx.Response(302, headers={"location": f"{request.url}?signed"}) if there else None

    with serve() as server, httpx.Client(transport=Between(elsewhere)) as client:

        def ask(prompt: str) -> str:
            return client.post(f"{server.openai_url}/responses", json={"model": "m", "input": prompt}).text

        assert len(parallel_map(ask).batch(PROMPTS, **options(server, tmp_path / "job"))) == 3


def test_a_result_that_cannot_be_kept_is_among_the_partial_ones(tmp_path: Path) -> None:
    with serve() as server:
        ask = asking(server)
        function = parallel_map(lambda prompt: {ask(prompt)})
        with pytest.raises(TypeError, match="cannot store the result of item 0") as caught:
            function.batch(["a"], **options(server, tmp_path / "job"))
    assert partial_results(caught.value) == {0: {told("a")}}
    assert any(": 0; after fixing that, run the same call again" in note for note in caught.value.__notes__)


def test_a_file_that_cannot_be_uploaded_leaves_no_batch_to_be_told_of(tmp_path: Path) -> None:
    down = [True]

    def respond(request: Request) -> Reply | None:
        return Reply(status="drop") if down[0] and request.path == "/v1/files" else None

    with serve(respond=respond) as server:
        ask, given = parallel_map(asking(server)), options(server, tmp_path / "job") | {"wait": 0}
        with pytest.raises(BatchError, match="cannot be reached") as raised:
            ask.batch(PROMPTS, **given)
        assert "under way" not in "".join(raised.value.__notes__)
        down[0] = False
        assert ask.batch(PROMPTS, **options(server, tmp_path / "job")) == [told(one) for one in PROMPTS]
        assert lines(server) == [3]


def test_who_does_not_wait_does_not_wait_for_an_interface_that_fails(tmp_path: Path) -> None:
    down, asked = [False], list[str]()

    def respond(request: Request) -> Reply | None:
        asked.append(request.path)
        return Reply(status=500, body={"error": {"message": "not now"}}) if down[0] else None

    with serve(respond=respond) as server:
        server.batches.script = BatchScript(delay=math.inf)
        ask, given = parallel_map(asking(server)), options(server, tmp_path / "job") | {"wait": 0}
        with pytest.raises(BatchPending):
            ask.batch(PROMPTS, **given)
        down[0], asked[:] = True, []
        with pytest.raises(BatchError, match="a batch could not be checked: status 500, not now"):
            ask.batch(PROMPTS, **given)
        assert asked == ["/v1/batches/batch_simulated_0"] * 3
        down[0] = False
        with pytest.raises(BatchPending):
            ask.batch(PROMPTS, **given)
        assert lines(server) == [3]


@pytest.mark.parametrize(
    ("when", "submitted"),
    [
        ("0 of 3 items; batches: none", 0),
        ("0 of 3 items, turn 1; batches: none", 3),
        ("0 of 3 items, turn 2; batches: none", 6),
    ],
)
def test_a_file_that_is_taken_away_is_an_error_before_more_is_submitted(
    when: str, submitted: int, tmp_path: Path
) -> None:
    file = tmp_path / "job"

    def take_away(progress: BatchProgress) -> None:
        if str(progress) == when:
            file.unlink(missing_ok=True)

    with serve() as server:
        ask = asking(server)
        twice = parallel_map(lambda prompt: ask(ask(prompt)))
        with pytest.raises(JournalError, match="during a run"):
            twice.batch(PROMPTS, **options(server, file), progress=take_away)
        assert sum(lines(server)) == submitted


def test_one_who_blocks_a_loop_is_told_of_abatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_warned_of_blocking", False)
    with serve() as server:
        ask = parallel_map(asking(server))

        async def handler() -> list[str]:
            return ask.batch(PROMPTS, **options(server, tmp_path / "job"))

        with pytest.warns(UserWarning, match=r"run of ask blocks the running event loop.*: write `await ask\.abatch"):
            assert len(asyncio.run(handler())) == 3

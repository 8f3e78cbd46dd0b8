"""The loopback server, as the real openai and anthropic clients and requests see it."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from fanmap._drive import clock
from fanmap.testing import BatchScript, Reply, SimulatedStore, serve

MODEL = "small"


@pytest.fixture(scope="module", autouse=True)
def _clients():
    """Imported by the first test that uses them, not where tests are collected: that takes seconds."""
    global anthropic, openai, requests
    import anthropic
    import openai
    import requests


@pytest.fixture
def server():
    with serve(latency=0.001) as running:
        yield running


@pytest.fixture
def _standing_clock():
    """Buckets do not refill between two requests of a test, however long a busy machine takes to send the second."""
    previous = clock.install(lambda: 100.0)
    yield
    clock.install(previous)


def openai_client(server, **settings):
    return openai.OpenAI(base_url=server.openai_url, api_key="none", **{"max_retries": 0, **settings})


def anthropic_client(server, **settings):
    return anthropic.Anthropic(base_url=server.anthropic_url, api_key="none", **{"max_retries": 0, **settings})


def user(prompt):
    return [{"role": "user", "content": prompt}]


def chat(client, prompt):
    return client.chat.completions.create(model=MODEL, messages=user(prompt))


def message(client, prompt):
    return client.messages.create(model=MODEL, max_tokens=100, messages=user(prompt))


def post(server, prompt, **settings):
    body = {"model": MODEL, "messages": user(prompt)}
    return requests.post(f"{server.openai_url}/chat/completions", json=body, timeout=600, **settings)


def wait_until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.002)


# What the clients get


def test_openai_chat_answers_a_sync_client(server):
    with openai_client(server) as client:
        reply = chat(client, "Say hello, twelve")
    assert reply.choices[0].message.content == "[simulated] Say hello, twelve"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (5, 8)
    assert reply.model == MODEL
    assert reply._request_id == "req_simulated_0"


def test_openai_responses_answers_a_sync_client(server):
    with openai_client(server) as client:
        reply = client.responses.create(model=MODEL, input="Say hello, twelve", instructions="Be kind.")
    assert reply.output_text == "[simulated] Say hello, twelve"
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 8)


def test_openai_responses_takes_a_list_as_input(server):
    parts = [{"type": "input_text", "text": "hello"}]
    with openai_client(server) as client:
        reply = client.responses.create(model=MODEL, input=[{"role": "user", "content": parts}])
    assert reply.output_text == "[simulated] hello"


def test_anthropic_messages_answers_a_sync_client(server):
    with anthropic_client(server) as client:
        reply = message(client, "Say hello, twelve")
    assert reply.content[0].text == "[simulated] Say hello, twelve"
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (5, 8)
    assert reply.stop_reason == "end_turn"


def test_openai_embeddings_answers_a_sync_client(server):
    texts = ["first", "second", "first"]
    with openai_client(server) as client:
        embed = client.embeddings.create
        answer = embed(model=MODEL, input=texts)  # the client asks for base64
        floats = embed(model=MODEL, input=texts, encoding_format="float", dimensions=20)
        alone = embed(model=MODEL, input="first")
        tokens = embed(model=MODEL, input=[[1, 2], [3]])
        one = embed(model=MODEL, input=[1, 2, 3])
    vectors = [entry.embedding for entry in answer.data]
    assert [len(vector) for vector in vectors] == [8, 8, 8]
    assert [len(entry.embedding) for entry in floats.data] == [20, 20, 20]
    assert vectors[0] == vectors[2] != vectors[1]
    assert vectors[0] == pytest.approx(alone.data[0].embedding)
    for vector in [*vectors, floats.data[0].embedding]:
        assert sum(number * number for number in vector) == pytest.approx(1.0, abs=1e-6)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (6, 6)
    assert answer.model == MODEL
    assert (len(tokens.data), len(one.data)) == (2, 1)
    assert server.log[0].path == "/v1/embeddings"


@pytest.mark.usefixtures("_standing_clock")
def test_embeddings_are_refused_and_counted_as_everything_else():
    with serve(latency=0.001, tpm=100) as server, openai_client(server) as client:
        raw = client.embeddings.with_raw_response.create(model=MODEL, input=["x" * 40] * 8)
        assert raw.headers["x-ratelimit-limit-tokens"] == "100"
        assert raw.headers["x-ratelimit-remaining-tokens"] == "20"
        with pytest.raises(openai.RateLimitError, match="tokens per min"):
            client.embeddings.create(model=MODEL, input=["x" * 40] * 8)


def test_async_clients_of_both_providers_are_answered(server):
    async def main():
        async with (
            openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as one,
            anthropic.AsyncAnthropic(base_url=server.anthropic_url, api_key="none", max_retries=0) as other,
        ):
            return await asyncio.gather(
                chat(one, "a"), one.responses.create(model=MODEL, input="b"), message(other, "c")
            )

    completion, response, answer = asyncio.run(main())
    texts = [completion.choices[0].message.content, response.output_text, answer.content[0].text]
    assert texts == ["[simulated] a", "[simulated] b", "[simulated] c"]


def test_a_plain_post_is_answered_as_by_a_local_model(server):
    reply = post(server, "hello")
    assert reply.json()["choices"][0]["message"]["content"] == "[simulated] hello"
    assert reply.headers["x-simulated"] == "fanmap.testing"


def test_a_translation_is_marked_with_its_language(server):
    with anthropic_client(server) as client:
        reply = message(client, "Translate to Spanish: good day")
    assert reply.content[0].text == "[simulated Spanish translation]\ngood day"


def test_models_can_be_listed_by_both_clients(server):
    with openai_client(server) as one, anthropic_client(server) as other:
        assert [model.id for model in one.models.list()] == ["simulated"]
        assert [model.id for model in other.models.list()] == ["simulated"]


def test_the_page_after_the_last_model_is_empty(server):
    reply = requests.get(f"{server.openai_url}/models", params={"after_id": "simulated"}, timeout=600)
    assert reply.json()["data"] == []


@pytest.mark.parametrize("body", ["not json", "[]", "{}", '{"messages": 3}', '{"messages": [7]}'])
def test_a_request_that_makes_no_sense_is_a_400(server, body):
    reply = requests.post(f"{server.openai_url}/chat/completions", data=body, timeout=600)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert [record.status for record in server.log] == [400]


def test_what_has_no_stream_is_refused_in_plain_words(server):
    with openai_client(server) as client, pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=MODEL, input="x", extra_body={"stream": True})
    assert caught.value.code == "streaming_is_not_simulated"


# Refusals


@pytest.mark.usefixtures("_standing_clock")
def test_openai_rate_limit_carries_code_text_and_headers():
    limits = {"rpm": 60, "tpm": 40_000, "burst": 1}
    with serve(latency=0.0, **limits) as server, openai_client(server) as client:
        chat(client, "a")
        with pytest.raises(openai.RateLimitError) as caught:
            chat(client, "b")
    error, headers = caught.value, caught.value.response.headers
    assert (error.status_code, error.code, error.type) == (429, "rate_limit_exceeded", "requests")
    assert "Rate limit reached for small on requests per min (RPM): Limit 60." in error.message
    assert "Please try again in 1s." in error.message
    assert headers["retry-after"] == "1"
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    assert headers["x-ratelimit-limit-tokens"] == "40000"
    assert error.request_id == "req_simulated_1"


@pytest.mark.usefixtures("_standing_clock")
def test_anthropic_rate_limit_carries_type_and_headers():
    limits = {"rpm": 60, "tpm": 40_000, "burst": 1}
    with serve(latency=0.0, **limits) as server, anthropic_client(server) as client:
        message(client, "a")
        before = datetime.now(UTC)
        with pytest.raises(anthropic.RateLimitError) as caught:
            message(client, "b")
        after = datetime.now(UTC)
    error, headers = caught.value, caught.value.response.headers
    assert (error.status_code, error.body["error"]["type"]) == (429, "rate_limit_error")
    assert error.body["request_id"] == error.request_id == "req_simulated_1"
    assert "rate limit of 60 requests per minute" in error.body["error"]["message"]
    assert headers["retry-after"] == "1"
    assert headers["anthropic-ratelimit-requests-limit"] == "60"
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    reset = datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"])
    assert before < reset <= after + timedelta(seconds=1)  # when the one request is back, told in whole seconds
    assert headers["anthropic-ratelimit-input-tokens-remaining"] == "40000"


def at_once(call, count):
    """The errors of `count` calls that start at the same time."""
    barrier = threading.Barrier(count)

    def one(index):
        barrier.wait()
        try:
            call(f"prompt {index}")
        except (openai.APIError, anthropic.APIError) as error:
            return error
        return None

    with ThreadPoolExecutor(count) as pool:
        return [error for error in pool.map(one, range(count)) if error]


def test_openai_refuses_one_request_too_many_at_once(holding):
    with serve(latency=0, sigma=0, max_concurrency=4) as server, openai_client(server) as client:
        holding.together(server, 5)
        (error,) = at_once(lambda prompt: chat(client, prompt), 5)
        assert error.code == "concurrent_request_limit_exceeded"
        assert "Your current concurrency is 5, which exceeds your concurrency limit of 4" in error.message
        assert "retry-after" not in error.response.headers
        assert (server.max_in_flight, server.refused, server.sent) == (4, 1, 5)


def test_anthropic_refuses_one_request_too_many_at_once(holding):
    with serve(latency=0, sigma=0, max_concurrency=2, retry_after=3) as server:
        holding.together(server, 3)
        with anthropic_client(server) as client:
            (error,) = at_once(lambda prompt: message(client, prompt), 3)
        assert "Number of concurrent connections has exceeded your rate limit" in error.body["error"]["message"]
        assert error.response.headers["retry-after"] == "3"
        assert error.body["error"]["type"] == "rate_limit_error"


@pytest.mark.usefixtures("_standing_clock")
def test_tokens_are_counted_with_max_tokens_by_openai_and_without_by_anthropic():
    with serve(latency=0.0, tpm=1000) as server:
        with openai_client(server) as client:
            settings = {"model": MODEL, "messages": user("x"), "max_tokens": 600}
            client.chat.completions.create(**settings)
            with pytest.raises(openai.RateLimitError, match="tokens per min") as caught:
                client.chat.completions.create(**settings)
        assert caught.value.type == "tokens"
        with anthropic_client(server) as client:
            client.messages.create(**settings)


# Failures


def test_a_dropped_connection_is_a_connection_error_in_every_client():
    with serve(latency=0.0, failure_rates={"drop": 1.0}) as server:
        with openai_client(server) as client, pytest.raises(openai.APIConnectionError):
            chat(client, "x")
        with anthropic_client(server) as client, pytest.raises(anthropic.APIConnectionError):
            message(client, "x")
        with pytest.raises(requests.ConnectionError):
            post(server, "x")
        assert [record.status for record in server.log] == ["drop"] * 3


@pytest.mark.parametrize(
    ("status", "of_openai", "of_anthropic", "kind"),
    [
        (401, "AuthenticationError", "AuthenticationError", "authentication_error"),
        (500, "InternalServerError", "InternalServerError", "api_error"),
        (529, "InternalServerError", "APIStatusError", "overloaded_error"),
    ],
)
def test_failures_are_the_clients_own_errors(status, of_openai, of_anthropic, kind):
    with serve(latency=0.0, failure_rates={status: 1.0}) as server:
        with openai_client(server) as client, pytest.raises(getattr(openai, of_openai)) as caught:
            chat(client, "x")
        assert caught.value.status_code == status
        with anthropic_client(server) as client, pytest.raises(getattr(anthropic, of_anthropic)) as caught:
            message(client, "x")
        assert (caught.value.status_code, caught.value.body["error"]["type"]) == (status, kind)


def test_the_same_seed_gives_the_same_run_whatever_the_order():
    prompts = [f"prompt {i}" for i in range(30)]

    def run(order, seed):
        with serve(latency=0.001, seed=seed, failure_rates={500: 0.3}) as server:
            with requests.Session() as session:
                for prompt in order:
                    body = {"messages": user(prompt)}
                    session.post(f"{server.openai_url}/chat/completions", json=body, timeout=600)
            return {record.prompt: record.status for record in server.log}

    assert run(prompts, 1) == run(prompts[::-1], 1) != run(prompts, 2)


# Scripts


def test_a_script_answers_the_next_requests_and_then_all_is_as_usual(server):
    server.script([Reply(429, retry_after=2), None, Reply("drop"), Reply(text="yes")])
    assert (reply := post(server, "a")).status_code == 429
    assert reply.headers["retry-after"] == "2"
    assert "Please try again in 2s." in reply.json()["error"]["message"]
    assert post(server, "b").status_code == 200
    with pytest.raises(requests.ConnectionError):
        post(server, "c")
    for text in ("yes", "[simulated] d"):
        assert post(server, "d").json()["choices"][0]["message"]["content"] == text
    assert [record.status for record in server.log] == [429, 200, "drop", 200, 200]


@pytest.mark.whole
def test_a_script_can_say_anything_verbatim(server):
    server.script([Reply(418, body="no tea", retry_after="NaN", headers={"x-should-retry": "false"})])
    reply = post(server, "a")
    assert (reply.status_code, reply.text) == (418, "no tea")
    assert (reply.headers["retry-after"], reply.headers["x-should-retry"]) == ("NaN", "false")
    server.script([Reply(body={"choices": []})])
    assert post(server, "a").json() == {"choices": []}


def test_a_spent_account_speaks_each_providers_way(server):
    server.script([Reply(429, code="insufficient_quota"), Reply(429, code="enforced_spend_limit_reached")])
    with openai_client(server) as client, pytest.raises(openai.RateLimitError) as caught:
        chat(client, "x")
    assert (caught.value.code, caught.value.type) == ("insufficient_quota", "insufficient_quota")
    with anthropic_client(server) as client, pytest.raises(anthropic.RateLimitError) as caught:
        message(client, "x")
    assert caught.value.body["error"]["details"] == {"error_code": "enforced_spend_limit_reached"}


@pytest.mark.parametrize("reply", ["a text", 429, {"text": "yes"}])
def test_what_is_no_reply_is_told_at_once_and_what_the_hook_returns_in_the_servers_thread(server, reply, caplog):
    with pytest.raises(TypeError, match=r"a scripted reply must be Reply\(...\) or None, got .*: write Reply\(text"):
        server.script([None, reply])
    assert post(server, "a").status_code == 200
    with serve(latency=0.001, respond=lambda request: reply) as other:
        assert post(other, "a").status_code == 500
    assert "what respond returns must be Reply(...) or None, got" in caplog.text


def test_a_hook_that_cannot_be_asked_is_told_before_the_server_starts():
    async def respond(request):
        return Reply(text="yes")

    with pytest.raises(TypeError, match="respond must be a `def` .*, got an `async def`"):
        serve(respond=respond)
    with pytest.raises(TypeError, match="respond must be a `def` .*, got Reply"):
        serve(respond=Reply(429))


def test_the_hook_decides_by_request_and_the_script_goes_first():
    def respond(request):
        return Reply(400) if request.prompt == "bad" and request.body["model"] == MODEL else None

    with serve(latency=0.0, respond=respond) as server:
        assert [post(server, prompt).status_code for prompt in ("good", "bad")] == [200, 400]
        server.script([Reply(500)])
        assert [post(server, "bad").status_code for _ in range(2)] == [500, 400]


def test_a_scripted_delay_is_kept(server):
    server.script([Reply(delay=0.05)])
    post(server, "x")
    (record,) = server.log
    assert record.ended - record.arrived >= 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Reply(99), "status must be 200 to 599 or 'drop', got 99"),
        (lambda: Reply("cut"), "status must be 200 to 599 or 'drop', got 'cut'"),
        (lambda: Reply(delay=-1), "delay must be finite and not negative, got -1"),
        (lambda: serve(scale=0), "scale must be finite and above 0, got 0"),
        (lambda: serve(tpm=-5), "tpm must be finite and above 0, got -5"),
        (lambda: serve(port=99999), "port must be 0 to 65535, got 99999"),
        (lambda: serve(port="http"), "port must be an int, got 'http'"),
        (lambda: serve(latency="fast"), "latency must be a number, got 'fast'"),
        (lambda: Reply(delay="soon"), "delay must be a number, got 'soon'"),
        (lambda: Reply(chunk_delay="soon"), "chunk_delay must be a number, got 'soon'"),
        (lambda: Reply(breaks_after="one"), "breaks_after must be an int, got 'one'"),
        (lambda: SimulatedStore(lease="long"), "lease must be a number, got 'long'"),
        (lambda: BatchScript(delay="soon"), "delay must be a number, got 'soon'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
        make()


# The log


def test_the_log_tells_path_order_and_the_clients_own_repeats(server):
    server.script([Reply(500, headers={"retry-after-ms": "1"}), Reply(503, headers={"retry-after-ms": "1"})])
    with openai_client(server, max_retries=2) as client:
        chat(client, "x" * 100)
    records = server.log
    assert [(r.index, r.path, r.status, r.retry_count, r.attempt) for r in records] == [
        (0, "/v1/chat/completions", 500, 0, 1),
        (1, "/v1/chat/completions", 503, 1, 2),
        (2, "/v1/chat/completions", 200, 2, 3),
    ]
    assert all(record.prompt == "x" * 80 for record in records)
    assert server.prompts == ["x" * 100] * 3
    assert [r.arrived for r in records] == sorted(r.arrived for r in records)
    assert all(r.ended >= r.arrived for r in records)


@pytest.mark.parametrize("breaks_with", [None, 500])
def test_who_has_the_last_event_of_a_stream_finds_it_in_the_log(breaks_with, server, monkeypatch):
    from fanmap.testing import _http

    send, logged = _http._send, []

    async def sending(to, text):
        logged.append([record.status for record in server.log])
        await send(to, text)

    monkeypatch.setattr(_http, "_send", sending)
    server.script([None if breaks_with is None else Reply(breaks_after=1, breaks_with=breaks_with)])
    with openai_client(server) as client, suppress(openai.APIError):
        for _ in client.chat.completions.create(model=MODEL, messages=user("x y z"), stream=True):
            pass
    assert logged == [[]] * (len(logged) - 1) + [[200]]


def test_a_client_that_leaves_is_logged_as_gone_and_frees_its_place():
    with serve(latency=10_000, sigma=0, max_concurrency=1) as server:
        for count in (1, 2):
            with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as leaves:
                body = json.dumps({"messages": user("x")}).encode()
                head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
                leaves.sendall(head.encode() + body)
                wait_until(lambda count=count: server.sent == count)
            wait_until(lambda count=count: len(server.log) == count)
        assert [record.status for record in server.log] == ["gone", "gone"]
        assert server.refused == 0


def test_reset_forgets_log_and_script_and_fills_the_bucket():
    with serve(latency=0.0, rpm=1) as server:
        assert [post(server, "x").status_code for _ in range(2)] == [200, 429]
        server.script([Reply(500)])
        server.reset()
        assert (server.log, server.prompts, server.sent, server.refused, server.max_in_flight) == (
            [],
            [],
            0,
            0,
            0,
        )
        assert post(server, "x").status_code == 200


# The server itself


@pytest.mark.whole
def test_300_requests_at_once_are_all_in_flight_and_all_answered(holding):
    async def one(port, index):
        body = json.dumps({"messages": user(f"prompt {index}")}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = ["POST /v1/messages HTTP/1.1", "host: x", "connection: close", f"content-length: {len(body)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        reply = await reader.read()
        writer.close()
        await writer.wait_closed()
        return json.loads(reply.partition(b"\r\n\r\n")[2])["content"][0]["text"]

    async def main(port):
        return await asyncio.gather(*[one(port, index) for index in range(300)])

    with serve(latency=0) as server:
        holding.together(server, 300)
        texts = asyncio.run(main(int(server.url.rpartition(":")[2])))
        assert server.max_in_flight == 300
    assert texts == [f"[simulated] prompt {index}" for index in range(300)]


def test_a_reused_connection_is_answered_without_delay():
    with serve(latency=0.0) as server, requests.Session() as session:

        def seconds():
            started = time.monotonic()
            session.post(f"{server.openai_url}/chat/completions", json={"messages": user("x")}, timeout=600)
            return time.monotonic() - started

        # Nagle's algorithm against delayed acknowledgements: 0.04, each time. A busy machine needs some tries.
        wait_until(lambda: seconds() < 0.03)


def test_close_is_quick_leaves_no_thread_and_cuts_what_is_under_way():
    before = set(threading.enumerate())
    server = serve(latency=10_000, sigma=0)
    with ThreadPoolExecutor(2) as pool, openai_client(server) as client:
        calls = [pool.submit(chat, client, prompt) for prompt in "ab"]
        wait_until(lambda: server.max_in_flight == 2)
        server.close()  # or it would wait for hours
        for call in calls:
            assert isinstance(call.exception(), openai.APIConnectionError)
    assert [record.status for record in server.log] == ["gone", "gone"]
    server.close()  # again: nothing
    assert set(threading.enumerate()) <= before
    gc.collect()  # whatever was left open would warn here, and warnings are errors


def test_a_closed_server_is_not_reachable_and_two_servers_are_independent():
    with serve(latency=0.0) as one, serve(latency=0.0) as other:
        assert one.url != other.url
        post(one, "x")
        assert (one.sent, other.sent) == (1, 0)
    with pytest.raises(requests.ConnectionError):
        post(one, "x")


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_its_extra_serve_names_the_extra(monkeypatch, missing):
    for name in list(sys.modules):
        if name.split(".")[0] == missing or name in ("fanmap.testing._http", "fanmap.testing._listener"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError) as caught:
        serve()
    assert 'pip install "fanmap[testing]"' in str(caught.value)
    assert missing in str(caught.value)


@pytest.mark.whole
def test_a_program_that_forgets_to_close_ends_quietly():
    code = (
        "import urllib.request, fanmap.testing\n"
        "server = fanmap.testing.serve()\n"
        "print(urllib.request.urlopen(server.openai_url + '/models').status)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "200", "")


def test_a_taken_port_is_an_error_at_once(server):
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        serve(port=port)

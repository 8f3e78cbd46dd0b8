"""The simulated LLM: reproducible, refuses like a provider, fails like a client."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from fanmap._drive import clock
from fanmap.testing import SimulatedAPIError, SimulatedLLM, VirtualTime
from fanmap.testing._behaviour import Behaviour, Bucket
from fanmap.testing._dialect import retry_after_text
from fanmap.testing._openai_wire import go_duration
from fanmap.testing._text import count_tokens, simulated_reply

PROMPTS = [f"prompt {i}" for i in range(40)]


@pytest.fixture
def at(monkeypatch):
    """A clock that stands where it is put, and a sleep that moves it."""
    now = [100.0]
    previous = clock.install(lambda: now[0])

    def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    yield now
    clock.install(previous)


def outcome(llm, prompt):
    try:
        return llm(prompt)
    except SimulatedAPIError as error:
        return error.status_code
    except ConnectionResetError:
        return "drop"


def fates(order, **settings):
    llm = SimulatedLLM(latency=0.0001, failure_rates={500: 0.2, 503: 0.2, "drop": 0.2}, **settings)
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(order, pool.map(lambda prompt: outcome(llm, prompt), order), strict=True))


def test_the_same_seed_gives_each_prompt_the_same_fate_in_any_order():
    assert fates(PROMPTS, seed=3) == fates(PROMPTS[::-1], seed=3)


def test_another_seed_gives_other_fates():
    assert fates(PROMPTS, seed=3) != fates(PROMPTS, seed=4)


def test_each_attempt_draws_anew_and_the_shares_are_kept():
    behaviour = Behaviour(latency=1.0, failure_rates={500: 0.25, "drop": 0.1})
    drawn = [behaviour.draw("x", attempt) for attempt in range(1, 4001)]
    counts = Counter(status for status, _ in drawn)
    assert counts[500] / 4000 == pytest.approx(0.25, abs=0.03)
    assert counts["drop"] / 4000 == pytest.approx(0.1, abs=0.02)
    assert sorted(delay for _, delay in drawn)[2000] == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(("status", "delay"), [(429, 0.0), (503, 0.0), (529, 0.0), (500, 2.0), ("drop", 2.0)])
def test_what_is_turned_away_comes_at_once_and_other_failures_when_the_answer_would(status, delay):
    behaviour = Behaviour(latency=2.0, sigma=0.0, failure_rates={status: 1.0})
    assert behaviour.draw("x", 1) == (status, delay)


def test_equal_mappings_of_failures_mean_the_same_dice():
    one = Behaviour(latency=1.0, failure_rates={500: 0.3, "drop": 0.3})
    other = Behaviour(latency=1.0, failure_rates={"drop": 0.3, 500: 0.3})
    assert [one.draw(p, 1) for p in PROMPTS] == [other.draw(p, 1) for p in PROMPTS]


def test_refused_calls_dont_change_the_fate_of_the_attempts_that_follow(at):
    free = SimulatedLLM(failure_rates=0.5)
    limited = SimulatedLLM(failure_rates=0.5, rpm=60, burst=1)
    seen = []
    for _ in range(20):
        while (result := outcome(limited, "x")) == 429:
            at[0] += 1.0
        seen.append(result)
    assert limited.refused > 0
    assert seen == [outcome(free, "x") for _ in range(20)]


@pytest.mark.usefixtures("at")
def test_latency_is_exactly_the_median_when_sigma_is_0():
    llm = SimulatedLLM(latency=2.0, sigma=0.0)
    llm("x")
    record = llm.log[0]
    assert (record.arrived, record.ended) == (100.0, 102.0)


def test_rpm_refuses_at_the_exact_boundary(at):
    llm = SimulatedLLM(latency=0.0, rpm=60, burst=2)
    assert [outcome(llm, p) == 429 for p in "abc"] == [False, False, True]
    at[0] += 0.999
    assert outcome(llm, "d") == 429  # and what had been refilled is forfeit
    at[0] += 0.999
    assert outcome(llm, "e") == 429
    at[0] += 1.0
    assert outcome(llm, "f") != 429
    assert (llm.sent, llm.refused) == (6, 3)


def test_the_retry_after_of_a_refusal_is_when_a_call_is_let_in(at):
    llm = SimulatedLLM(latency=0.0, rpm=40, burst=1)
    llm("a")
    with pytest.raises(SimulatedAPIError) as caught:
        llm("b")
    error = caught.value
    assert (error.status_code, error.response.status_code) == (429, 429)
    assert error.response.headers["retry-after"] == "1.5"
    assert (error.code, error.type) == ("rate_limit_exceeded", "requests")
    assert "Please try again in 1.5s." in str(error)
    at[0] += 1.5
    assert llm("b") == "[simulated] b"


def test_tpm_counts_the_tokens_of_prompts(at):
    llm = SimulatedLLM(latency=0.0, tpm=60)
    assert outcome(llm, "x" * 160) != 429  # 40 tokens
    assert outcome(llm, "y" * 120) == 429  # 30: 20 are left
    at[0] += 10.0
    assert outcome(llm, "y" * 120) != 429


@pytest.mark.usefixtures("at")
def test_retry_after_overrides_what_the_bucket_says():
    llm = SimulatedLLM(latency=0.0, rpm=60, burst=1, retry_after=7)
    llm("a")
    with pytest.raises(SimulatedAPIError) as caught:
        llm("b")
    assert caught.value.response.headers == {"retry-after": "7"}


def test_one_call_too_many_at_once_is_refused_and_says_so():
    llm = SimulatedLLM(latency=0.05, sigma=0.0, max_concurrency=2)
    with VirtualTime() as virtual:
        running = [virtual.start(llm, prompt) for prompt in "ab"]
        virtual.sleep(0.01)
        with pytest.raises(SimulatedAPIError) as caught:
            llm("c")
        for thread in running:
            virtual.join(thread)
    assert [record.status for record in llm.log] == [429, 200, 200]
    error = caught.value
    assert error.code == "concurrent_request_limit_exceeded"
    assert error.message == "Your current concurrency is 3, which exceeds your concurrency limit of 2"
    assert error.response.headers == {}
    assert (llm.max_in_flight, llm.refused, llm.sent) == (2, 1, 3)
    assert llm("d") == "[simulated] d"


def test_a_drop_is_a_connection_error():
    with pytest.raises(ConnectionResetError, match="dropped without a reply"):
        SimulatedLLM(latency=0.0, failure_rates={"drop": 1.0})("x")


def test_a_server_error_carries_status_and_body():
    with pytest.raises(SimulatedAPIError, match="Error code: 500 - The server had an error") as caught:
        SimulatedLLM(latency=0.0, failure_rates=1.0)("x")
    assert caught.value.type == "server_error"
    assert caught.value.response.headers == {}


def test_an_error_can_be_pickled():
    with pytest.raises(SimulatedAPIError) as caught:
        SimulatedLLM(latency=0.0, failure_rates=1.0)("x")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.status_code, copy.body) == (
        str(caught.value),
        caught.value.status_code,
        caught.value.body,
    )


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_acall_runs_on_any_loop_and_agrees_with_the_sync_call(backend):
    llm = SimulatedLLM(latency=0.001)

    async def main():
        answers = {}

        async def one(prompt):
            answers[prompt] = await llm.acall(prompt)

        async with anyio.create_task_group() as group:
            for prompt in PROMPTS:
                group.start_soon(one, prompt)
        return answers

    answers = anyio.run(main, backend=backend)
    assert llm.max_in_flight == len(PROMPTS)
    assert answers == {prompt: SimulatedLLM(latency=0.0)(prompt) for prompt in PROMPTS}


def test_a_cancelled_call_is_no_longer_in_flight_and_is_logged_as_gone():
    llm = SimulatedLLM(latency=5.0, sigma=0.0, max_concurrency=1)

    async def main():
        for _ in range(3):
            with anyio.move_on_after(0.001):
                await llm.acall("x")

    anyio.run(main)
    assert [record.status for record in llm.log] == ["gone"] * 3
    assert llm.refused == 0


def test_the_log_tells_arrival_order_and_the_whole_prompts():
    llm = SimulatedLLM(latency=0.0)
    long = "y" * 200
    llm("x")
    llm(long)
    llm("x")
    assert [(r.index, r.prompt, r.attempt, r.status, r.in_flight) for r in llm.log] == [
        (0, "x", 1, 200, 1),
        (1, "y" * 80, 1, 200, 1),
        (2, "x", 2, 200, 1),
    ]
    assert llm.prompts == ["x", long, "x"]


def test_a_log_that_was_read_stays_as_it_was():
    llm = SimulatedLLM(latency=0.0)
    log, prompts = llm.log, llm.prompts
    llm("x")
    assert (log, prompts) == ([], [])


def test_prompts_are_not_in_the_repr_of_a_record():
    llm = SimulatedLLM(latency=0.0)
    llm("secret")
    assert "secret" not in repr(llm.log)


def test_reset_forgets_the_log_and_fills_the_bucket():
    llm = SimulatedLLM(latency=0.0, rpm=1, burst=1)
    assert [outcome(llm, "a"), outcome(llm, "a")] == ["[simulated] a", 429]
    llm.reset()
    assert (llm.log, llm.prompts, llm.sent, llm.refused, llm.max_in_flight) == ([], [], 0, 0, 0)
    assert llm("a") == "[simulated] a"


def test_the_counters_are_right_under_many_threads():
    llm = SimulatedLLM(latency=0.0001, max_concurrency=4)
    start = threading.Barrier(8)

    def work(i):
        start.wait()
        return [outcome(llm, f"{i}/{j}") for j in range(50)]

    with ThreadPoolExecutor(8) as pool:
        results = [result for batch in pool.map(work, range(8)) for result in batch]
    assert llm.sent == len(llm.log) == 400
    assert llm.refused == results.count(429)
    assert llm.max_in_flight <= 4
    assert sorted(record.index for record in llm.log) == list(range(400))


def test_a_reply_of_ones_own_is_returned():
    assert SimulatedLLM(latency=0.0, reply=str.upper)("abc") == "ABC"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latency": "fast"}, "latency must be a number, got 'fast'"),
        ({"rpm": "many"}, "rpm must be a number, got 'many'"),
        ({"max_concurrency": 1.5}, "max_concurrency must be an int, got 1.5"),
        ({"max_concurrency": True}, "max_concurrency must be an int, got True"),
        ({"seed": "dice"}, "seed must be an int, got 'dice'"),
        ({"failure_rates": {500: "some"}}, "a share of failure_rates must be a number, got 'some'"),
        ({"latency": -1}, "latency must be finite and not negative, got -1"),
        ({"sigma": float("nan")}, "sigma must be finite and not negative, got nan"),
        ({"retry_after": float("inf")}, "retry_after must be finite and not negative, got inf"),
        ({"rpm": 0}, "rpm must be finite and above 0, got 0"),
        ({"max_concurrency": 0}, "max_concurrency must be at least 1, got 0"),
        ({"burst": 0.5}, "burst must be at least 1, got 0.5"),
        ({"failure_rates": 2}, "failure_rates must be shares between 0 and 1, got 2"),
        ({"failure_rates": {200: 0.1}}, "failure_rates must be keyed by 400 to 599 or 'drop', got 200"),
        ({"failure_rates": {"cut": 0.1}}, "failure_rates must be keyed by 400 to 599 or 'drop', got 'cut'"),
        ({"failure_rates": {500: 2}}, "failure_rates must be shares between 0 and 1, got 2"),
        ({"failure_rates": {500: 0.75, 503: 0.5}}, "failure_rates must add up to at most 1, got 1.25"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
        SimulatedLLM(**settings)


def test_a_bucket_gives_its_burst_at_once_and_its_rate_afterwards():
    bucket = Bucket(120, burst=3)
    assert [bucket.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert bucket.take(0.25) == 0.25
    assert bucket.take(0.5) == 0.0
    level = bucket.level(1.0)
    assert (level.limit, level.remaining, level.reset) == (120, 1.0, 1.0)


def test_a_cost_above_the_bucket_needs_a_full_bucket():
    bucket = Bucket(60)
    assert bucket.take(0.0, 1000) == 0.0
    assert bucket.take(0.0, 1000) == 60.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.012, "12ms"),
        (1.2, "1.2s"),
        (60, "1m0s"),
        (179.56, "2m59.56s"),
        (3600, "1h0m0s"),
        (0.9999, "1000ms"),
    ],
)
def test_durations_are_written_as_go_does(seconds, text):
    assert go_duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(2, "2"), (0.0012, "0.002"), (1.5, "1.5"), (0, "0")])
def test_retry_after_is_rounded_up_never_down(seconds, text):
    assert retry_after_text(seconds) == text


POCKETFLOW = """
Please translate the following markdown file into {}.
But keep the original markdown format, links and code blocks unchanged.
Directly return the translated text, without any other text or comments.

Original:
# Title

Text about translating to German.

Translated:"""


@pytest.mark.parametrize(
    ("prompt", "reply"),
    [
        ("Say hi", "[simulated] Say hi"),
        ("Translate to French: good day", "[simulated French translation]\ngood day"),
        ("translate this into german\n\ngood day", "[simulated german translation]\ngood day"),
        (
            "Translate 'to be' into Brazilian Portuguese: yes",
            "[simulated Brazilian Portuguese translation]\nyes",
        ),
        (
            POCKETFLOW.format("Chinese"),
            "[simulated Chinese translation]\n# Title\n\nText about translating to German.",
        ),
        ("x" * 500 + " translate to French", "[simulated] " + "x" * 200),
    ],
)
def test_replies_are_marked_as_simulated(prompt, reply):
    assert simulated_reply(prompt) == reply


def test_an_order_in_the_system_prompt_translates_the_whole_prompt():
    assert simulated_reply("good day", "You translate texts into Korean.") == (
        "[simulated Korean translation]\ngood day"
    )


def test_a_token_is_about_four_characters():
    assert [count_tokens("x" * n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_importing_fanmap_testing_needs_no_http_library():
    code = "import sys, fanmap.testing; print(sorted({'starlette', 'uvicorn', 'h11'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

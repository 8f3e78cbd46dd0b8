"""`fanmap run --batch` with a real client, against the loopback server: rows, refusals, kill -9, Ctrl-C, going on."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanmap._drive.batch.talking import Missing
from fanmap._run.batch_job import _reason_of  # pyright: ignore[reportPrivateUsage]
from fanmap.testing import BatchScript, Reply, Request, Server, serve

from .tools import PATIENCE, finish, got, is_one_line, put, records, rows, start, until

ASKING = """
import math, sys
from openai import AsyncOpenAI, OpenAI
from fanmap import Limits, Rate, parallel_map

CALLS = []
client = OpenAI(base_url=URL, api_key="key-of-openai")

def ask(prompt: str) -> str:
    CALLS.append(prompt)
    return client.responses.create(model="m", input=prompt).output_text

async def later(prompt: str) -> str:
    async with AsyncOpenAI(base_url=URL, api_key="key-of-openai") as client:
        return (await client.responses.create(model="m", input=prompt)).output_text

@parallel_map(limits=Limits(4, price=lambda model, usage: usage.total))
def priced(prompt: str) -> str:
    return ask(prompt)

@parallel_map(limits=Limits(4, rate=Rate(10, per=math.inf)))
def bounded(prompt: str) -> str:
    return ask(prompt)

@parallel_map(limits=Limits(4, price=lambda model, usage: usage.total / 100))
def in_cents(prompt: str) -> str:
    return ask(prompt)

def twice(prompt: str) -> str:
    return ask(ask(prompt))

def a_set(prompt: str) -> set:
    return {ask(prompt)}

def leaving(prompt: str) -> str:
    ask(prompt)
    sys.exit(3)
"""
PROMPTS = ["a", "b", "c"]
KEPT = "fanmap: answers are kept in out.csv.journal, out.csv is untouched: "
RESUME = f"{KEPT}rerun the same command to resume"


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Server]:
    with serve(latency=0.0) as server:
        yield server


@pytest.fixture(autouse=True)
def server(shared_server: Server, _here: None) -> Iterator[Server]:
    shared_server.reset()
    put("job.py", f"URL = {shared_server.openai_url!r}\n{ASKING}")
    put("in.csv", "id,prompt\n1,a\n2,b\n3,c\n")
    yield shared_server
    if "job" in sys.modules:
        sys.modules["job"].client.close()


@pytest.fixture
def words(server: Server) -> tuple[str, ...]:
    return ("in.csv", "-o", "out.csv", "--batch", "--endpoint", server.openai_url, "--poll", "0.01")


def told(prompt: str) -> str:
    return f"[simulated] {prompt}"


def lines(server: Server) -> list[int]:
    return [len(batch.requests) for batch in server.batches.made]


def whole(name: str = "out.csv") -> bool:
    table = [["id", "prompt", "answer", "error"]]
    return records(got(name)) == table + [[str(n), one, told(one), ""] for n, one in enumerate(PROMPTS, 1)]


@pytest.mark.parametrize("function", ["ask", "later", "priced"])
def test_every_row_has_its_answer_through_one_batch(function, run, words, server):
    status, out, said = run(f"job:{function}", *words)
    assert (status, out, lines(server), server.sent) == (0, "", [3], 0)
    assert whole()
    assert said.splitlines()[:2] == [
        "fanmap: 0 of 3 items; batches: none",
        "fanmap: 0 of 3 items, turn 1; batches: 1 submitted (0 of 3 requests)",
    ]
    assert said.splitlines()[-4 if function == "priced" else -3 :][:3] == [
        "3 answered, 0 resumed, 0 failed",
        "1 turn, 1 batch ended; requests: 3 answered, 0 asked again, 0 failed, 0 expired",
        "15 tokens: 3 in, 12 out",
    ]
    if function == "priced":
        assert said.endswith("\n$7.5000 spent, $15.0000 outside of batches\n")
    status, _, said = run(f"job:{function}", *words)
    assert (status, lines(server), whole()) == (0, [3], True)
    assert said.endswith("\n0 answered, 3 resumed, 0 failed\n")


def test_the_journal_is_that_of_a_run_without_it(run, words, server):
    plain = ("in.csv", "-o", "out.csv")
    assert run("job:ask", *words)[0] == 0
    with_batch = got("out.csv")
    assert run("job:ask", *plain)[0] == 0
    assert (server.sent, got("out.csv")) == (0, with_batch)
    put("in.csv", "id,prompt\n1,a\n2,b\n3,c\n4,d\n")
    assert run("job:ask", *plain)[0] == 0
    assert server.sent == 1
    assert run("job:ask", *words)[0] == 0
    assert lines(server) == [3]


def test_damage_to_the_journal_is_said_in_a_line_of_the_commands_own(run, words, server):
    assert run("job:ask", *words)[0] == 0
    put("out.csv.journal", "damage" + got("out.csv.journal"))
    status, _, said = run("job:ask", *words)
    assert said.startswith("fanmap: out.csv.journal: 1 damaged record(s) skipped; their items run again\n")
    assert (status, "Warning" in said, whole()) == (0, False, True)


@pytest.mark.parametrize("function", ["ask", "later"])
def test_a_run_without_it_says_first_that_it_pays_again_for_what_is_under_way(function, run, words, server):
    server.batches.script = BatchScript(delay=math.inf)
    run(f"job:{function}", *words, "--deadline", "0.01")
    status, _, said = run(f"job:{function}", "in.csv", "-o", "out.csv", "--quiet")
    assert (status, whole(), server.sent) == (0, True, 3)
    assert said == (
        "fanmap: 1 batch of out.csv.journal may still be under way, and answers are being paid for again: to wait for "
        "it instead, stop this run and add --batch; to end it, `fanmap batch cancel out.csv.journal`\n"
    )


def test_a_function_that_asks_twice_takes_two_turns_and_options_of_rows_are_as_ever(run, words, server):
    status, _, said = run("job:twice", *words, "--limit", "2", "--answer-field", "said", "--quiet")
    assert (status, said, lines(server)) == (0, "", [2, 2])
    assert records(got("out.csv"))[1] == ["1", "a", told(told("a")), ""]


@pytest.mark.whole
def test_a_pipe_and_rows_on_standard_output(server, words):
    done = finish("job:ask", "-", "--resume", "kept", *words[3:], text="a\nb\n\nc\n")
    assert done.returncode == 0, done.stderr
    assert [row["answer"] for row in rows(done.stdout)] == [told(one) for one in PROMPTS]
    assert "fanmap: 1 empty row left out (line 3)\n3 answered" in done.stderr


def test_failed_rows_say_so_and_the_same_command_asks_for_these_only(run, words, server):
    server.batches.script = BatchScript(line=lambda asked: Reply(400) if asked.prompt == "b" else None)
    status, _, said = run("job:ask", *words)
    assert status == 1
    assert [row[3].partition(":")[0] for row in records(got("out.csv"))] == ["error", "", "BadRequestError", ""]
    assert (
        "fanmap: 1 failed\n  item 1 (line 3): BadRequestError\n"
        "fanmap: rerun the same command to retry only these\n2 answered, 0 resumed, 1 failed\n"
    ) in said
    server.batches.script = BatchScript()
    assert (run("job:ask", *words)[0], lines(server), whole()) == (0, [3, 1], True)


def test_an_answer_that_is_no_json_is_an_error_of_its_row_and_is_not_paid_again(run, words, server):
    for _ in range(2):
        status, _, said = run("job:a_set", *words)
        assert (status, lines(server)) == (1, [3])
        assert "change what job:a_set returns (see the field 'error'), then rerun" in said
        assert "\n0 answered, 0 resumed, 3 failed\n" in said
        assert records(got("out.csv"))[1][3].startswith("AnswerNotJson: set is not JSON-serializable")


# What does not go together


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--batch", "--processes", "2"], "--processes and --batch cannot be combined: no call waits"),
        (["--batch", "--no-resume"], "--no-resume and --batch cannot be combined: the journal holds what was"),
        (["--batch", "--max-failures", "5"], "--max-failures and --batch cannot be combined: all rows are submitted"),
        (["--batch", "--trace", "run.html"], "--trace and --batch cannot be combined: there are no calls to draw"),
        (["--endpoint", "http://host/v1"], "--endpoint is only for --batch"),
        (["--poll", "5"], "--poll is only for --batch"),
        (["--batch", "--endpoint", "host/v1"], "must be a URL such as http://host/v1, got 'host/v1'"),
        (["--batch", "--poll", "0"], "must be a number above 0, got '0'"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused_before_any_call(more, said, run, server):
    status, out, told = run("job:ask", "in.csv", "-o", "out.csv", *more)
    assert (status, out) == (2, "")
    assert is_one_line(told)
    assert said in told
    assert not Path("out.csv.journal").exists()
    assert server.sent == len(server.batches.made) == 0


def test_max_spend_ends_it_and_a_larger_one_goes_on(run, words, server):
    status, _, said = run("job:in_cents", *words, "--max-spend", "0.06")
    assert (status, lines(server), Path("out.csv").exists()) == (1, [1, 1], False)
    assert said.splitlines()[-6:] == [
        "fanmap: stopped by --max-spend 0.06: $0.0500 spent, and one more call would exceed it",
        f"{KEPT}with a larger --max-spend, rerun the same command to resume",
        "2 answered, 0 resumed, 0 failed, 1 not done",
        "2 turns, 2 batches ended; requests: 2 answered, 0 asked again, 0 failed, 0 expired",
        "10 tokens: 2 in, 8 out",
        "$0.0500 spent, $0.1000 outside of batches",
    ]
    status, _, said = run("job:in_cents", *words, "--max-spend", "0.08")
    assert (status, lines(server), server.sent, whole()) == (0, [1, 1, 1], 0, True)
    put("in.csv", "id,prompt\n1,a\n2,b\n3,c\n4,d\n")  # what batches cost counts first without --batch, too
    status, _, said = run("job:in_cents", "in.csv", "-o", "out.csv", "--max-spend", "0.075")
    assert (status, server.sent) == (1, 0)
    assert "stopped by --max-spend 0.075: $0.0750 spent" in said


def test_without_a_file_for_the_job_and_under_a_total_it_is_refused(run, words, server):
    status, _, said = run("job:ask", "in.csv", "--batch")
    assert (status, said) == (2, "fanmap: --batch needs a journal: give -o FILE or --resume PATH\n")
    status, _, said = run("job:bounded", *words)
    assert (status, is_one_line(said)) == (2, True)
    assert "takes nothing of a Rate with per=math.inf" in said
    put("out.csv.journal", "x,y\n")
    status, _, said = run("job:ask", *words)
    assert (status, is_one_line(said)) == (2, True)
    assert "out.csv.journal is not a fanmap journal: give --resume a path of its own" in said
    assert (server.sent, lines(server), Path("out.csv").exists()) == (0, [], False)


def test_limits_of_the_command_line_hold_for_what_cannot_travel_in_a_batch(run, server):
    words = ("in.csv", "-o", "out.csv", "--batch", "--max-concurrency", "1", "--rpm", "60000", "--tpm", "900000")
    status, _, said = run("job:ask", *words)
    assert (status, whole(), server.sent, server.max_in_flight) == (0, True, 3, 1)
    assert said.endswith("\n3 requests sent at once, at full price\n")
    assert run("job:ask", *words[:4], "--max-concurrency", "auto", "--retry", "2")[0] == 0


@pytest.mark.parametrize("function", ["ask", "later"])
def test_a_server_that_is_not_known_is_said_at_its_first_request(function, run, server):
    words = (f"job:{function}", "in.csv", "-o", "out.csv", "--batch", "--quiet")
    status, _, said = run(*words)
    assert (status, server.sent) == (0, 3)
    assert said == (
        f"fanmap: requests to {server.openai_url} are sent at once, at full price: this server is not known to accept "
        f"batches; if it does, stop this run and add --endpoint {server.openai_url}; with --only, such a request is an "
        "error and is not sent\n"
    )


def test_with_only_nothing_is_sent_at_once(run, server):
    words = ("job:ask", "in.csv", "-o", "out.csv", "--batch", "--quiet")
    status, _, said = run(*words, "--only")
    assert (status, server.sent, lines(server)) == (1, 0, [])
    base = server.openai_url
    assert said == (
        f"fanmap: --only, but a call of the function sends a request to {base}, which is not known to accept batches. "
        f"If it does, add --endpoint {base}\n{KEPT}after fixing that, rerun the same command to resume\n"
    )
    assert run(*words, "--only", "--endpoint", base, "--poll", "0.01") == (0, "", "")
    assert (server.sent, lines(server)) == (0, [3])


# Stopped, and going on


def test_a_deadline_leaves_the_batch_and_says_how_to_go_on(run, words, server):
    server.batches.script = BatchScript(delay=math.inf)
    put("out.csv", "before")
    status, _, said = run("job:ask", *words, "--deadline", "0.01")
    assert (status, got("out.csv")) == (1, "before")
    assert said.splitlines()[-4:] == [
        "fanmap: stopped by --deadline 0.01",
        "fanmap: 1 batch continues at the provider; `fanmap batch cancel out.csv.journal` cancels what is left",
        RESUME,
        "0 answered, 0 resumed, 0 failed, 3 not done",
    ]
    server.batches.script = BatchScript()
    assert (run("job:ask", *words)[0], lines(server), whole()) == (0, [3], True)


def test_what_the_provider_refuses_is_said_in_its_words(run, words, server):
    server.batches.script = BatchScript(invalid="Line 3 is not to our liking.")
    status, _, said = run("job:ask", *words)
    assert status == 1
    assert (
        "fanmap: the provider refused batch batch_simulated_0: Line 3 is not to our liking.\n"
        f"{KEPT}after fixing that, rerun the same command to resume\n"
    ) in said
    assert "key-of-openai" not in said


def test_a_cancelled_batch_is_said_once_and_the_same_command_goes_on(run, words, server):
    server.batches.script = BatchScript(delay=math.inf)
    run("job:ask", *words, "--deadline", "0.01")
    server.batches.cancel(server.batches.made[0])
    status, _, said = run("job:ask", *words)
    assert status == 1
    assert "was cancelled: rerun the same command to submit what it has not answered\n" + RESUME in said
    server.batches.script = BatchScript()
    assert (run("job:ask", *words)[0], whole()) == (0, True)


def test_a_function_that_ends_the_program_loses_nothing(run, words, server):
    status, _, said = run("job:leaving", *words)
    assert (status, lines(server)) == (1, [3])
    assert "fanmap: job:leaving ended the program: it calls sys.exit()\n" in said


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("function", ["ask", "later"])
@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
@pytest.mark.whole
def test_a_signal_leaves_batches_running_and_says_how_to_go_on(function, number, name, words, server):
    server.batches.script = BatchScript(delay=math.inf)
    process = start(f"job:{function}", *words)
    assert waiting(process)
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert said.splitlines()[-4:] == [
        f"fanmap: stopped by {name}",
        "fanmap: 1 batch continues at the provider; `fanmap batch cancel out.csv.journal` cancels what is left",
        RESUME,
        "0 answered, 0 resumed, 0 failed, 3 not done",
    ]
    assert (server.batches.made[0].state, Path("out.csv").exists()) == ("running", False)
    server.batches.script = BatchScript()
    done = finish(f"job:{function}", *words)
    assert (done.returncode, lines(server), whole()) == (0, [3], True)


@pytest.mark.whole
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_rows_that_have_their_answers_are_in_the_partial_file(words, server):
    def line(asked: Request) -> None:  # the second turn never ends
        server.batches.script = BatchScript(delay=math.inf)

    server.batches.script = BatchScript(line=line)
    put("job.py", got("job.py") + "\ndef some(prompt):\n    return ask(ask(prompt) if prompt == 'b' else prompt)\n")
    process = start("job:some", *words)
    until(lambda: len(server.batches.made) == 2)
    assert waiting(process, "2 of 3 items, turn 2; batches: 1 in_progress")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, "\n2 answered, 0 resumed, 0 failed, 1 not done\n" in said) == (130, True)
    assert [row[0] for row in records(got("out.csv.partial"))] == ["id", "1", "3"]
    server.batches.script = BatchScript()
    assert finish("job:some", *words).returncode == 0
    assert records(got("out.csv"))[2] == ["2", "b", told(told("b")), ""]


@pytest.mark.whole
@pytest.mark.parametrize("function", ["ask", "later"])
def test_a_killed_run_goes_on_with_the_same_command(function, words, server):
    server.batches.script = BatchScript(delay=math.inf)
    process = start(f"job:{function}", *words)
    assert waiting(process)
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert not Path("out.csv").exists()
    server.batches.script = BatchScript()
    done = finish(f"job:{function}", *words)
    assert (done.returncode, lines(server), server.sent, whole()) == (0, [3], 0, True), done.stderr
    assert [len(batch.answered) for batch in server.batches.made] == [3]
    assert not Path("out.csv.partial").exists()


@pytest.mark.whole
def test_a_second_run_on_the_same_output_is_kept_away(words, server):
    server.batches.script = BatchScript(delay=math.inf)
    process = start("job:ask", *words)
    assert waiting(process)
    done = finish("job:ask", *words)
    assert (done.returncode, is_one_line(done.stderr)) == (2, True)
    assert "in use" in done.stderr
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert lines(server) == [3]


def waiting(process: subprocess.Popen[str], what: str = "0 of 3 items, turn 1; batches: 1 in_progress") -> bool:
    """Read what it says until it waits for a batch, in the provider's words."""
    return any(what in line for line in process.stderr)


def test_a_batch_that_is_gone_is_said_in_the_commands_words():
    text = _reason_of(Missing("a batch could not be checked: status 404")).text
    assert text.endswith("if its answers are gone, the same command without --batch asks for them again, at full price")

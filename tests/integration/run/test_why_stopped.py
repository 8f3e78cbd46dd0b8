"""`fanmap run`: a run that stops says by what, what is kept, and what to do before the same command goes on."""

from __future__ import annotations

import importlib
import os
import re
import sys
import threading
import time
from pathlib import Path

import pytest

from fanmap._drive import clock

from .tools import calls, got, put, rows

STOPPED = """
import sys, types

CALLS = []

class Server(Exception):
    def __init__(self, status, headers=(), code=None):
        super().__init__("sk-secret")
        self.status_code = status
        self.response = types.SimpleNamespace(status_code=status, headers=dict(headers))
        self.body = {"code": code}

def locked(prompt):
    CALLS.append(prompt)
    raise Server(401)

def spent(prompt):
    CALLS.append(prompt)
    raise Server(429, code="insufficient_quota")

def waits(prompt):
    CALLS.append(prompt)
    raise Server(429, {"retry-after": "900"})

def leaves(prompt):
    CALLS.append(prompt)
    sys.exit("sk-secret")

def interrupts(prompt):
    CALLS.append(prompt)
    raise KeyboardInterrupt("sk-secret")

def inner_wait(prompt):
    from fanmap import NotRun
    CALLS.append(prompt)
    if prompt == "1":
        raise NotRun("of a run within")
    return prompt
"""
KEPT = "fanmap: answers are kept in out.jsonl.journal, out.jsonl is untouched: "


@pytest.mark.parametrize(
    ("function", "said", "most"),
    [
        (
            "locked",
            ("fanmap: stopped by Server: the server does not accept the key, or forbids the call\n"
            f"{KEPT}with a key that works, rerun the same command to resume\n"),
            20,
        ),
        (
            "spent",
            ("fanmap: stopped by Server: the account has no credit or quota left\n"
            f"{KEPT}once it has some, rerun the same command to resume\n"),
            4,
        ),
        (
            "waits",
            ("fanmap: stopped by --max-wait: the server asks to wait for 900 s\n"
            f"{KEPT}after that, or with --max-wait 901, rerun the same command to resume\n"),
            4,
        ),
        (
            "leaves",
            ("fanmap: job:leaves ended the program: it calls sys.exit()\n"
            f"{KEPT}after fixing that, rerun the same command to resume\n"),
            4,
        ),
    ],
)  # fmt: skip
def test_what_stopped_it_and_what_to_do(run, function, said, most):
    put("job.py", STOPPED)
    put("in.txt", "".join(f"{n}\n" for n in range(100)))
    put("out.jsonl", "before")
    status, _, text = run(f"job:{function}", "in.txt", "-o", "out.jsonl", "--max-concurrency", "2")
    assert (status, got("out.jsonl"), "sk-secret" in text) == (1, "before", False)
    assert said in text
    assert len(calls()) <= most


SHARED = """
from fanmap import Limits, parallel_map

@parallel_map(limits=Limits(4, shared="missing/limits"))
def ask(prompt): return prompt
"""


@pytest.mark.skipif(os.name != "posix", reason="a shared name without a server")
@pytest.mark.parametrize("known", [False, True])
def test_shared_limits_that_cannot_be_used_are_named(run, known):
    put("job.py", SHARED + "\ntry: ask('a')\nexcept OSError: pass\n" * known)
    status, out, said = run("job:ask", put("in.txt", "a\nb\n"))
    missing = f"the folder of shared={str(Path('missing/limits').resolve())!r} does not exist\n"
    early, late = f"fanmap: {missing}", f"fanmap: stopped by the shared limits: {missing}"
    assert out == ""
    # Whoever begins looks anew; whether the answer is there before the run begins is a race.
    assert (status, said) == (2, early) or (status == 1 and said.startswith(late))


def test_a_row_that_ends_the_program_is_counted_once(run):
    put("job.py", STOPPED)
    put("in.txt", "".join(f"{n}\n" for n in range(100)))
    _, _, text = run("job:leaves", "in.txt", "-o", "out.jsonl", "--max-concurrency", "1")
    # Whether the run has taken note of it when the program ends is a race; it is one of the hundred in either case.
    said = re.search(r"^0 answered, 0 resumed, (?:1 failed \(1 SystemExit\), 99|0 failed, 100) not run$", text, re.M)
    assert said is not None, text


def test_a_function_that_raises_keyboard_interrupt_is_named_and_the_run_has_its_summary(run):
    put("job.py", STOPPED)
    put("in.txt", "0\n1\n")
    status, _, said = run("job:interrupts", "in.txt", "-o", "out.jsonl", "--max-concurrency", "1")
    assert (status, "sk-secret" in said) == (130, False)
    assert said.startswith(
        "fanmap: job:interrupts raised KeyboardInterrupt\n"
        f"{KEPT}after fixing that, rerun the same command to resume\n"
        "0 answered, 0 resumed, "
    )


def test_how_long_a_server_may_keep_everybody_waiting_can_be_said(run):
    put("job.py", STOPPED.replace('"900"', '"2"'))
    put("in.txt", "0\n1\n")
    status, _, said = run("job:waits", "in.txt", "--max-wait", "1.5", "--max-concurrency", "1")
    assert (status, calls()) == (1, ["0"])
    assert "fanmap: stopped by --max-wait: the server asks to wait for 2 s\n" in said


def test_rows_that_were_not_read_are_counted_and_not_warned_of(run, recwarn):
    put("job.py", "class Down(Exception):\n    status_code = 500\n\ndef down(prompt):\n    raise Down\n")
    put("in.txt", "".join(f"{n}\n" for n in range(2_000)))
    _, _, said = run("job:down", "in.txt", "--max-wait", "0.5", "--retry", "2", "--max-concurrency", "2")
    assert "fanmap: stopped by --max-wait: no call succeeded for that long (Down)\n" in said
    assert " not run\n" in said
    assert not [str(one.message) for one in recwarn if "was not read" in str(one.message)]


def test_a_decorated_function_keeps_the_rest_of_its_limits_under_another_max_wait(run):
    put(
        "job.py",
        "from fanmap import Limits, parallel_map\n"
        "LIMITS = Limits(3)\n"
        "@parallel_map(limits=LIMITS)\n"
        "def ask(prompt): return [LIMITS.max_concurrency, LIMITS._budget.max_wait]\n",
    )
    status, out, said = run("job:ask", put("in.txt", "a\n"), "--max-wait", "7")
    assert (status, rows(out)[0]["answer"], "instead of" in said) == (0, [3, 7.0], False)


def test_a_run_within_the_function_that_was_stopped_is_a_failure_of_its_row(run):
    put("job.py", STOPPED)
    put("in.txt", "0\n1\n2\n")
    status, _, said = run("job:inner_wait", "in.txt", "-o", "out.jsonl")
    assert (status, len(rows(got("out.jsonl")))) == (1, 3)
    assert "fanmap: 1 failed\n  item 1 (line 2): NotRun\n" in said


def test_without_a_journal_it_says_where_the_rows_are_or_how_to_keep_them(run):
    put("job.py", STOPPED)
    put("in.txt", "".join(f"{n}\n" for n in range(100)))
    partial = Path("out.jsonl.partial").resolve()
    assert (
        f"fanmap: the rows so far are in {partial}\n" in run("job:spent", "in.txt", "-o", "out.jsonl", "--no-resume")[2]
    )
    assert "fanmap: answers were not kept: --resume PATH keeps them\n" in run("job:spent", "in.txt")[2]


@pytest.fixture
def hours(monkeypatch):
    """Makes time pass at once."""
    passed = [0.0]
    before = clock.install(lambda: time.monotonic() + passed[0])
    yield passed
    clock.install(before)


def test_the_deadline_leaves_the_output_and_keeps_what_was_answered(run, hours):
    put("job.py", "CALLS = []\ndef slow(prompt):\n    if prompt >= '2':\n        WAIT(prompt)\n    return prompt\n")
    put("in.txt", "".join(f"{n}\n" for n in range(9)))
    partial, over = Path("out.jsonl.partial"), threading.Event()
    both = threading.Barrier(2)  # calls are under way when it comes

    def wait(prompt):
        both.wait()
        while len(partial.read_text().splitlines()) < 2:
            time.sleep(0.001)
        hours[0] = 10_000.0
        over.wait()

    sys.path.insert(0, str(Path.cwd()))
    importlib.import_module("job").WAIT = wait
    try:
        status, _, said = run("job:slow", "in.txt", "-o", "out.jsonl", "--deadline", "7200", "--max-concurrency", "2")
    finally:
        over.set()
    assert (status, Path("out.jsonl").exists()) == (1, False)
    assert f"fanmap: stopped by --deadline 7200\n{KEPT}rerun the same command to resume\n" in said
    assert "5 not run" in said
    assert [row["answer"] for row in rows(partial.read_text())] == ["0", "1"]
    sys.modules["job"].WAIT = lambda prompt: None
    assert run("job:slow", "in.txt", "-o", "out.jsonl")[0] == 0
    assert [row["answer"] for row in rows(got("out.jsonl"))] == list("012345678")
    assert not partial.exists()


def test_a_deadline_in_which_nothing_is_answered_is_too_short(run, hours):
    put("job.py", "def ask(prompt):\n    PASS()\n")
    put("in.txt", "a\n")
    over = threading.Event()

    def passing():
        hours[0] = 10_000.0
        over.wait()

    sys.path.insert(0, str(Path.cwd()))
    importlib.import_module("job").PASS = passing
    try:
        said = run("job:ask", "in.txt", "-o", "out.jsonl", "--deadline", "7200")[2]
    finally:
        over.set()
    assert (
        f"fanmap: stopped by --deadline 7200\n{KEPT}with a larger --deadline, rerun the same command to resume\n"
        in said
    )


FAILING = """
CALLS = []
def raises(prompt):
    CALLS.append(prompt)
    if int(prompt) % 2:
        raise ValueError("a prompt")
    return prompt
def not_json(prompt):
    CALLS.append(prompt)
    return {prompt} if int(prompt) % 2 else prompt
def offline(prompt):
    CALLS.append(prompt)
    raise ConnectionError("a prompt")
"""


@pytest.mark.parametrize("function", ["raises", "not_json", "offline"])
@pytest.mark.parametrize("name", ["in.txt", "-"])
def test_so_many_failures_stop_it_and_the_output_stays(run, monkeypatch, function, name):
    put("job.py", FAILING)
    put("out.jsonl", "before")
    put("in.txt", "".join(f"{n}\n" for n in range(2000)))
    with open("in.txt") as file:
        if name == "-":
            name = f"/dev/fd/{file.fileno()}"
            if not Path(name).exists():
                pytest.skip("no descriptors with names")
        words = ["-o", "out.jsonl", "--max-failures", "3", "--max-concurrency", "2"]
        status, _, said = run(f"job:{function}", name, *words)
    assert (status, got("out.jsonl"), "a prompt" in said) == (1, "before", False)
    again = "after fixing what made them fail, rerun the same command to resume"
    assert f"fanmap: stopped by --max-failures 3\n{KEPT}{again}\n" in said
    assert len(calls()) < 100


def test_fewer_failures_stop_nothing(run):
    put("job.py", FAILING)
    put("in.txt", "0\n1\n2\n3\n4\n")
    assert "2 failed" in run("job:raises", "in.txt", "--max-failures", "3")[2]
    assert len(calls()) == 5
